"""The application in a process of its own, as `chatfeedback serve` runs it: started, killed, started again.

Most of a start is spent on importing Gradio. So the process is forked from one that has imported everything and done
nothing else (the standard library's fork server: no thread of Python runs in it, and the event loop, the database and
the port are opened after the fork), unless `fresh` asks for the command that a person types.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from ports import free_port

PRELOADED = ["chatfeedback.server.app", "chatfeedback.ui.app"]
SECONDS = 120.0
"""Time limit for a server to answer, on a machine that is busy with other things."""


def run(config: str, log: str) -> None:
    """Run `chatfeedback serve` in a forked process, with its output in a file."""
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(written, stream)
    assert threading.active_count() == 1, "a fork copies no threads: what they held would stay locked"
    gc.freeze()  # what was imported before the fork is not to be looked through again and again
    from chatfeedback.config.settings import Settings
    from chatfeedback.server.run import serve

    serve(Settings.load(Path(config)), open_browser=False)


class Server:
    """Application on 127.0.0.1, always on the same port, with its settings and its log in `folder`."""

    def __init__(
        self,
        folder: Path,
        database_url: str,
        model_url: str,
        *,
        fresh: bool = False,
        target: Callable[[str, str], None] = run,
    ) -> None:
        self.port = free_port()
        self.log = folder / "server.log"
        self._config = folder / "chatfeedback.toml"
        self._fresh = fresh
        self._target = target
        self._process: BaseProcess | subprocess.Popen[bytes] | None = None
        settings = {
            "database_url": database_url,
            "port": self.port,
            "auth": "password",
            "messages_per_minute": 100_000,
            "streams_at_once": 1_000,
        }
        model = {"model": "parrot", "base_url": model_url, "timeout_seconds": 30}
        # A string, a number and a list of these are written the same way in TOML as in JSON.
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        lines += ["[[models]]", *(f"{name} = {json.dumps(value)}" for name, value in model.items())]
        self._config.write_text("\n".join(lines) + "\n")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the application; return when it answers."""
        self._process = self._started() if self._fresh else self._forked()
        self.answers()

    def answers(self) -> None:
        """Wait until it answers that it is well."""
        until = time.monotonic() + SECONDS
        while not self._is_well():
            assert self.is_alive, f"the application has ended: {self.said()}"
            assert time.monotonic() < until, f"the application does not answer: {self.said()}"
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill the process (SIGKILL)."""
        assert self._process is not None and self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        if isinstance(self._process, subprocess.Popen):
            self._process.wait()
        else:
            self._process.join()

    @property
    def is_alive(self) -> bool:
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll() is None
        return self._process is not None and self._process.is_alive()

    def said(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def _started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "chatfeedback", "serve", "--no-open", "--config", str(self._config)]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def _forked(self) -> BaseProcess:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        process = context.Process(target=self._target, args=(str(self._config), str(self.log)), daemon=True)
        process.start()
        return process

    def _is_well(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/healthz", timeout=SECONDS) as answer:
                return answer.status == 200
        except OSError:  # also an answer that is no success
            return False

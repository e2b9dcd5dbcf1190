"""Servers in separate processes, on 127.0.0.1 and a free port, with their CPU times."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.ports import free_port

TIMEOUT_SECONDS = 300.0
"""Seconds within which a server must respond."""


class Server:
    """Process of `python -m` with these arguments, in which PORT stands for the port."""

    def __init__(self, *arguments: str) -> None:
        self.port = free_port()
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", *(argument.replace("PORT", str(self.port)) for argument in arguments)],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"},
        )
        try:
            while not self._responds():
                if self._process.poll() is not None or time.perf_counter() > started + TIMEOUT_SECONDS:
                    raise SystemExit(f"no answer from: {' '.join(arguments)}")
                time.sleep(0.01)
        except BaseException:
            self.stop()
            raise
        self.seconds_to_first_page = time.perf_counter() - started

    @property
    def address(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self.port}/"

    def page(self) -> bytes:
        """Return the page as it is served, with the whole configuration, which Gradio includes."""
        with urllib.request.urlopen(self.address, timeout=TIMEOUT_SECONDS) as response:
            return bytes(response.read())

    def stop(self) -> None:
        """Terminate the process and wait for its end."""
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        self._process.wait()

    def freeze(self) -> None:
        """Suspend the process: even an idle Gradio uses a tenth of a core."""
        self._process.send_signal(signal.SIGSTOP)

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let a suspended process run until the end of the block."""
        self._process.send_signal(signal.SIGCONT)
        time.sleep(0.2)  # let it catch up with missed timers
        try:
            yield
        finally:
            self.freeze()

    def cpu_seconds(self) -> float:
        """Return the CPU time of the process so far, in steps of a hundredth of a second (Linux only)."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _responds(self) -> bool:
        try:
            return bool(self.page())
        except urllib.error.HTTPError as refusal:
            return refusal.code == 401  # it runs, and requires authentication
        except (urllib.error.URLError, ConnectionError):
            return False


@contextmanager
def serving(*arguments: str) -> Iterator[Server]:
    """Run a `Server` until the end of the block."""
    server = Server(*arguments)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def serving_all(arguments: Sequence[Sequence[str]]) -> Iterator[list[Server]]:
    """Run several servers, started concurrently, until the end of the block."""
    with ExitStack() as running:
        with ThreadPoolExecutor(len(arguments)) as threads:
            servers = [threads.submit(Server, *server_arguments) for server_arguments in arguments]
        for server in servers:
            if server.exception() is None:
                running.callback(server.result().stop)
        yield [server.result() for server in servers]


def busy_seconds() -> float:
    """Return the CPU time of all cores of the machine together so far (Linux only)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")

"""`chatfeedback serve` in a process that is forked from one that has imported everything already.

Most of the time that a server needs to start is spent on importing Gradio. The standard library's fork server imports
it once for all tests of a process. After the fork nothing differs from `serving.Served`: the same command with the
same arguments, a process with a pid, signals and an exit status of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from serving import PATIENCE, ROOT
from torture.server import PRELOADED


class ShutdownLimits(NamedTuple):
    """Limits in seconds for the end of a server, in place of the constants of the program."""

    grace: int
    """For `chatfeedback.server.run.GRACE_SECONDS`: requests that are under way."""
    store: int
    """For `chatfeedback.server.shutdown.STORE_SECONDS`: the database."""


def run_serve(
    arguments: Sequence[str], variables: Mapping[str, str], limits: ShutdownLimits, stdout: Connection, log: str
) -> None:
    """Run the command in the forked process, with its own environment, standard output and standard error."""
    assert threading.active_count() == 1, "a fork copies no threads: what they held would stay locked"
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(ROOT)
    os.dup2(stdout.fileno(), 1)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 2)
    stdout.close()
    sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1, closefd=False) for descriptor in (1, 2))
    from chatfeedback.cli import main
    from chatfeedback.server import run, shutdown

    run.GRACE_SECONDS, shutdown.STORE_SECONDS = limits
    sys.argv = ["chatfeedback", "serve", "--no-open", "--port", "0", *arguments]
    main()


class ForkedServer:
    """Running server: its `address`, and all that it has logged so far."""

    def __init__(self, arguments: Sequence[str], limits: ShutdownLimits, **variables: str) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self._log = tempfile.NamedTemporaryFile("r", prefix="chatfeedback-log-")  # noqa: SIM115 - closed with the process
        reading, writing = context.Pipe(duplex=False)
        environment = {**os.environ, **variables}
        self._process = context.Process(
            target=run_serve, args=(arguments, environment, limits, writing, self._log.name), daemon=True
        )
        self._process.start()
        writing.close()
        self._stdout = os.fdopen(os.dup(reading.fileno()))
        reading.close()
        # Python has no read with a timeout: a process that says nothing for too long is ended, and then says that.
        impatient = threading.Timer(PATIENCE, self._process.kill)
        impatient.start()
        line = self._stdout.readline()
        impatient.cancel()
        match = re.search(r"(http://\S+)", line)
        self.address = match[1] if match else ""

    @property
    def log(self) -> str:
        return Path(self._log.name).read_text()

    @property
    def lines(self) -> list[str]:
        return self.log.splitlines()

    def signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def ended(self) -> int:
        """Wait for the end; return the exit status, or minus the signal."""
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, "the server does not end"
        return self._process.exitcode

    def close(self) -> None:
        """End the process if it has not ended."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._stdout.close()
        self._log.close()


@contextmanager
def forked_server(*arguments: str, limits: ShutdownLimits, **variables: str) -> Iterator[ForkedServer]:
    """Serve to the end of the block. `address` is "" where the server did not start; then `log` says why."""
    server = ForkedServer(arguments, limits, **variables)
    try:
        yield server
    finally:
        server.close()

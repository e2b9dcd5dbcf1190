"""The server as it is run: `python -m chatfeedback serve` in a process of its own, on 127.0.0.1 and a free port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0


class Served:
    """Running server: its `address`, its process, and all that it has logged so far."""

    def __init__(self, arguments: Sequence[str], **variables: str) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chatfeedback", "serve", "--no-open", "--port", "0", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **variables},
        )
        # Python has no read with a timeout: a process that says nothing for too long is ended, and then says that.
        impatient = threading.Timer(PATIENCE, self.process.kill)
        impatient.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        impatient.cancel()
        match = re.search(r"(http://\S+)", line)
        self.address = match[1] if match else ""

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    @property
    def lines(self) -> list[str]:
        return self.log.splitlines()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for the end; return the exit status, or minus the signal."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End the process if it has not ended."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


@contextmanager
def served(*arguments: str, **variables: str) -> Iterator[Served]:
    """Serve to the end of the block. `address` is "" where the server did not start; then `log` says why."""
    started = Served(arguments, **variables)
    try:
        yield started
    finally:
        started.close()

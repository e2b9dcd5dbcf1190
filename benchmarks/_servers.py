"""Servers in processes of their own, on 127.0.0.1 and a free port, and what the web is measured with."""

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

PATIENCE = 300.0
"""Seconds within which a server has to answer."""


class Server:
    """`python -m` with these arguments, in which PORT stands for the port."""

    def __init__(self, *arguments: str) -> None:
        self.port = free_port()
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", *(argument.replace("PORT", str(self.port)) for argument in arguments)],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"},
        )
        try:
            while not self._answers():
                if self._process.poll() is not None or time.perf_counter() > started + PATIENCE:
                    raise SystemExit(f"no answer from: {' '.join(arguments)}")
                time.sleep(0.01)
        except BaseException:
            self.stop()
            raise
        self.seconds_to_first_page = time.perf_counter() - started

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def page(self) -> bytes:
        """The page as it is served: Gradio puts the whole configuration into it."""
        with urllib.request.urlopen(self.address, timeout=PATIENCE) as response:
            return bytes(response.read())

    def stop(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        self._process.wait()

    def freeze(self) -> None:
        """Takes the processor away from it: even an idle Gradio uses a tenth of a core."""
        self._process.send_signal(signal.SIGSTOP)

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Lets a frozen one run, to the end of the block."""
        self._process.send_signal(signal.SIGCONT)
        time.sleep(0.2)  # what it has missed is made up for
        try:
            yield
        finally:
            self.freeze()

    def cpu_seconds(self) -> float:
        """The time that the cores have spent on it so far, in steps of a hundredth of a second (Linux only)."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _answers(self) -> bool:
        try:
            return bool(self.page())
        except urllib.error.HTTPError as refusal:
            return refusal.code == 401  # it wants to know who asks
        except (urllib.error.URLError, ConnectionError):
            return False


@contextmanager
def serving(*arguments: str) -> Iterator[Server]:
    """A `Server` to the end of the block."""
    server = Server(*arguments)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def serving_all(arguments: Sequence[Sequence[str]]) -> Iterator[list[Server]]:
    """Several servers, started side by side, to the end of the block."""
    with ExitStack() as running:
        with ThreadPoolExecutor(len(arguments)) as threads:
            starting = [threads.submit(Server, *each) for each in arguments]
        for each in starting:
            if each.exception() is None:
                running.callback(each.result().stop)
        yield [each.result() for each in starting]


def busy_seconds() -> float:
    """What all the cores of the machine together have worked so far (Linux only)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")

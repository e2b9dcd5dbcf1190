"""Find tests that start a program without the mark for it: `--quick` would run them.

`starts()` allows it for fixtures that many tests share, such as the Postgres of the test run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

EVENTS = ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.system")

_started: list[str] = []
_allowed = 0


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event in EVENTS and not _allowed:
        _started.append(f"{event} {arguments[:1]}")


sys.addaudithook(_note)


@contextmanager
def allowed() -> Iterator[None]:
    """What is started to the end of the block belongs to no single test."""
    global _allowed
    _allowed += 1
    try:
        yield
    finally:
        _allowed -= 1


@contextmanager
def started() -> Iterator[list[str]]:
    """The programs that are started to the end of the block."""
    programs: list[str] = []
    before = len(_started)
    try:
        yield programs
    finally:
        programs += _started[before:]
        del _started[before:]

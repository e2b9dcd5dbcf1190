"""Find tests that start a program without the mark for it: `--quick` would run them.

The programs of Postgres do not count: most tests want a database, and the server is shared.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

POSTGRES = {"initdb", "postgres", "psql", "pg_dump", "pg_restore"}
EVENTS = ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system")

_started: list[str] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event in EVENTS:
        program = str(arguments[0]) if arguments else event
        if PurePath(program).name not in POSTGRES:
            _started.append(program)


sys.addaudithook(_note)


@contextmanager
def started() -> Iterator[list[str]]:
    """Yield the list of programs that are started to the end of the block."""
    programs: list[str] = []
    before = len(_started)
    try:
        yield programs
    finally:
        programs += _started[before:]
        del _started[before:]

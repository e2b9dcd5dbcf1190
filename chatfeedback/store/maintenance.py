"""Maintenance: check a database against its log, and rebuild what is derived from it."""

from __future__ import annotations

from collections.abc import Callable

from chatfeedback.store.database.engine import parse_url
from chatfeedback.store.database.migrate import _check_exists, _check_usable, _head, _known, _opened
from chatfeedback.store.projections.rebuild import rebuild_projections
from chatfeedback.store.projections.verify import find_problems


def check(url: str) -> list[str]:
    """What is wrong with the database, a sentence each; [] when all is as it must be.

    Looks at one state of the database, however much is written meanwhile, and holds one conversation at a time.
    """
    parsed = parse_url(url)
    _check_exists(parsed)
    with _opened(parsed, read_only=True) as connection:
        revision = _known(connection)
        if revision != _head():
            return [f"The schema is at revision {revision or 'none'}, this release needs {_head()}."]
        return find_problems(connection)


def rebuild(url: str, progress: Callable[[int, int], None]) -> int:
    """Makes the projections again from the log, in one transaction; returns the number of events read.

    `progress` is told the events done and the events there are. Appends wait meanwhile, reads go on and see the old
    rows until the commit. Raises StoreCorrupt for an event that cannot be read, and has then changed nothing.
    """
    parsed = parse_url(url)
    _check_usable(parsed)
    with _opened(parsed) as connection:
        return rebuild_projections(connection, progress)

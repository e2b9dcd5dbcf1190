"""Maintenance: check a database against its log, and rebuild its projections."""

from __future__ import annotations

from collections.abc import Callable

from chatfeedback.store.database.engine import parse_url
from chatfeedback.store.database.migrate import (
    _check_exists,
    _check_usable,
    _connect,
    _head,
    _known_revision,
    check_encoding,
)
from chatfeedback.store.projections.rebuild import rebuild_projections
from chatfeedback.store.projections.verify import find_problems


def check(url: str) -> list[str]:
    """Return a list of problems, one sentence each; empty if the database is sound.

    It reads one snapshot, however much is written meanwhile, and keeps a bounded batch of conversations in memory.
    """
    parsed = parse_url(url)
    _check_exists(parsed)
    with _connect(parsed, read_only=True) as connection:
        check_encoding(connection)
        revision = _known_revision(connection)
        if revision != _head():
            return [f"The schema is at revision {revision or 'none'}, this release needs {_head()}."]
        return find_problems(connection)


def rebuild(url: str, progress: Callable[[int, int], None]) -> int:
    """Rebuild the projections from the log in one transaction; return the number of events read.

    Appends wait meanwhile. Reads continue, and see the old rows until the commit.

    Args:
        url: URL of the database.
        progress: Callback with the number of events read and their total number.

    Raises:
        StoreCorrupt: An event cannot be read; nothing was changed.
    """
    parsed = parse_url(url)
    _check_usable(parsed)
    with _connect(parsed) as connection:
        return rebuild_projections(connection, progress)

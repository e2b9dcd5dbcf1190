"""The projections made again from the log, in one transaction, while the application may be running.

Readers see the old rows until the commit. Writers wait: on SQLite the write lock is taken first; on Postgres the
tables are locked in the order in which an append takes its own locks, `conversations` first, so that an append which
has begun can end and neither waits for the other for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, text

from chatfeedback.errors import StoreCorrupt
from chatfeedback.store import projections
from chatfeedback.store.replay import replay
from chatfeedback.store.schema import PROJECTIONS, events

_LOCK = "LOCK TABLE conversations, events, messages, ratings, rating_reasons IN EXCLUSIVE MODE"
_ROWS_AT_ONCE = 1000


def rebuild_projections(connection: Connection, progress: Callable[[int, int], None]) -> int:
    """Returns the number of events read; `progress` is told the events done and the events there are."""
    connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text(_LOCK))
        total = connection.scalar(select(func.count()).select_from(events)) or 0
        for table in reversed(PROJECTIONS):
            connection.execute(delete(table))
        done = 0
        waiting: dict[Table, list[dict[str, Any]]] = {table: [] for table in PROJECTIONS}
        with closing(replay(connection)) as conversations:
            for conversation in conversations:
                if isinstance(conversation, StoreCorrupt):
                    raise conversation
                done += conversation.version
                for table, rows in projections.rows_of(conversation).items():
                    waiting[table] += rows
                if sum(map(len, waiting.values())) >= _ROWS_AT_ONCE:
                    _insert(connection, waiting)
                    progress(done, total)
        _insert(connection, waiting)
    progress(done, total)
    return done


def _insert(connection: Connection, waiting: dict[Table, list[dict[str, Any]]]) -> None:
    for table, rows in waiting.items():
        if rows:
            connection.execute(insert(table), rows)
            rows.clear()

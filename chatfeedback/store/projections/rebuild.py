"""The projections made again from the log, in one transaction, while the application may be running.

Readers see the old rows until the commit. Writers wait: on SQLite the write lock is taken first; on Postgres the
tables are locked in the order in which an append takes its own locks, `conversations` first, so that an append which
has begun can end and neither waits for the other for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, text

from chatfeedback.errors import StoreCorrupt
from chatfeedback.store.projections import conversation as projections
from chatfeedback.store.projections.replay import replay
from chatfeedback.store.schema import PROJECTIONS, conversations, events, messages, rating_reasons, ratings

LOCK = "LOCK TABLE conversations, events, messages, ratings, rating_reasons IN EXCLUSIVE MODE"
"""On Postgres, for whoever keeps appends out for a while."""
_ROW_BATCH = 1000


def rebuild_projections(connection: Connection, progress: Callable[[int, int], None]) -> int:
    """Returns the number of events read; `progress` is told the events done and the events there are."""
    connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
    with connection.begin():
        done = rebuild_in_transaction(connection, progress)
    progress(done, done)
    return done


def rebuild_in_transaction(connection: Connection, progress: Callable[[int, int], None] = lambda *_: None) -> int:
    """The same in the transaction of the caller, which has the write lock of SQLite. Raises StoreCorrupt."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(LOCK))
    total = connection.scalar(select(func.count()).select_from(events)) or 0
    for table in reversed(PROJECTIONS):
        connection.execute(delete(table))
    done = 0
    waiting: dict[Table, list[dict[str, Any]]] = {table: [] for table in PROJECTIONS}
    with closing(replay(connection)) as replayed:
        for conversation in replayed:
            if isinstance(conversation, StoreCorrupt):
                raise conversation
            done += 1 if conversation.erased else conversation.version
            for table, rows in projections.rows_of(conversation).items():
                waiting[table] += rows
            if sum(map(len, waiting.values())) >= _ROW_BATCH:
                _insert(connection, waiting)
                progress(done, total)
    _insert(connection, waiting)
    return done


def rebuild_conversations(connection: Connection, conversation_ids: Sequence[str]) -> None:
    """The rows of these alone, in a transaction that keeps appends out. Raises StoreCorrupt."""
    delete_projections(connection, conversation_ids)
    with closing(replay(connection, conversation_ids)) as replayed:
        for conversation in replayed:
            if isinstance(conversation, StoreCorrupt):
                raise conversation
            _insert(connection, projections.rows_of(conversation))


def delete_projections(connection: Connection, conversation_ids: Sequence[str]) -> None:
    """Deletes all rows of these conversations but those of the log."""
    told = select(messages.c.message_id).where(messages.c.conversation_id.in_(conversation_ids))
    connection.execute(delete(rating_reasons).where(rating_reasons.c.message_id.in_(told)))
    for table in (ratings, messages, conversations):
        connection.execute(delete(table).where(table.c.conversation_id.in_(conversation_ids)))


def _insert(connection: Connection, waiting: dict[Table, list[dict[str, Any]]]) -> None:
    for table, rows in waiting.items():
        if rows:
            connection.execute(insert(table), rows)
            rows.clear()

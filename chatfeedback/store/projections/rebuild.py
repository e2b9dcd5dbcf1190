"""Rebuild of the projections from the log, in one transaction, also while the application is running.

Readers see the old rows until the commit. Writers wait. On SQLite the write lock is taken first. On Postgres the
tables are locked in the order in which an append takes its locks, `conversations` first: a running append can finish,
and there is no deadlock.
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
"""Postgres statement that keeps appends out until the end of the transaction."""
_ROW_BATCH = 1000


def rebuild_projections(connection: Connection, progress: Callable[[int, int], None]) -> int:
    """Rebuild all projections; return the number of events read.

    Args:
        connection: Connection without an open transaction.
        progress: Callback with the number of events read and their total number.
    """
    connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
    with connection.begin():
        read = rebuild_in_transaction(connection, progress)
    progress(read, read)
    return read


def rebuild_in_transaction(connection: Connection, progress: Callable[[int, int], None] = lambda *_: None) -> int:
    """Rebuild all projections in the caller's transaction, which has SQLite's write lock. Raises StoreCorrupt."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(LOCK))
    total = connection.scalar(select(func.count()).select_from(events)) or 0
    for table in reversed(PROJECTIONS):
        connection.execute(delete(table))
    read = 0
    buffer: dict[Table, list[dict[str, Any]]] = {table: [] for table in PROJECTIONS}
    with closing(replay(connection)) as replayed:
        for conversation in replayed:
            if isinstance(conversation, StoreCorrupt):
                raise conversation
            read += 1 if conversation.erased else conversation.version
            for table, rows in projections.rows_of(conversation).items():
                buffer[table] += rows
            if sum(map(len, buffer.values())) >= _ROW_BATCH:
                _insert(connection, buffer)
                progress(read, total)
    _insert(connection, buffer)
    return read


def rebuild_conversations(connection: Connection, conversation_ids: Sequence[str]) -> None:
    """Rebuild the rows of these conversations, in a transaction that keeps appends out. Raises StoreCorrupt."""
    delete_projections(connection, conversation_ids)
    with closing(replay(connection, conversation_ids)) as replayed:
        for conversation in replayed:
            if isinstance(conversation, StoreCorrupt):
                raise conversation
            _insert(connection, projections.rows_of(conversation))


def delete_projections(connection: Connection, conversation_ids: Sequence[str]) -> None:
    """Delete the projections of these conversations; the log keeps their events."""
    message_ids = select(messages.c.message_id).where(messages.c.conversation_id.in_(conversation_ids))
    connection.execute(delete(rating_reasons).where(rating_reasons.c.message_id.in_(message_ids)))
    for table in (ratings, messages, conversations):
        connection.execute(delete(table).where(table.c.conversation_id.in_(conversation_ids)))


def _insert(connection: Connection, rows_by_table: dict[Table, list[dict[str, Any]]]) -> None:
    for table, rows in rows_by_table.items():
        if rows:
            connection.execute(insert(table), rows)
            rows.clear()

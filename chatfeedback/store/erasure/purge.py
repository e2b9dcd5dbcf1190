"""Purge of deleted rows from the files of the database.

SQLite keeps old text in free pages, in the unused part of pages and in the write-ahead log. VACUUM rewrites the file
without it; then a truncating checkpoint brings that into the file and empties the log. Postgres keeps dead rows
until VACUUM, and samples of columns until ANALYZE.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine

from chatfeedback.errors import StoreError, StoreUnavailable
from chatfeedback.store.database.errors import reason, translating

WAL_CHECKPOINT_SECONDS = 30.0
"""Time that a checkpoint waits for readers and writers to release the write-ahead log."""
_PAUSE_SECONDS = 0.02
_TABLES = (
    "events, conversations, messages, ratings, rating_reasons, reply_drafts,"
    " annotators, users, identities, sessions, consents"
)
_INCOMPLETE_PURGE = (
    "All of it is erased, but remnants may still lie in the database's files ({reason}); run"
    " `chatfeedback erase {flags}` once more to remove them."
)


@contextmanager
def secure_delete(connection: Connection) -> Iterator[None]:
    """Make SQLite overwrite deleted content with zeros in the block; the connection is not reused afterwards."""
    if connection.dialect.name == "sqlite":
        _driver(connection).execute("PRAGMA secure_delete=ON")
    try:
        yield
    finally:
        connection.invalidate()


def vacuum(engine: Engine, flags: str) -> None:
    """Purge the remnants of deleted rows.

    Args:
        engine: Engine of the database.
        flags: Flags of the command that would repeat the purge, for the error.

    Raises:
        StoreUnavailable: The purge is incomplete, such as because of a reader; the message says so.
    """
    try:
        with translating(), engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                with secure_delete(connection):
                    _vacuum_sqlite(_driver(connection))
            else:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql(f"VACUUM (ANALYZE) {_TABLES}")
    except StoreError as error:
        raise StoreUnavailable(_INCOMPLETE_PURGE.format(reason=reason(error), flags=flags)) from error


def _vacuum_sqlite(connection: Any) -> None:
    connection.execute("PRAGMA temp_store=FILE")  # VACUUM copies everything: not into memory
    connection.execute("VACUUM")
    connection.execute(f"PRAGMA busy_timeout={round(WAL_CHECKPOINT_SECONDS * 1000)}")
    deadline = time.monotonic() + WAL_CHECKPOINT_SECONDS
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]:
        if time.monotonic() > deadline:
            raise StoreUnavailable("another program reads the database")
        # SQLite waits for readers and writers itself, but not for another process's checkpoint.
        time.sleep(_PAUSE_SECONDS)


def _driver(connection: Connection) -> Any:
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - for the type checker
    return driver

"""What databases leave behind of rows that are gone, and how it is removed.

SQLite keeps old text in free pages, in the unused part of pages and in the write-ahead log: VACUUM writes the file anew
without it, and a checkpoint that truncates brings that into the file and empties the log. Postgres keeps dead rows
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

CLEANING_SECONDS = 30.0
"""That a checkpoint waits for readers and writers to let go of the write-ahead log."""
_PAUSE_SECONDS = 0.02
_TABLES = (
    "events, conversations, messages, ratings, rating_reasons, reply_drafts,"
    " annotators, users, identities, sessions, consents"
)
_INCOMPLETE_PURGE = (
    "All of it is erased, but remnants may still lie in the database's files ({why}); run"
    " `chatfeedback erase {again}` once more to remove them."
)


@contextmanager
def secure_delete(connection: Connection) -> Iterator[None]:
    """Lets SQLite overwrite with zeros what the block deletes; the connection is not used again afterwards."""
    if connection.dialect.name == "sqlite":
        _driver(connection).execute("PRAGMA secure_delete=ON")
    try:
        yield
    finally:
        connection.invalidate()


def vacuum(engine: Engine, again: str) -> None:
    """Removes what is left of rows that are gone. `again`: the flags of the command that would do it once more.

    Raises StoreUnavailable, with a sentence that says so, when something is in the way.
    """
    try:
        with translating(), engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                with secure_delete(connection):
                    _clean_sqlite(_driver(connection))
            else:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql(f"VACUUM (ANALYZE) {_TABLES}")
    except StoreError as error:
        raise StoreUnavailable(_INCOMPLETE_PURGE.format(why=reason(error), again=again)) from error


def _clean_sqlite(connection: Any) -> None:
    connection.execute("PRAGMA temp_store=FILE")  # a copy of everything does not belong into the memory
    connection.execute("VACUUM")
    connection.execute(f"PRAGMA busy_timeout={round(CLEANING_SECONDS * 1000)}")
    until = time.monotonic() + CLEANING_SECONDS
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]:
        if time.monotonic() > until:
            raise StoreUnavailable("another program reads the database")
        # SQLite waits for readers and writers by itself, but not for somebody else's checkpoint.
        time.sleep(_PAUSE_SECONDS)


def _driver(connection: Connection) -> Any:
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - for the type checker
    return driver

"""Transactions for rare operations: accounts, sessions, the audit. The log has a writer of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from chatfeedback.store.database.errors import translating


@contextmanager
def read_write(engine: Engine) -> Iterator[Connection]:
    """Open a connection whose work is committed when the block succeeds, else rolled back. Raises StoreError.

    On SQLite it takes the write lock at once (BEGIN IMMEDIATE): reads in the block stay valid until the commit.
    """
    with translating(), engine.connect().execution_options(sqlite_begin="BEGIN IMMEDIATE") as connection:
        yield connection
        connection.commit()


@contextmanager
def read_only(engine: Engine) -> Iterator[Connection]:
    """Open a connection for reading. Raises StoreError."""
    with translating(), engine.connect() as connection:
        yield connection

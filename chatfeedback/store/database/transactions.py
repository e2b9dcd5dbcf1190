"""Transactions for what happens rarely: people, sessions, the audit. The log has a writer of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from chatfeedback.store.database.errors import translating


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection whose work is committed when the block ends well, and undone when not. Raises StoreError.

    On SQLite it has the write lock from the start: what was read in it stays true until the commit.
    """
    with translating(), engine.connect().execution_options(sqlite_begin="BEGIN IMMEDIATE") as connection:
        yield connection
        connection.commit()


@contextmanager
def looking(engine: Engine) -> Iterator[Connection]:
    """A connection that only reads. Raises StoreError."""
    with translating(), engine.connect() as connection:
        yield connection

"""One state of the database, read in streams that hold a few hundred rows at a time.

Postgres: server-side cursors in one REPEATABLE READ, READ ONLY transaction. SQLite: its own cursors, which compute a
row when it is asked for, in one read transaction. What others append meanwhile is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

from sqlalchemy import Engine, Executable

from chatfeedback.store.sql import Row, Statements, Transaction, reading

ROWS_AT_ONCE = 500
"""That one round trip to Postgres brings."""


class Snapshot:
    """Reads from an open transaction. Its streams end with it, also those that nobody read to the end."""

    def __init__(self, tx: Transaction, statements: Statements, server_side: bool) -> None:
        self._tx = tx
        self._statements = statements
        self._server_side = server_side
        self._names = count()
        self._open: set[Any] = set()

    def rows(self, statement: Executable, parameters: Mapping[str, Any]) -> Iterator[Row]:
        """The rows of a statement as the driver gives them; several streams may be read in turns."""
        cursor = self._cursor()
        self._open.add(cursor)
        try:
            cursor.execute(self._statements.text(statement, parameters), parameters)
            yield from cursor
        finally:
            self._open.discard(cursor)
            cursor.close()

    def one(self, statement: Executable, parameters: Mapping[str, Any]) -> Row | None:
        """The first row, or None."""
        return self._tx.one(statement, parameters)

    def close(self) -> None:
        """Ends the streams, before the connection goes back to the pool and to somebody else."""
        for cursor in self._open:
            cursor.close()
        self._open.clear()

    def _cursor(self) -> Any:
        if not self._server_side:
            return self._tx.connection.cursor()
        cursor = self._tx.connection.cursor(name=f"export_{next(self._names)}")
        cursor.itersize = ROWS_AT_ONCE
        return cursor


@contextmanager
def snapshot(engine: Engine) -> Iterator[Snapshot]:
    """The present state of the database. Raises StoreUnavailable, SchemaBehind."""
    statements = Statements(engine.dialect)
    with reading(engine, statements) as tx:
        state = Snapshot(tx, statements, engine.dialect.name == "postgresql")
        try:
            yield state
        finally:
            state.close()

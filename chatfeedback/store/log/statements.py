"""Compiled statements: SQLAlchemy Core, compiled once and executed by the driver itself.

The write path executes half a dozen tiny statements for each event. Building and compiling them each time costs about
four times as much as the database does (docs/performance.md). They are therefore module constants, compiled for the
dialect at first use. From then on the driver gets plain text. A `Transaction` is one open transaction on one driver
connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from sqlalchemy import Dialect, Engine, Executable
from sqlalchemy.sql.compiler import SQLCompiler

from chatfeedback.store.database.engine import AT_BEGIN
from chatfeedback.store.database.errors import is_read_only, translating

Row = tuple[Any, ...]


Parameters = Mapping[str, Any]
Bind = Callable[[Parameters], Any]
"""Converts named parameters to what the driver takes."""


class Statements:
    """Cache of the driver's text for each Core statement of one dialect.

    The key is the identity of a statement. Each statement is always executed with parameters of the same names.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._compiled: dict[Executable, tuple[str, Bind]] = {}

    def compiled(self, statement: Executable, parameters: Parameters) -> tuple[str, Bind]:
        """Return the text of the statement and the converter of its parameters; compile at first use."""
        entry = self._compiled.get(statement)
        if entry is None:
            compiled = statement.compile(  # type: ignore[attr-defined]
                dialect=self._dialect, column_keys=list(parameters)
            )
            assert isinstance(compiled, SQLCompiler) and not compiled.literal_execute_params  # noqa: S101 - of our own statements
            entry = self._compiled[statement] = _strip_casts(str(compiled)), _binder(compiled.positiontup)
        return entry


def _binder(names: list[str] | None) -> Bind:
    """Return a converter: by position for sqlite3, because a look-up by name costs 0.1 µs more."""
    if names is None:
        return lambda parameters: parameters
    if len(names) < 2:
        return lambda parameters: [parameters[name] for name in names]
    return itemgetter(*names)


def _strip_casts(text: str) -> str:
    # psycopg knows the types of its parameters; the casts that SQLAlchemy adds only cost parsing.
    return re.sub(r"(%\(\w+\)s)::(?:VARCHAR|TEXT)\b", r"\1", text)


class Transaction:
    """One open transaction; the caller that opened it commits it."""

    def __init__(self, connection: Any, statements: Statements) -> None:
        self.connection = connection
        self._cursor = connection.cursor()
        self._statements = statements

    def run(self, statement: Executable, parameters: Parameters) -> int:
        """Execute a statement; return the number of rows affected."""
        text, bind = self._statements.compiled(statement, parameters)
        self._cursor.execute(text, bind(parameters))
        return int(self._cursor.rowcount)

    def run_many(self, statement: Executable, rows: Iterable[Parameters]) -> None:
        """Execute a statement once for each row of parameters, which all have the same keys."""
        parameters = list(rows)
        if parameters:
            text, bind = self._statements.compiled(statement, parameters[0])
            self._cursor.executemany(text, map(bind, parameters))

    def one(self, statement: Executable, parameters: Parameters) -> Row | None:
        """Return the first row, or None."""
        text, bind = self._statements.compiled(statement, parameters)
        self._cursor.execute(text, bind(parameters))
        row: Row | None = self._cursor.fetchone()
        return row

    def all(self, statement: Executable, parameters: Parameters) -> list[Row]:
        """Return all rows."""
        text, bind = self._statements.compiled(statement, parameters)
        self._cursor.execute(text, bind(parameters))
        rows: list[Row] = self._cursor.fetchall()
        return rows

    def inserted(self, statement: Executable, parameters: Parameters) -> int:
        """Execute an INSERT; return the position that the database generated.

        Postgres needs RETURNING. SQLite reports `lastrowid` itself, in half the time of the INSERT.
        """
        cursor = self._cursor
        text, bind = self._statements.compiled(statement, parameters)
        cursor.execute(text, bind(parameters))
        return int(cursor.lastrowid if cursor.description is None else cursor.fetchone()[0])

    def script(self, text: str) -> None:
        """Execute a bare command such as SAVEPOINT."""
        self._cursor.execute(text)


@contextmanager
def reading(engine: Engine, statements: Statements) -> Iterator[Transaction]:
    """Open a read-only transaction that sees one snapshot of the database. Raises StoreUnavailable."""
    with translating():
        pooled = engine.raw_connection()
        try:
            tx = Transaction(pooled.driver_connection, statements)
            if engine.dialect.name == "sqlite":
                tx.script("BEGIN")  # on Postgres, psycopg begins by itself
            else:
                begin(tx, pooled)
                tx.script("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield tx
        except BaseException as error:
            invalidate_if_lost(pooled, error)
            raise
        finally:
            return_to_pool(pooled, engine.dialect)


def begin(tx: Transaction, pooled: Any) -> None:
    """Begin a transaction on Postgres: psycopg does it by itself, at the first statement."""
    if statement := pooled.info[AT_BEGIN]:
        tx.script(statement)


def return_to_pool(pooled: Any, dialect: Dialect) -> None:
    """Roll back and return a connection to the pool; the pool itself would log a traceback for a lost one."""
    driver = pooled.driver_connection
    if driver is not None:
        try:
            driver.rollback()
        except dialect.loaded_dbapi.Error:  # reads are complete; the next caller gets another connection
            pooled.invalidate()
    pooled.close()


def invalidate_if_lost(pooled: Any, error: BaseException) -> None:
    """Remove a connection from the pool after an error that another connection may not have.

    The pool would try to roll back a lost connection, and log a traceback. A connection to a server that became a
    standby stays read-only, while a new one may reach the new primary.
    """
    driver = pooled.driver_connection
    if driver is None or getattr(driver, "broken", False) or is_read_only(error):  # SQLite's are never broken
        pooled.invalidate()

"""Core statements, compiled once, run by the driver itself.

The write path runs half a dozen tiny statements for an event; building and compiling them each time costs more than
the database does (about 4x, docs/performance.md). So they are written as SQLAlchemy Core once, as module constants,
compiled for the dialect at first use, and from then on given to the driver as text. A `Transaction` is one open
transaction on one driver connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from sqlalchemy import Dialect, Engine, Executable
from sqlalchemy.sql.compiler import SQLCompiler

from chatfeedback.store.database.errors import only_reads, translating

Row = tuple[Any, ...]


Parameters = Mapping[str, Any]
Bind = Callable[[Parameters], Any]
"""Makes of named parameters what the driver takes."""


class Statements:
    """The driver's text for each Core statement of one dialect.

    Statements are told apart by identity, and each is always run with parameters of the same names.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._compiled: dict[Executable, tuple[str, Bind]] = {}

    def compiled(self, statement: Executable, parameters: Parameters) -> tuple[str, Bind]:
        """Return the text, and what makes its parameters; compile it at first use."""
        found = self._compiled.get(statement)
        if found is None:
            compiled = statement.compile(  # type: ignore[attr-defined]
                dialect=self._dialect, column_keys=list(parameters)
            )
            assert isinstance(compiled, SQLCompiler) and not compiled.literal_execute_params  # noqa: S101 - of our own statements
            found = self._compiled[statement] = _plain(str(compiled)), _bind(compiled.positiontup)
        return found


def _bind(names: list[str] | None) -> Bind:
    """By position where the driver counts them, as sqlite3 does: to look up each name costs it 0.1 µs more."""
    if names is None:
        return lambda parameters: parameters
    if len(names) < 2:
        return lambda parameters: [parameters[name] for name in names]
    return itemgetter(*names)


def _plain(text: str) -> str:
    # psycopg knows the types of what it is given; the casts that SQLAlchemy adds only cost parsing.
    return re.sub(r"(%\(\w+\)s)::(?:VARCHAR|TEXT)\b", r"\1", text)


class Transaction:
    """One open transaction. Whoever opened it commits it."""

    def __init__(self, connection: Any, statements: Statements) -> None:
        self.connection = connection
        self._cursor = connection.cursor()
        self._statements = statements

    def run(self, statement: Executable, parameters: Parameters) -> int:
        """Runs a statement; returns the number of rows that it touched."""
        text, bind = self._statements.compiled(statement, parameters)
        self._cursor.execute(text, bind(parameters))
        return int(self._cursor.rowcount)

    def run_many(self, statement: Executable, rows: Iterable[Parameters]) -> None:
        """Runs a statement once for each row of parameters, which all have the same keys."""
        listed = list(rows)
        if listed:
            text, bind = self._statements.compiled(statement, listed[0])
            self._cursor.executemany(text, map(bind, listed))

    def one(self, statement: Executable, parameters: Parameters) -> Row | None:
        """The first row, or None."""
        text, bind = self._statements.compiled(statement, parameters)
        self._cursor.execute(text, bind(parameters))
        row: Row | None = self._cursor.fetchone()
        return row

    def all(self, statement: Executable, parameters: Parameters) -> list[Row]:
        """All rows."""
        text, bind = self._statements.compiled(statement, parameters)
        self._cursor.execute(text, bind(parameters))
        rows: list[Row] = self._cursor.fetchall()
        return rows

    def inserted(self, statement: Executable, parameters: Parameters) -> int:
        """Runs an INSERT; returns the number that the database gave the row.

        Postgres has to be asked for it by RETURNING; SQLite tells by itself, in half the time of the INSERT.
        """
        cursor = self._cursor
        text, bind = self._statements.compiled(statement, parameters)
        cursor.execute(text, bind(parameters))
        return int(cursor.lastrowid if cursor.description is None else cursor.fetchone()[0])

    def script(self, text: str) -> None:
        """Runs a bare command such as SAVEPOINT."""
        self._cursor.execute(text)


@contextmanager
def reading(engine: Engine, statements: Statements) -> Iterator[Transaction]:
    """A transaction that only reads, and sees one state of the database throughout. Raises StoreUnavailable."""
    with translating():
        pooled = engine.raw_connection()
        try:
            tx = Transaction(pooled.driver_connection, statements)
            if engine.dialect.name == "sqlite":
                tx.script("BEGIN")  # Postgres: psycopg has begun by itself
            else:
                tx.script("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield tx
        except BaseException as error:
            let_go_if_lost(pooled, error)
            raise
        finally:
            give_back(pooled, engine.dialect)


def give_back(pooled: Any, dialect: Dialect) -> None:
    """Roll a connection back and return it to the pool, which would log a traceback if it found out that it is lost."""
    driver = pooled.driver_connection
    if driver is not None:
        try:
            driver.rollback()
        except dialect.loaded_dbapi.Error:  # what was read is whole; the next one gets another connection
            pooled.invalidate()
    pooled.close()


def let_go_if_lost(pooled: Any, error: BaseException) -> None:
    """Take a connection out of the pool after an error that another connection may not have.

    The pool would try to roll back one that is lost, and log a traceback. One to a server that has become a standby
    stays what it is, while a new one may find the server that is written now.
    """
    driver = pooled.driver_connection
    if driver is None or getattr(driver, "broken", False) or only_reads(error):  # those of SQLite are never broken
        pooled.invalidate()

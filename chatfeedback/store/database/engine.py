"""Engines: how a database URL becomes connections with the guarantees that the store relies on.

SQLite: WAL, synchronous=FULL (a commit survives a power cut), foreign keys on, and transactions that we begin
ourselves, because the driver's own deferred BEGIN fails at once when a read turns into a write under load.
Postgres: psycopg 3 behind a pool, sessions in UTC.

What a failing statement was given is in no message: it may be what somebody wrote.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from chatfeedback.errors import SettingsError, StoreUnavailable

BUSY_SECONDS = 10.0
LIBPQ_TIMEOUTS = {
    "connect_timeout": 10,
    # A server that vanishes with its machine, or the network, says nothing: it is given up after half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
"""Of libpq, in seconds, the last one in milliseconds; what the URL says goes before."""
SERVER_PARAMETERS = {
    "timezone": "UTC",
    # The server, too, gives up who vanished: until then it keeps the rows that a half-done transaction holds.
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 4,
}
"""Of the server, for each connection."""
LOCK_SECONDS = 10
"""That a server waits for what another session has locked, before people are told; a migration waits for longer."""
POOL_SIZE = 10
SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-32768",
)


def parse_url(url: str) -> URL:
    """The URL with its driver named; raises SettingsError for anything but SQLite files and Postgres."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError(
            "The database URL cannot be read; write sqlite:///file.db or postgresql://user@host/name."
        ) from None
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if parsed.database in (None, "", ":memory:"):
            raise SettingsError("chatfeedback keeps everything in a file; write sqlite:///file.db.")
        if parsed.query:
            raise SettingsError("A SQLite URL has no parameters; write sqlite:///file.db.")
        return parsed.set(drivername="sqlite+pysqlite")
    raise SettingsError(f"{parsed.drivername!r} is not supported; use sqlite:///file.db or postgresql://…")


def file_of(url: URL) -> Path:
    """The file of a SQLite database, behind all links. Raises SettingsError where the folder for it does not exist."""
    file = Path(url.database or "").resolve()
    if not file.parent.is_dir():
        raise SettingsError(f"The folder {file.parent} for the database does not exist; make it first.")
    return file


def open_engine(url: str, *, read_only: bool = False, lock_seconds: float | None = None) -> Engine:
    """An engine for the URL; nothing is connected yet. Raises SettingsError for a URL that cannot work.

    `read_only` leaves a SQLite file as it is, its journal mode too, and asks for no right to write it. `lock_seconds`:
    what is locked by others on Postgres is waited for so long; None for however long it takes. On SQLite it is always
    BUSY_SECONDS.

    After `dispose()` a connection that is still in use then, by a thread whose caller was cancelled, closes when it
    is given back.
    """
    parsed = parse_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    engine = _sqlite_engine(parsed, read_only) if is_sqlite else _postgres_engine(parsed, lock_seconds)
    _close_late_connections(engine)
    return engine


def _close_late_connections(engine: Engine) -> None:
    """SQLAlchemy forgets the connections that are in use when an engine is disposed of, and never closes them."""
    disposed = threading.Event()
    event.listen(engine, "engine_disposed", lambda _engine: disposed.set())

    @event.listens_for(engine, "checkin")
    def _close(_connection: Any, record: ConnectionPoolEntry) -> None:
        if disposed.is_set():
            record.close()


def _postgres_engine(parsed: URL, lock_seconds: float | None) -> Engine:
    settings = (
        SERVER_PARAMETERS
        if lock_seconds is None
        else {**SERVER_PARAMETERS, "lock_timeout": f"{lock_seconds * 1000:.0f}ms"}
    )
    session = (f"-c {name}={value}" for name, value in settings.items())
    return create_engine(
        parsed.difference_update_query(["options"]),
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "options": " ".join([_joined(parsed.query.get("options", "")), *session]).strip(),
            **{name: value for name, value in LIBPQ_TIMEOUTS.items() if name not in parsed.query},
        },
    )


def _joined(options: str | tuple[str, ...]) -> str:
    return options if isinstance(options, str) else " ".join(options)


def _sqlite_engine(url: URL, read_only: bool) -> Engine:
    file = file_of(url)
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        hide_parameters=True,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        **({"creator": lambda: _reading(file)} if read_only else {}),
    )
    place = FileIdentity(Path(url.database or "").absolute())
    engine.update_execution_options(place=place)
    for moment in ("do_connect", "checkout"):
        event.listen(engine, moment, lambda *_: place.check())

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in () if read_only else SQLITE_PRAGMAS:
            _patiently(connection, pragma)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Who is going to write takes the lock at once: connection.execution_options(sqlite_begin="BEGIN IMMEDIATE").
        connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))

    return engine


class FileIdentity:
    """Where the file of an engine lies, from the first time that it is used.

    A file that is moved, deleted or replaced is written on by whoever has it open: all would go well, and be lost. And
    who opens it anew makes an empty one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None

    def check(self) -> None:
        """Raises StoreUnavailable while another file, or none, is in its place."""
        try:
            found = self._path.stat()
        except OSError:
            file = None
        else:
            file = found.st_dev, found.st_ino
        if self._file is None:
            self._file = file
        elif file != self._file:
            raise StoreUnavailable(
                f"The database {self._path.name} was moved, deleted or replaced, so nothing was stored; put it back, "
                "or start chatfeedback again."
            )


def _patiently(connection: sqlite3.Connection, pragma: str) -> None:
    """Runs it; of two programs that take a new file into use, SQLite refuses one at once, whatever its timeout is."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(pragma)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.02)


def _reading(path: Path) -> sqlite3.Connection:
    """A connection that only reads; also to a file in a folder where nothing can be written, as it lies there."""
    uri = f"{path.as_uri()}?mode=ro"
    connection = _connected(uri)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise
        # SQLite shares what is in the write-ahead log by a file beside it, which cannot be made here.
        connection = _connected(f"{uri}&immutable=1")
    return connection


def _connected(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)

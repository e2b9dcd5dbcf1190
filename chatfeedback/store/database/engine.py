"""Engines: connections for a database URL, with the guarantees that the store relies on.

SQLite: WAL, synchronous=FULL (a commit survives a power cut), foreign keys on. We begin transactions ourselves: the
driver's own deferred BEGIN fails at once when a read turns into a write under load.
Postgres: psycopg 3 behind a pool, sessions in UTC; also through a pooler such as PgBouncer.

Parameters are hidden from all messages (`hide_parameters`): they may be text that a user wrote.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from chatfeedback.errors import SettingsError, StoreUnavailable

BUSY_SECONDS = 10.0
LIBPQ_TIMEOUTS = {
    "connect_timeout": 10,
    # Keepalives: a server that vanishes with its machine or the network is given up after half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
"""Timeouts of libpq in seconds, the last one in milliseconds; parameters in the URL take precedence."""
SERVER_PARAMETERS: Mapping[str, str] = {
    "timezone": "UTC",
    # The server, too, gives up a vanished client: until then its open transaction keeps its row locks.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
}
"""Parameters of each Postgres session."""
TRANSACTION_PARAMETERS: Mapping[str, str] = {"timezone": "UTC"}
"""Those of each transaction behind a pooler, whose sessions belong to others too."""
AT_BEGIN = "statement_at_begin"
"""Key in the `info` of a connection: the statement with which each of its transactions begins, "" for none."""
LOCK_SECONDS = 10
"""Lock timeout of a Postgres session that serves requests; a migration waits longer."""
POOL_SIZE = 10
SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-32768",
)
_CREATING = threading.Lock()


def parse_url(url: str) -> URL:
    """Return the URL with its driver. Raises SettingsError for anything but SQLite files and Postgres."""
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
    """Return the file of a SQLite database, links resolved. Raises SettingsError if its folder cannot be used."""
    file = Path(url.database or "").resolve()
    try:
        if not file.parent.is_dir():
            raise SettingsError(f"The folder {file.parent} for the database does not exist; make it first.")
        file.exists()
    except PermissionError:
        raise SettingsError(
            f"This user may not enter the folder {file.parent} of the database; run chatfeedback as its owner, or "
            "change its owner or its mode."
        ) from None
    return file


def open_engine(url: str, *, read_only: bool = False, lock_seconds: float | None = None) -> Engine:
    """Create an engine for the URL, without connecting yet.

    After `dispose()`, a connection that a thread still uses (its caller was cancelled) closes when it is returned.

    Args:
        url: URL of a SQLite file or a Postgres database.
        read_only: Leave a SQLite file as it is, journal mode included, and need no permission to write it.
        lock_seconds: Lock timeout on Postgres; None waits without limit. On SQLite it is always BUSY_SECONDS.

    Raises:
        SettingsError: The URL cannot work.
    """
    parsed = parse_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    engine = _sqlite_engine(parsed, read_only) if is_sqlite else _postgres_engine(parsed, lock_seconds)
    _close_late_connections(engine)
    return engine


def _close_late_connections(engine: Engine) -> None:
    """Close connections that are returned after `dispose()`: SQLAlchemy forgets them and never closes them."""
    disposed = threading.Event()
    event.listen(engine, "engine_disposed", lambda _engine: disposed.set())

    @event.listens_for(engine, "checkin")
    def _close(_connection: Any, record: ConnectionPoolEntry) -> None:
        if disposed.is_set():
            record.close()


def _postgres_engine(parsed: URL, lock_seconds: float | None) -> Engine:
    lock_timeout: dict[str, str] = {} if lock_seconds is None else {"lock_timeout": f"{lock_seconds * 1000:.0f}ms"}
    engine = create_engine(
        parsed,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            # Not the default of the server: it may be one in which not every text can be sent.
            "client_encoding": "utf8",
            **{name: value for name, value in LIBPQ_TIMEOUTS.items() if name not in parsed.query},
        },
    )
    _set_parameters(engine, {**SERVER_PARAMETERS, **lock_timeout}, {**TRANSACTION_PARAMETERS, **lock_timeout})
    return engine


def _set_parameters(engine: Engine, of_session: Mapping[str, str], of_transaction: Mapping[str, str]) -> None:
    """Set parameters of each session by statements, because poolers such as PgBouncer refuse start-up options.

    Behind a pooler each transaction may run in another session of the server: so it sets its parameters itself, and
    there are no prepared statements, which belong to a session.
    """

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: ConnectionPoolEntry) -> None:
        connection.autocommit = True
        (backend_pid,) = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
        # A pooler tells a client a process id of its own.
        if is_pooled := backend_pid != connection.info.backend_pid:
            connection.prepare_threshold = None
        else:
            connection.execute(_statement("SET", of_session))
        connection.autocommit = False
        record.info[AT_BEGIN] = _statement("SET LOCAL", of_transaction) if is_pooled else ""

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.info[AT_BEGIN] and connection.get_isolation_level() != "AUTOCOMMIT":
            connection.exec_driver_sql(connection.info[AT_BEGIN])


def _statement(command: str, parameters: Mapping[str, str]) -> str:
    return "; ".join(f"{command} {name} = '{value}'" for name, value in parameters.items())


def _sqlite_engine(url: URL, read_only: bool) -> Engine:
    file = file_of(url)
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        hide_parameters=True,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        **({"creator": lambda: _connect_read_only(file)} if read_only else {}),
    )
    file_identity = FileIdentity(Path(url.database or "").absolute())
    engine.update_execution_options(file_identity=file_identity)
    for event_name in ("do_connect", "checkout"):
        event.listen(engine, event_name, lambda *_: file_identity.check())
    if not read_only:
        event.listen(engine, "do_connect", lambda *_: _check_access(file))
        event.listen(engine, "do_connect", lambda *_: _create_private(file))

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in () if read_only else SQLITE_PRAGMAS:
            _execute_with_retry(connection, pragma)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock at once: connection.execution_options(sqlite_begin="BEGIN IMMEDIATE").
        connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))

    return engine


def _check_access(file: Path) -> None:
    """Check that this user may read an existing file. Raises StoreUnavailable that names the owner.

    SQLite would say only that the file cannot be opened. The file is not opened to find out: closing it would drop
    the locks that SQLite holds on it in this process (POSIX), and another process would delete the write-ahead log.
    """
    if file.exists() and not os.access(file, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise StoreUnavailable(
            f"The file belongs to {_owner(file)}, and this user may not read it; run chatfeedback as its owner, or "
            "change the owner or the mode of the file."
        )


def _owner(file: Path) -> str:
    try:
        return f"the user {file.owner()}"
    except (KeyError, NotImplementedError):  # a user without a name, or a system without owners
        return "another user"


def _create_private(file: Path) -> None:
    """Create a missing file that only its owner may read: it will hold all texts, password hashes and keys.

    SQLite gives the files beside it, such as the write-ahead log, the same mode. No thread passes here before the file
    is closed again, because that drops the locks of this process on it.
    """
    with _CREATING:
        try:
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError:
            return  # it exists, or cannot be created: then SQLite raises an error


def readable_by_all(url: str) -> Path | None:
    """Return the file of a SQLite database that every user of the machine may read or write; else None."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or os.name != "posix":
        return None
    file = file_of(parsed)
    return file if file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH) else None


class FileIdentity:
    """Identity of an engine's file (device and inode), fixed at its first use.

    A process that has the file open goes on writing to it after it is moved, deleted or replaced. All writes would
    succeed, and be lost. Opening it again would create an empty file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None

    def check(self) -> None:
        """Check that the same file is in its place. Raises StoreUnavailable if another file, or none, is there."""
        try:
            status = self._path.stat()
        except OSError:
            file = None
        else:
            file = status.st_dev, status.st_ino
        if self._file is None:
            self._file = file
        elif file != self._file:
            raise StoreUnavailable(
                f"The database {self._path.name} was moved, deleted or replaced, so nothing was stored; put it back, "
                "or start chatfeedback again."
            )


def _execute_with_retry(connection: sqlite3.Connection, pragma: str) -> None:
    """Execute a pragma; SQLite refuses one of two programs that initialise a new file at once, despite its timeout."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(pragma)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a read-only connection, also to a file in a folder that is not writable, where it is opened as immutable."""
    _check_access(path)
    uri = f"{path.as_uri()}?mode=ro"
    connection = _connect(uri)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise
        # SQLite shares the write-ahead log through a -shm file, which cannot be created here.
        connection = _connect(f"{uri}&immutable=1")
    return connection


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)

"""The seam where the drivers' errors become ours.

Only this module knows what sqlite3 and psycopg raise. A fault is transient when running the same work again from
the start may succeed: a lost connection, a deadlock, a serialization failure, or a race for a conversation's version.
No message holds a value that a statement was given, neither ours nor the driver's behind it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from chatfeedback.errors import (
    ChatFeedbackError,
    ConnectionRefused,
    EventIdReused,
    SchemaBehind,
    SettingsError,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    VersionTaken,
)


def _original(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _postgres_state(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or "")


_UNDONE = ("40001", "40P01")
"""Of two that were in each other's way, the server undid this one."""


def is_version_race(error: BaseException) -> bool:
    """Whether two writers gave a conversation the same version."""
    error = _original(error)
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError):
        return "events.version" in text or "version is already stored" in text
    return _postgres_state(error) == "23505" and "conversation_id_version" in text


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed when it is run again from the start."""
    error = _original(error)
    state = _postgres_state(error)
    lost = state.startswith(("08", "57P")) or _is_of_the_connection(error)
    return lost or state in _UNDONE or is_version_race(error)


def _is_of_the_connection(error: BaseException) -> bool:
    """Whether the driver itself says that there is no connection, or none any more; from the server comes no state."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return type(error).__module__.startswith("psycopg") and "OperationalError" in kinds and not _postgres_state(error)


def only_reads(error: BaseException) -> bool:
    """Whether the database can be read, and refuses to be written: its files are closed, or its server is a standby."""
    error = _original(error)
    if isinstance(error, sqlite3.Error):
        # Where no file can be made beside the database, SQLite calls that one closed.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
    return _postgres_state(error) == "25006"


_BY_SQLITE_CODE: dict[int, tuple[type[ChatFeedbackError], str]] = {
    sqlite3.SQLITE_NOTADB: (SettingsError, "This file is not a SQLite database; choose another one."),
    sqlite3.SQLITE_CANTOPEN: (StoreUnavailable, "The database file cannot be opened; its folder must be writable."),
    sqlite3.SQLITE_READONLY: (
        StoreUnavailable,
        "The database file cannot be written, so nothing was stored; make the file and its folder writable.",
    ),
    sqlite3.SQLITE_FULL: (StoreUnavailable, "The disk is full, so nothing was stored; free some space and try again."),
    sqlite3.SQLITE_BUSY: (
        StoreUnavailable,
        "Another program holds the database, so nothing was stored; try again in a moment.",
    ),
    sqlite3.SQLITE_IOERR: (
        StoreUnavailable,
        "The disk does not read or write the database file, so nothing was stored; look at its health, then try again.",
    ),
    sqlite3.SQLITE_CORRUPT: (StoreCorrupt, "The database file is damaged; restore it from a backup."),
}
_NOT_NOW = ("53", "25006", "55P03")
"""No disk, memory or connection left; a server that may only be read, such as a standby; a lock not had in time."""
_NOT_CONNECTED = ("connection failed", "connection is bad", "connection timeout expired", "failed to resolve")
_REFUSED_CONNECTION = ("authentication failed", "does not exist", "pg_hba.conf", "no password supplied")


def _without_values(error: BaseException) -> None:
    """Takes out of the messages of Postgres what the statement was given, "Key (name)=(…)"; they may be logged."""
    original = _original(error)
    diagnosis = getattr(original, "diag", None)
    if diagnosis is None or diagnosis.message_primary is None:
        return
    # Of data that it cannot use, Postgres quotes the value in the message itself.
    quoting = _postgres_state(original).startswith("22")
    text = type(original).__name__ if quoting else diagnosis.message_primary
    original.args = (text,)
    if error is not original:
        error.args = (f"({type(original).__module__}.{type(original).__name__}) {text}",)


def translated(error: BaseException) -> BaseException:
    """The error as one of ours; what is not a database's error (a bug) stays as it is."""
    if isinstance(error, ChatFeedbackError):
        return error
    _without_values(error)
    original = _original(error)
    text = " ".join(str(original).split())
    if isinstance(error, PoolTimeout):
        return StoreUnavailable("The database is too busy; try again in a moment.")
    if is_version_race(error):
        return VersionTaken("Somebody else changed this conversation at the same moment; try again.")
    if "event id is already stored" in text or "uq_events_event_id" in text:
        return EventIdReused("An event with this id is already stored with other content.")
    if "no such table" in text or "no such column" in text or _postgres_state(original) in ("42P01", "42703"):
        return SchemaBehind("The database has an older schema; run `chatfeedback db upgrade` first.")
    if isinstance(original, sqlite3.Error):
        # The low byte says what happened, the others in which particular way.
        kind, sentence = _BY_SQLITE_CODE.get(
            getattr(original, "sqlite_errorcode", 0) & 0xFF, (StoreError, f"The database refused this ({text}).")
        )
        return kind(sentence)
    if type(original).__module__.startswith("psycopg"):
        return _translated_postgres(original, text)
    return error


def _translated_postgres(error: BaseException, text: str) -> ChatFeedbackError:
    if not _postgres_state(error) and text.startswith(_NOT_CONNECTED):
        # Of several addresses that were tried, the last one is told first, and then all of them once more.
        last = text.partition(" Multiple connection attempts failed")[0]
        reason = last.rpartition(" failed: ")[2].removeprefix("FATAL: ").partition(" Is the server running")[0]
        if any(sign in reason for sign in _REFUSED_CONNECTION):
            return ConnectionRefused(reason)
        return StoreUnavailable(f"The database server cannot be reached ({reason}); nothing was stored, try again.")
    if _postgres_state(error).startswith(_NOT_NOW):
        return StoreUnavailable(f"The database cannot be written now ({text}), so nothing was stored; try again.")
    if _postgres_state(error) in _UNDONE:
        return StoreError("Others were writing the same at that moment, so nothing was stored; try again.")
    if is_transient(error):
        return StoreUnavailable(
            "The connection to the database was lost, perhaps after it had stored this; reload to see, then try again."
        )
    return StoreError(f"The database refused this ({text}).")


def reason(error: ChatFeedbackError) -> str:
    """What the driver said where the error is a translated one, else its own sentence; on one line."""
    return " ".join(str(_original(error.__cause__ or error)).split())


@contextmanager
def translating() -> Iterator[None]:
    """Translates what a database raises inside the block."""
    try:
        yield
    except Exception as error:
        ours = translated(error)
        if ours is error:
            raise
        raise ours from error

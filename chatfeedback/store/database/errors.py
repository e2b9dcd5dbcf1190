"""Error translation: the seam where errors of sqlite3 and psycopg become ours.

Only this module knows what the drivers raise. A fault is transient if running the same work again from the start may
succeed: a lost connection, a deadlock, a serialization failure, or a race for a conversation's version. No message
contains the parameters of a statement, neither ours nor the driver's that it is raised from.
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


def _sqlstate(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or "")


_CONFLICT_STATES = ("40001", "40P01")
"""SQLSTATE of a serialization failure and of a deadlock: the server rolled back one of two transactions."""


def is_version_race(error: BaseException) -> bool:
    """Return True if two writers gave a conversation the same version."""
    error = _original(error)
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError):
        return "events.version" in text or "version is already stored" in text
    return _sqlstate(error) == "23505" and "conversation_id_version" in text


def is_transient(error: BaseException) -> bool:
    """Return True if the same work may succeed when it is run again from the start."""
    error = _original(error)
    state = _sqlstate(error)
    lost = state.startswith(("08", "57P")) or _is_connection_error(error)
    return lost or state in _CONFLICT_STATES or is_version_race(error)


def _is_connection_error(error: BaseException) -> bool:
    """Return True if the driver itself reports a missing or lost connection; no SQLSTATE means not from the server."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return type(error).__module__.startswith("psycopg") and "OperationalError" in names and not _sqlstate(error)


def is_read_only(error: BaseException) -> bool:
    """Return True if the database can be read but not written: read-only files, or a standby server."""
    error = _original(error)
    if isinstance(error, sqlite3.Error):
        # SQLite reports CANTOPEN if it cannot create a file beside the database.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
    return _sqlstate(error) == "25006"


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
_UNAVAILABLE_STATES = ("53", "25006", "55P03")
"""SQLSTATEs: out of disk, memory or connections; a read-only server, such as a standby; a lock timeout."""
_UNREACHABLE = ("connection failed", "connection is bad", "connection timeout expired", "failed to resolve")
_REFUSED = ("authentication failed", "does not exist", "pg_hba.conf", "no password supplied")


def _strip_values(error: BaseException) -> None:
    """Remove parameter values, such as "Key (name)=(…)", from a Postgres error: it may be logged."""
    original = _original(error)
    diagnosis = getattr(original, "diag", None)
    if diagnosis is None or diagnosis.message_primary is None:
        return
    # A data exception (class 22) quotes the value in its primary message.
    quotes_value = _sqlstate(original).startswith("22")
    text = type(original).__name__ if quotes_value else diagnosis.message_primary
    original.args = (text,)
    if error is not original:
        error.args = (f"({type(original).__module__}.{type(original).__name__}) {text}",)


def translated(error: BaseException) -> BaseException:
    """Return the error as one of ours; an error that is not the database's (a bug) is returned unchanged."""
    if isinstance(error, ChatFeedbackError):
        return error
    _strip_values(error)
    original = _original(error)
    text = " ".join(str(original).split())
    if isinstance(error, PoolTimeout):
        return StoreUnavailable("The database is too busy; try again in a moment.")
    if is_version_race(error):
        return VersionTaken("Another user or tab changed this conversation at the same moment; try again.")
    if "event id is already stored" in text or "uq_events_event_id" in text:
        return EventIdReused("An event with this id is already stored with other content.")
    if "no such table" in text or "no such column" in text or _sqlstate(original) in ("42P01", "42703"):
        return SchemaBehind("The database has an older schema; run `chatfeedback db upgrade` first.")
    if isinstance(original, sqlite3.Error):
        # The low byte is the primary result code; the rest of the extended code is detail.
        kind, sentence = _BY_SQLITE_CODE.get(
            getattr(original, "sqlite_errorcode", 0) & 0xFF, (StoreError, f"The database refused this ({text}).")
        )
        return kind(sentence)
    if type(original).__module__.startswith("psycopg"):
        return _translate_postgres(original, text)
    return error


def _translate_postgres(error: BaseException, text: str) -> ChatFeedbackError:
    if not _sqlstate(error) and text.startswith(_UNREACHABLE):
        # After several addresses, libpq reports the last failure first, then all of them again.
        last = text.partition(" Multiple connection attempts failed")[0]
        reason = last.rpartition(" failed: ")[2].removeprefix("FATAL: ").partition(" Is the server running")[0]
        if any(part in reason for part in _REFUSED):
            return ConnectionRefused(reason)
        return StoreUnavailable(f"The database server cannot be reached ({reason}); nothing was stored, try again.")
    if _sqlstate(error).startswith(_UNAVAILABLE_STATES):
        return StoreUnavailable(f"The database cannot be written now ({text}), so nothing was stored; try again.")
    if _sqlstate(error) in _CONFLICT_STATES:
        return StoreError("Others were writing the same at that moment, so nothing was stored; try again.")
    if is_transient(error):
        return StoreUnavailable(
            "The connection to the database was lost, perhaps after it had stored this; reload to see, then try again."
        )
    return StoreError(f"The database refused this ({text}).")


def reason(error: ChatFeedbackError) -> str:
    """Return the driver's message if the error is a translated one, else its own sentence; on one line."""
    return " ".join(str(_original(error.__cause__ or error)).split())


@contextmanager
def translating() -> Iterator[None]:
    """Translate the database errors that the block raises."""
    try:
        yield
    except Exception as error:
        translated_error = translated(error)
        if translated_error is error:
            raise
        raise translated_error from error

"""The seam where the drivers' errors become ours.

Only this module knows what sqlite3 and psycopg raise. A fault is transient when running the same work again from
the start may succeed: a lost connection, a deadlock, a serialization failure, or a race for a conversation's version.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from chatfeedback.errors import ChatFeedbackError, SchemaBehind, StoreError, StoreUnavailable, VersionTaken


def _original(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _postgres_state(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or "")


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
    lost = type(error).__module__.startswith("psycopg") and type(error).__name__ in (
        "OperationalError",
        "AdminShutdown",
    )
    return lost or state in ("40001", "40P01") or state.startswith(("08", "57P")) or is_version_race(error)


def translated(error: BaseException) -> BaseException:
    """The error as one of ours; what is not a database's error (a bug) stays as it is."""
    if isinstance(error, ChatFeedbackError):
        return error
    original = _original(error)
    text = " ".join(str(original).split())
    if isinstance(error, PoolTimeout):
        return StoreUnavailable("The database is too busy; try again in a moment.")
    if is_version_race(error):
        return VersionTaken("Somebody else changed this conversation at the same moment; try again.")
    if "no such table" in text or "no such column" in text or _postgres_state(original) in ("42P01", "42703"):
        return SchemaBehind("The database has an older schema; run `chatfeedback db upgrade` first.")
    if isinstance(original, sqlite3.OperationalError | sqlite3.DatabaseError) and not isinstance(
        original, sqlite3.IntegrityError | sqlite3.ProgrammingError
    ):
        return StoreUnavailable(f"The database cannot be used now ({text}); nothing was stored, try again.")
    if type(original).__module__.startswith("psycopg"):
        if type(original).__name__ in ("OperationalError", "AdminShutdown") or is_transient(error):
            return StoreUnavailable("The database cannot be reached; nothing was stored, try again.")
        return StoreError(f"The database refused this ({text}).")
    if isinstance(original, sqlite3.Error):
        return StoreError(f"The database refused this ({text}).")
    return error


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

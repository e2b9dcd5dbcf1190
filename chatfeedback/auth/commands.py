"""User administration of `chatfeedback users …`, on the command line of the server.

Shell access is permission enough. The audit records these commands without an actor (`actor_id` NULL).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from sqlalchemy import Engine

from chatfeedback.auth import passwords
from chatfeedback.domain.roles import Role
from chatfeedback.domain.text import sanitize
from chatfeedback.errors import InputError, NotFound
from chatfeedback.store.accounts import sessions, users
from chatfeedback.store.accounts.sessions import Session
from chatfeedback.store.accounts.users import UserSummary
from chatfeedback.store.database import migrate

MAX_NAME_CHARS, MAX_SUBJECT_CHARS = 200, 255


def add(url: str, name: str, role: Role, password: str | None, identity: tuple[str, str] | None) -> None:
    """Add a user. Raises InputError for an unusable name or password, Conflict if the user exists."""
    name = validate_name(name)
    if identity is not None:
        _check_subject(identity[1])
    password_hash = passwords.hash_password(password, name) if password is not None else None
    migrate.ensure_ready(url, migrate=False)
    with _open(url) as engine:
        users.add(engine, name, role, actor_id=None, password_hash=password_hash, identity=identity)


def list_users(url: str) -> list[UserSummary]:
    """Return all users, by name."""
    with _open(url) as engine:
        return users.list_all(engine)


def set_role(url: str, name: str, role: Role) -> None:
    """Set the role of a user. Raises NotFound, and Conflict for the last admin."""
    with _open(url) as engine:
        users.set_role(engine, _sanitized_name(name), role, actor_id=None)


def set_disabled(url: str, name: str, disabled: bool) -> None:
    """Disable or enable a user. Raises NotFound, and Conflict for the last admin."""
    with _open(url) as engine:
        users.set_disabled(engine, _sanitized_name(name), disabled, actor_id=None)


def set_password(url: str, name: str, password: str) -> None:
    """Set the password of a user and end all their sessions. Raises NotFound, InputError."""
    password_hash = passwords.hash_password(password, name)
    with _open(url) as engine:
        users.set_password(engine, _sanitized_name(name), password_hash, actor_id=None)


def link(url: str, name: str, issuer: str, subject: str) -> None:
    """Link a user to the identity `subject` of `issuer`. Raises NotFound, Conflict."""
    _check_subject(subject)
    with _open(url) as engine:
        users.link(engine, _sanitized_name(name), issuer, subject, actor_id=None)


def list_sessions(url: str, name: str | None) -> list[Session]:
    """Return the sessions of one user, or of all. Raises NotFound."""
    with _open(url) as engine:
        return sessions.alive(engine, _annotator_id(engine, name) if name is not None else None)


def end_sessions(url: str, name: str) -> int:
    """End all sessions of a user and return how many there were. Raises NotFound."""
    with _open(url) as engine:
        return sessions.end_all(engine, _annotator_id(engine, name), actor_id=None)


def validate_name(name: str) -> str:
    """Return the name as it is stored. Raises InputError for an empty, an over-long or an unprintable one."""
    name = name.strip()
    if not name or len(name) > MAX_NAME_CHARS or sanitize(name)[1] or not name.isprintable():
        raise InputError(f"A name has 1 to {MAX_NAME_CHARS} printable characters.")
    return name


def _check_subject(subject: str) -> None:
    # OpenID Connect Core 1.0, section 2.
    if not 1 <= len(subject) <= MAX_SUBJECT_CHARS or not subject.isascii() or not subject.isprintable():
        raise InputError(f"A subject has 1 to {MAX_SUBJECT_CHARS} printable ASCII characters.")


def _sanitized_name(name: str) -> str:
    """Return the name as a database can look it up; no user has a name that it cannot store."""
    return sanitize(name)[0]


def _annotator_id(engine: Engine, name: str) -> str:
    user = users.find(engine, _sanitized_name(name))
    if user is None:
        raise NotFound(f"There is no user {name!r}; `chatfeedback users list` shows who there is.")
    return user.annotator_id


def _open(url: str) -> AbstractContextManager[Engine]:
    return migrate.opened(url, hint="`chatfeedback users add` makes one")

"""What `chatfeedback users …` does: people who may sign in, looked after from the command line of the server.

Whoever has that needs no permission. In the audit it is nobody (`actor_id` NULL).
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
from chatfeedback.store.accounts.users import Listed
from chatfeedback.store.database import migrate

MAX_NAME_CHARS, MAX_SUBJECT_CHARS = 200, 255


def add(url: str, name: str, role: Role, password: str | None, identity: tuple[str, str] | None) -> None:
    """A new user. Raises InputError for a name or password that cannot be used, Conflict for one who is there."""
    name = accepted_name(name)
    if identity is not None:
        _check_subject(identity[1])
    hashed = passwords.hashed(password, name) if password is not None else None
    migrate.ensure_ready(url, migrate=False)
    with _opened(url) as engine:
        users.add(engine, name, role, actor_id=None, password_hash=hashed, identity=identity)


def listed(url: str) -> list[Listed]:
    """Everybody, by name."""
    with _opened(url) as engine:
        return users.listed(engine)


def set_role(url: str, name: str, role: Role) -> None:
    """Gives another role. Raises NotFound, and Conflict for the last admin."""
    with _opened(url) as engine:
        users.set_role(engine, _storable(name), role, actor_id=None)


def set_disabled(url: str, name: str, disabled: bool) -> None:
    """Locks out, or lets in again. Raises NotFound, and Conflict for the last admin."""
    with _opened(url) as engine:
        users.set_disabled(engine, _storable(name), disabled, actor_id=None)


def set_password(url: str, name: str, password: str) -> None:
    """Another password, and the end of all sessions. Raises NotFound, InputError."""
    hashed = passwords.hashed(password, name)
    with _opened(url) as engine:
        users.set_password(engine, _storable(name), hashed, actor_id=None)


def link(url: str, name: str, issuer: str, subject: str) -> None:
    """Lets somebody in whom `issuer` calls `subject`. Raises NotFound, Conflict."""
    _check_subject(subject)
    with _opened(url) as engine:
        users.link(engine, _storable(name), issuer, subject, actor_id=None)


def sessions_of(url: str, name: str | None) -> list[Session]:
    """The sessions of one user, or of all. Raises NotFound."""
    with _opened(url) as engine:
        return sessions.alive(engine, _id_of(engine, name) if name is not None else None)


def end_sessions(url: str, name: str) -> int:
    """Signs a user out everywhere; returns how many sessions there were. Raises NotFound."""
    with _opened(url) as engine:
        return sessions.end_all(engine, _id_of(engine, name), actor_id=None)


def accepted_name(name: str) -> str:
    """The name as it is stored. Raises InputError for an empty, an over-long or an unprintable one."""
    name = name.strip()
    if not name or len(name) > MAX_NAME_CHARS or sanitize(name)[1] or not name.isprintable():
        raise InputError(f"A name has 1 to {MAX_NAME_CHARS} printable characters.")
    return name


def _check_subject(subject: str) -> None:
    # OpenID Connect Core 1.0, section 2.
    if not 1 <= len(subject) <= MAX_SUBJECT_CHARS or not subject.isascii() or not subject.isprintable():
        raise InputError(f"A subject has 1 to {MAX_SUBJECT_CHARS} printable ASCII characters.")


def _storable(name: str) -> str:
    """The name as a database can look for it; one that it cannot store is nobody's anyway."""
    return sanitize(name)[0]


def _id_of(engine: Engine, name: str) -> str:
    user = users.named(engine, _storable(name))
    if user is None:
        raise NotFound(f"There is no user {name!r}; `chatfeedback users list` shows who there is.")
    return user.annotator_id


def _opened(url: str) -> AbstractContextManager[Engine]:
    return migrate.opened(url, otherwise="`chatfeedback users add` makes one")

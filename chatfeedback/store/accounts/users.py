"""Users: annotators who may sign in, with a role, and with a password or an external identity.

A change and its audit entry are one transaction. Every function raises StoreUnavailable when the database cannot be
used. Functions that change a user raise NotFound if there is no such user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Select, Table, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from chatfeedback.domain.roles import Role
from chatfeedback.domain.types import new_id
from chatfeedback.errors import Conflict, NotFound
from chatfeedback.store.accounts import audit
from chatfeedback.store.database.clock import now
from chatfeedback.store.database.transactions import read_only, read_write
from chatfeedback.store.schema import annotators, consents, from_micros, identities, sessions, to_micros, users

_USER = select(users, annotators.c.name).join_from(users, annotators)


class User(NamedTuple):
    """An annotator who may sign in."""

    annotator_id: str
    name: str
    role: Role
    password_hash: str | None
    created_at: datetime
    disabled_at: datetime | None


class UserSummary(NamedTuple):
    """A user with a summary of their sessions, for administrators."""

    user: User
    sessions: int
    """Number of sessions that have not expired."""
    seen_at: datetime | None
    """Last use among these sessions."""
    issuers: tuple[str, ...]
    """Issuers of the user's external identities."""


def find(engine: Engine, name: str) -> User | None:
    """Return the user with this name or id; None if there is none."""
    with read_only(engine) as connection:
        return _find(connection, name)


def find_by_name(engine: Engine, name: str) -> User | None:
    """Return the user with exactly this name; None if there is none. For untrusted input: an id does not match."""
    with read_only(engine) as connection:
        return _one(connection, _USER.where(annotators.c.name == name))


def by_id(engine: Engine, annotator_id: str) -> User | None:
    """Return the user with this id; None if there is none."""
    with read_only(engine) as connection:
        return _one(connection, _USER.where(users.c.annotator_id == annotator_id))


def find_by_identity(engine: Engine, issuer: str, subject: str) -> User | None:
    """Return the user with this external identity; None if there is none."""
    query = _USER.join(identities, identities.c.annotator_id == users.c.annotator_id)
    with read_only(engine) as connection:
        return _one(connection, query.where(identities.c.issuer == issuer, identities.c.subject == subject))


def list_all(engine: Engine) -> list[UserSummary]:
    """Return all users, sorted by name."""
    open_sessions = (
        select(
            sessions.c.annotator_id, func.count().label("open_sessions"), func.max(sessions.c.seen_at).label("seen_at")
        )
        .where(sessions.c.expires_at > to_micros(now()))
        .group_by(sessions.c.annotator_id)
        .subquery()
    )
    query = _USER.add_columns(open_sessions.c.open_sessions, open_sessions.c.seen_at.label("last_seen_at"))
    query = query.outerjoin(open_sessions, open_sessions.c.annotator_id == users.c.annotator_id).order_by(
        annotators.c.name
    )
    with read_only(engine) as connection:
        issuers: dict[str, list[str]] = {}
        for row in connection.execute(select(identities).order_by(identities.c.issuer)):
            issuers.setdefault(row.annotator_id, []).append(row.issuer)
        return [
            UserSummary(
                _user(row),
                row.open_sessions or 0,
                from_micros(row.last_seen_at) if row.last_seen_at is not None else None,
                tuple(issuers.get(row.annotator_id, ())),
            )
            for row in connection.execute(query)
        ]


def add(
    engine: Engine,
    name: str,
    role: Role,
    *,
    actor_id: str | None,
    password_hash: str | None = None,
    identity: tuple[str, str] | None = None,
) -> User:
    """Create a user; an existing annotator with this name becomes one.

    Args:
        engine: Engine of the database.
        name: Name of the user.
        role: Role of the user.
        actor_id: Administrator, for the audit.
        password_hash: Hash of the password, if any.
        identity: Issuer and subject of an external identity.

    Raises:
        Conflict: The user or the identity exists already.
    """
    created_at = to_micros(now())
    with read_write(engine) as connection:
        annotator = {"annotator_id": new_id(), "name": name, "created_at": created_at}
        # The Postgres construct for ON CONFLICT; SQLite accepts the same SQL.
        connection.execute(upsert(annotators).on_conflict_do_nothing(index_elements=["name"]), annotator)
        annotator_id = connection.scalars(select(annotators.c.annotator_id).where(annotators.c.name == name)).one()
        row = {"annotator_id": annotator_id, "role": role, "password_hash": password_hash, "created_at": created_at}
        if not _insert_if_absent(connection, users, row):
            raise Conflict(f"There is a user {name!r} already.")
        audit.record(connection, "user_added", actor_id=actor_id, subject_id=annotator_id, role=role)
        if identity is not None:
            _link(connection, annotator_id, *identity, actor_id=actor_id)
        user = _find(connection, annotator_id)
    assert user is not None  # noqa: S101 - inserted in this transaction
    return user


def link(engine: Engine, name: str, issuer: str, subject: str, *, actor_id: str | None) -> None:
    """Link an external identity to a user. Raises Conflict if it is linked already."""
    with _locked_user(engine, name) as (connection, user):
        _link(connection, user.annotator_id, issuer, subject, actor_id=actor_id)


def set_role(engine: Engine, name: str, role: Role, *, actor_id: str | None) -> None:
    """Change the role of a user. Raises Conflict if no admin would be left."""
    with _locked_user(engine, name) as (connection, user):
        if user.role == role:
            return
        if user.role == "admin":
            _check_not_last(connection, user)
        connection.execute(update(users).where(users.c.annotator_id == user.annotator_id).values(role=role))
        audit.record(
            connection, "role_changed", actor_id=actor_id, subject_id=user.annotator_id, before=user.role, after=role
        )


def set_disabled(engine: Engine, name: str, disabled: bool, *, actor_id: str | None) -> None:
    """Disable a user and end their sessions, or enable them again. Raises Conflict if no admin would be left."""
    with _locked_user(engine, name) as (connection, user):
        if bool(user.disabled_at) == disabled:
            return
        if disabled and user.role == "admin":
            _check_not_last(connection, user)
        disabled_at = to_micros(now()) if disabled else None
        connection.execute(
            update(users).where(users.c.annotator_id == user.annotator_id).values(disabled_at=disabled_at)
        )
        if disabled:
            connection.execute(delete(sessions).where(sessions.c.annotator_id == user.annotator_id))
        audit.record(
            connection,
            "user_disabled" if disabled else "user_enabled",
            actor_id=actor_id,
            subject_id=user.annotator_id,
        )


def set_password(
    engine: Engine, name: str, password_hash: str, *, actor_id: str | None, keep_session: str | None = None
) -> None:
    """Change the password hash of a user; end all their sessions but `keep_session`."""
    with _locked_user(engine, name) as (connection, user):
        user_row = users.c.annotator_id == user.annotator_id
        connection.execute(update(users).where(user_row).values(password_hash=password_hash))
        ended = sessions.c.annotator_id == user.annotator_id
        if keep_session is not None:
            ended &= sessions.c.session_id != keep_session
        connection.execute(delete(sessions).where(ended))
        audit.record(connection, "password_changed", actor_id=actor_id, subject_id=user.annotator_id)


def rehash(engine: Engine, annotator_id: str, before: str, after: str) -> None:
    """Replace the hash of an unchanged password by a stronger one, unless the password was changed meanwhile."""
    with read_write(engine) as connection:
        unchanged = (users.c.annotator_id == annotator_id) & (users.c.password_hash == before)
        connection.execute(update(users).where(unchanged).values(password_hash=after))


def consent(engine: Engine, annotator_id: str, version: str) -> None:
    """Record that a user has agreed to this version of the consent text."""
    with read_write(engine) as connection:
        row = {"annotator_id": annotator_id, "version": version, "agreed_at": to_micros(now())}
        if _insert_if_absent(connection, consents, row):
            audit.record(connection, "consented", actor_id=annotator_id, version=version)


def has_consented(engine: Engine, annotator_id: str, version: str) -> bool:
    """Return True if the user has agreed to this version of the consent text."""
    agreed = select(consents.c.version).where(consents.c.annotator_id == annotator_id, consents.c.version == version)
    with read_only(engine) as connection:
        return connection.scalar(agreed) is not None


@contextmanager
def _locked_user(engine: Engine, name: str) -> Iterator[tuple[Connection, User]]:
    with read_write(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")  # serialises the count of admins
        user = _find(connection, name)
        if user is None:
            raise NotFound(f"There is no user {name!r}; `chatfeedback users list` shows who there is.")
        yield connection, user


def _check_not_last(connection: Connection, user: User) -> None:
    others = select(func.count()).select_from(users)
    others = others.where(
        users.c.role == "admin", users.c.disabled_at.is_(None), users.c.annotator_id != user.annotator_id
    )
    if not user.disabled_at and not connection.scalar(others):
        raise Conflict(f"{user.name!r} is the only admin; make another user an admin first.")


def _link(connection: Connection, annotator_id: str, issuer: str, subject: str, *, actor_id: str | None) -> None:
    row = {"issuer": issuer, "subject": subject, "annotator_id": annotator_id}
    row["created_at"] = to_micros(now())  # type: ignore[assignment]
    if not _insert_if_absent(connection, identities, row):
        raise Conflict(f"{subject!r} of {issuer} belongs to another user already.")
    audit.record(connection, "identity_linked", actor_id=actor_id, subject_id=annotator_id, issuer=issuer)


def _insert_if_absent(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert the row unless its key exists; return True if it was inserted."""
    key = list(table.primary_key.columns)
    # The Postgres construct for ON CONFLICT; SQLite accepts the same SQL.
    insertion = upsert(table).on_conflict_do_nothing(index_elements=[column.name for column in key])
    return connection.execute(insertion.returning(key[0]), row).first() is not None


def _find(connection: Connection, name_or_id: str) -> User | None:
    by_key = _one(connection, _USER.where(users.c.annotator_id == name_or_id))
    return by_key or _one(connection, _USER.where(annotators.c.name == name_or_id))


def _one(connection: Connection, query: Select[Any]) -> User | None:
    row = connection.execute(query).first()
    return _user(row) if row else None


def _user(row: Any) -> User:
    return User(
        row.annotator_id,
        row.name,
        row.role,
        row.password_hash,
        from_micros(row.created_at),
        from_micros(row.disabled_at) if row.disabled_at is not None else None,
    )

"""Users: annotators who may sign in, with a role, and with a password or an identity elsewhere.

A change and its entry in the audit are one transaction. Every function raises StoreUnavailable when the database
cannot be used; those that change somebody raise NotFound for who is no user.
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
from chatfeedback.store.database.transactions import looking, writing
from chatfeedback.store.schema import annotators, consents, from_micros, identities, sessions, to_micros, users

_USER = select(users, annotators.c.name).join_from(users, annotators)


class User(NamedTuple):
    """Somebody who may sign in."""

    annotator_id: str
    name: str
    role: Role
    password_hash: str | None
    created_at: datetime
    disabled_at: datetime | None


class Listed(NamedTuple):
    """A user with what an administrator wants to see at a glance."""

    user: User
    sessions: int
    """That have not expired."""
    seen_at: datetime | None
    """In a session that is still there."""
    issuers: tuple[str, ...]
    """Who else vouches for this person."""


def named(engine: Engine, name: str) -> User | None:
    """The user of this name, or with this id; None when there is none."""
    with looking(engine) as connection:
        return _find(connection, name)


def called(engine: Engine, name: str) -> User | None:
    """The user of this very name; None when there is none. For names that come from strangers: an id is no name."""
    with looking(engine) as connection:
        return _one(connection, _USER.where(annotators.c.name == name))


def by_id(engine: Engine, annotator_id: str) -> User | None:
    """The user with this id; None when there is none."""
    with looking(engine) as connection:
        return _one(connection, _USER.where(users.c.annotator_id == annotator_id))


def identified(engine: Engine, issuer: str, subject: str) -> User | None:
    """The user whom `issuer` calls `subject`; None when nobody here is."""
    mine = _USER.join(identities, identities.c.annotator_id == users.c.annotator_id)
    with looking(engine) as connection:
        return _one(connection, mine.where(identities.c.issuer == issuer, identities.c.subject == subject))


def listed(engine: Engine) -> list[Listed]:
    """Everybody, by name."""
    alive = (
        select(
            sessions.c.annotator_id, func.count().label("open_sessions"), func.max(sessions.c.seen_at).label("seen_at")
        )
        .where(sessions.c.expires_at > to_micros(now()))
        .group_by(sessions.c.annotator_id)
        .subquery()
    )
    people = _USER.add_columns(alive.c.open_sessions, alive.c.seen_at.label("last_seen_at"))
    people = people.outerjoin(alive, alive.c.annotator_id == users.c.annotator_id).order_by(annotators.c.name)
    with looking(engine) as connection:
        issuers: dict[str, list[str]] = {}
        for row in connection.execute(select(identities).order_by(identities.c.issuer)):
            issuers.setdefault(row.annotator_id, []).append(row.issuer)
        return [
            Listed(
                _user(row),
                row.open_sessions or 0,
                from_micros(row.last_seen_at) if row.last_seen_at is not None else None,
                tuple(issuers.get(row.annotator_id, ())),
            )
            for row in connection.execute(people)
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
    """A new user; an annotator of this name who is no user yet becomes one. `identity`: issuer and subject.

    Raises Conflict when the user, or the identity, is there already.
    """
    created_at = to_micros(now())
    with writing(engine) as connection:
        person = {"annotator_id": new_id(), "name": name, "created_at": created_at}
        # The Postgres flavour of ON CONFLICT; SQLite speaks the same words.
        connection.execute(upsert(annotators).on_conflict_do_nothing(index_elements=["name"]), person)
        annotator_id = connection.scalars(select(annotators.c.annotator_id).where(annotators.c.name == name)).one()
        row = {"annotator_id": annotator_id, "role": role, "password_hash": password_hash, "created_at": created_at}
        if not _inserted(connection, users, row):
            raise Conflict(f"There is a user {name!r} already.")
        audit.record(connection, "user_added", actor_id=actor_id, subject_id=annotator_id, role=role)
        if identity is not None:
            _link(connection, annotator_id, *identity, actor_id=actor_id)
        found = _find(connection, annotator_id)
    assert found is not None  # noqa: S101 - it was made in this transaction
    return found


def link(engine: Engine, name: str, issuer: str, subject: str, *, actor_id: str | None) -> None:
    """Lets a user in whom `issuer` calls `subject`. Raises Conflict when that is somebody already."""
    with _changing(engine, name) as (connection, user):
        _link(connection, user.annotator_id, issuer, subject, actor_id=actor_id)


def set_role(engine: Engine, name: str, role: Role, *, actor_id: str | None) -> None:
    """Gives another role. Raises Conflict when nobody would be left who is an admin."""
    with _changing(engine, name) as (connection, user):
        if user.role == role:
            return
        if user.role == "admin":
            _check_not_last(connection, user)
        connection.execute(update(users).where(users.c.annotator_id == user.annotator_id).values(role=role))
        audit.record(
            connection, "role_changed", actor_id=actor_id, subject_id=user.annotator_id, before=user.role, after=role
        )


def set_disabled(engine: Engine, name: str, disabled: bool, *, actor_id: str | None) -> None:
    """Locks a user out, at once, or lets in again. Raises Conflict when nobody would be left who is an admin."""
    with _changing(engine, name) as (connection, user):
        if bool(user.disabled_at) == disabled:
            return
        if disabled and user.role == "admin":
            _check_not_last(connection, user)
        at = to_micros(now()) if disabled else None
        connection.execute(update(users).where(users.c.annotator_id == user.annotator_id).values(disabled_at=at))
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
    """Another password; ends every session of this user, but for `keep_session`."""
    with _changing(engine, name) as (connection, user):
        mine = users.c.annotator_id == user.annotator_id
        connection.execute(update(users).where(mine).values(password_hash=password_hash))
        others = sessions.c.annotator_id == user.annotator_id
        if keep_session is not None:
            others &= sessions.c.session_id != keep_session
        connection.execute(delete(sessions).where(others))
        audit.record(connection, "password_changed", actor_id=actor_id, subject_id=user.annotator_id)


def rehash(engine: Engine, annotator_id: str, before: str, after: str) -> None:
    """Replaces the hash of an unchanged password by a stronger one, unless the password was changed meanwhile."""
    with writing(engine) as connection:
        same = (users.c.annotator_id == annotator_id) & (users.c.password_hash == before)
        connection.execute(update(users).where(same).values(password_hash=after))


def consent(engine: Engine, annotator_id: str, version: str) -> None:
    """Notes that somebody has agreed to this version of the consent text."""
    with writing(engine) as connection:
        row = {"annotator_id": annotator_id, "version": version, "agreed_at": to_micros(now())}
        if _inserted(connection, consents, row):
            audit.record(connection, "consented", actor_id=annotator_id, version=version)


def has_consented(engine: Engine, annotator_id: str, version: str) -> bool:
    """Whether somebody has agreed to this version of the consent text."""
    agreed = select(consents.c.version).where(consents.c.annotator_id == annotator_id, consents.c.version == version)
    with looking(engine) as connection:
        return connection.scalar(agreed) is not None


@contextmanager
def _changing(engine: Engine, name: str) -> Iterator[tuple[Connection, User]]:
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")  # for who counts admins
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
        raise Conflict(f"{user.name!r} is the only admin; make somebody else one first.")


def _link(connection: Connection, annotator_id: str, issuer: str, subject: str, *, actor_id: str | None) -> None:
    row = {"issuer": issuer, "subject": subject, "annotator_id": annotator_id}
    row["created_at"] = to_micros(now())  # type: ignore[assignment]
    if not _inserted(connection, identities, row):
        raise Conflict(f"{subject!r} of {issuer} is somebody else here already.")
    audit.record(connection, "identity_linked", actor_id=actor_id, subject_id=annotator_id, issuer=issuer)


def _inserted(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Inserts the row unless its key is there already; whether it did."""
    key = list(table.primary_key.columns)
    # The Postgres flavour of ON CONFLICT; SQLite speaks the same words.
    insertion = upsert(table).on_conflict_do_nothing(index_elements=[column.name for column in key])
    return connection.execute(insertion.returning(key[0]), row).first() is not None


def _find(connection: Connection, name_or_id: str) -> User | None:
    by_key = _one(connection, _USER.where(users.c.annotator_id == name_or_id))
    return by_key or _one(connection, _USER.where(annotators.c.name == name_or_id))


def _one(connection: Connection, wanted: Select[Any]) -> User | None:
    row = connection.execute(wanted).first()
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

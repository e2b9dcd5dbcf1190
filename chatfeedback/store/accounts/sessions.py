"""Sessions: who is signed in, in which browser, and until when.

The browser holds a random token of 256 bits; the database only its SHA-256, which gives nobody a way in who reads it.
A session ends when it was not used for a while, at the latest after a set time, when somebody signs out, and at once
when the user is disabled: the row is gone, or the user's row says so. Restarts change nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import BindParameter, Engine, bindparam, delete, insert, select, update

from chatfeedback.domain.roles import Person
from chatfeedback.domain.types import new_id
from chatfeedback.errors import SignInRefused
from chatfeedback.store.accounts import audit
from chatfeedback.store.database.clock import Clock, now
from chatfeedback.store.database.transactions import looking, writing
from chatfeedback.store.log.statements import Statements, reading
from chatfeedback.store.schema import annotators, consents, from_micros, sessions, to_micros, users

TOUCH_EVERY = timedelta(minutes=1)
"""How exactly it is known when a session was used last."""

_HASH: BindParameter[str] = bindparam("of_token")
_NOW: BindParameter[int] = bindparam("at_instant")
_VERSION: BindParameter[str] = bindparam("wanted_version")
_agreed = (
    select(consents.c.version)
    .where(consents.c.annotator_id == sessions.c.annotator_id, consents.c.version == _VERSION)
    .scalar_subquery()
)
_PERSON = (
    select(
        users.c.annotator_id,
        annotators.c.name,
        users.c.role,
        sessions.c.session_id,
        _agreed.label("consent_version"),
        sessions.c.seen_at,
    )
    .join_from(sessions, users, users.c.annotator_id == sessions.c.annotator_id)
    .join(annotators, annotators.c.annotator_id == users.c.annotator_id)
    .where(sessions.c.token_hash == _HASH, sessions.c.expires_at > _NOW, users.c.disabled_at.is_(None))
)


class Session(NamedTuple):
    """A sign-in that has not ended."""

    session_id: str
    annotator_id: str
    name: str
    method: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


class Sessions:
    """The sessions of a database. `lifetime`: at most; `idle`: unused. Every method may raise StoreError."""

    def __init__(self, engine: Engine, *, lifetime: timedelta, idle: timedelta, clock: Clock = now) -> None:
        self._engine = engine
        self._lifetime = lifetime
        self._idle = idle
        self._clock = clock
        self._statements = Statements(engine.dialect)

    def begin(self, annotator_id: str, method: str, *, password_hash: str | None = None) -> str:
        """Signs somebody in; returns the token for the browser. Forgets what has expired.

        `password_hash`: the one that was found right. Raises SignInRefused when it was changed, or the user was
        disabled, since that was looked at.
        """
        token, now = secrets.token_urlsafe(32), self._clock()
        row = {
            "session_id": new_id(),
            "token_hash": _hash(token),
            "annotator_id": annotator_id,
            "method": method,
            "created_at": to_micros(now),
            "seen_at": to_micros(now),
            "expires_at": to_micros(now + min(self._lifetime, self._idle)),
        }
        unchanged = select(users.c.annotator_id).where(
            users.c.annotator_id == annotator_id, users.c.disabled_at.is_(None)
        )
        if password_hash is not None:
            unchanged = unchanged.where(users.c.password_hash == password_hash)
        with writing(self._engine) as connection:
            # Waits for whoever is changing this user right now, and ends the sessions; looks afterwards.
            if connection.scalar(unchanged.with_for_update(read=True)) is None:
                raise SignInRefused("Your account was changed at this moment; sign in again.")
            connection.execute(delete(sessions).where(sessions.c.expires_at <= to_micros(now)))
            connection.execute(insert(sessions), row)
            audit.record(connection, "signed_in", actor_id=annotator_id, method=method)
        return token

    def person(self, token: str, consent_version: str | None) -> tuple[Person, datetime] | None:
        """Whose token this is and when it was used last; None when it is nobody's.

        The `consent_version` of the person is this one if there is an agreement to it.
        """
        now = to_micros(self._clock())
        values = {"of_token": _hash(token), "at_instant": now, "wanted_version": consent_version or ""}
        with reading(self._engine, self._statements) as tx:
            row = tx.one(_PERSON, values)
        if row is None:
            return None
        annotator_id, name, role, session_id, agreed, seen_at = row
        return Person(annotator_id, name, role, session_id, agreed), from_micros(seen_at)

    def touch(self, session_id: str) -> None:
        """The session was used: it lasts on."""
        now = self._clock()
        with writing(self._engine) as connection:
            mine = (sessions.c.session_id == session_id) & (sessions.c.expires_at > to_micros(now))
            created = connection.scalar(select(sessions.c.created_at).where(mine))
            if created is not None:
                until = min(from_micros(created) + self._lifetime, now + self._idle)
                values = {"seen_at": to_micros(now), "expires_at": to_micros(until)}
                connection.execute(update(sessions).where(mine).values(**values))

    def end(self, session_id: str) -> None:
        """Somebody signs out."""
        with writing(self._engine) as connection:
            owner = connection.scalar(select(sessions.c.annotator_id).where(sessions.c.session_id == session_id))
            if owner is not None:
                connection.execute(delete(sessions).where(sessions.c.session_id == session_id))
                audit.record(connection, "signed_out", actor_id=owner)


def alive(engine: Engine, annotator_id: str | None = None) -> list[Session]:
    """The sessions that have not expired, of one user or of all, the newest first."""
    wanted = (
        select(
            *(sessions.c[name] for name in ("session_id", "annotator_id")),
            annotators.c.name,
            *(sessions.c[name] for name in ("method", "created_at", "seen_at", "expires_at")),
        )
        .join(annotators, annotators.c.annotator_id == sessions.c.annotator_id)
        .where(sessions.c.expires_at > to_micros(now()))
        .order_by(sessions.c.created_at.desc())
    )
    if annotator_id is not None:
        wanted = wanted.where(sessions.c.annotator_id == annotator_id)
    with looking(engine) as connection:
        return [Session(*row[:4], *map(from_micros, row[4:])) for row in connection.execute(wanted)]


def end_all(engine: Engine, annotator_id: str, *, actor_id: str | None) -> int:
    """Ends every session of somebody; returns how many there were."""
    with writing(engine) as connection:
        ended = connection.execute(delete(sessions).where(sessions.c.annotator_id == annotator_id)).rowcount
        if ended:
            audit.record(connection, "sessions_ended", actor_id=actor_id, subject_id=annotator_id, sessions=ended)
    return ended


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()

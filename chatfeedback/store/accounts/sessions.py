"""Sessions: signed-in users, one session per browser, with an expiry.

The browser holds a random token of 256 bits. The database holds only its SHA-256, which cannot be used to sign in.
A session ends after a time without use, after its maximum lifetime, at sign-out, and at once when the user is disabled:
either its row is deleted, or the user's row says so. Restarts do not end sessions.
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
from chatfeedback.store.database.transactions import read_only, read_write
from chatfeedback.store.log.statements import Statements, reading
from chatfeedback.store.schema import annotators, consents, from_micros, sessions, to_micros, users

TOUCH_EVERY = timedelta(minutes=1)
"""Resolution of the time of last use."""

_HASH: BindParameter[str] = bindparam("of_token")
_NOW: BindParameter[int] = bindparam("at_instant")
_CONSENT_VERSION: BindParameter[str] = bindparam("with_consent")
_consented = (
    select(consents.c.version)
    .where(consents.c.annotator_id == sessions.c.annotator_id, consents.c.version == _CONSENT_VERSION)
    .scalar_subquery()
)
_PERSON = (
    select(
        users.c.annotator_id,
        annotators.c.name,
        users.c.role,
        sessions.c.session_id,
        _consented.label("consent_version"),
        sessions.c.seen_at,
    )
    .join_from(sessions, users, users.c.annotator_id == sessions.c.annotator_id)
    .join(annotators, annotators.c.annotator_id == users.c.annotator_id)
    .where(sessions.c.token_hash == _HASH, sessions.c.expires_at > _NOW, users.c.disabled_at.is_(None))
)


class Session(NamedTuple):
    """A session that has not ended."""

    session_id: str
    annotator_id: str
    name: str
    method: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


class Sessions:
    """Session store of a database. Every method may raise StoreError.

    Args:
        engine: Engine of the database.
        lifetime: Maximum lifetime of a session.
        idle: Maximum time without use.
        clock: Clock for tests.
    """

    def __init__(self, engine: Engine, *, lifetime: timedelta, idle: timedelta, clock: Clock = now) -> None:
        self._engine = engine
        self._lifetime = lifetime
        self._idle = idle
        self._clock = clock
        self._statements = Statements(engine.dialect)

    def begin(self, annotator_id: str, method: str, *, password_hash: str | None = None) -> str:
        """Create a session and delete expired ones; return the token for the browser.

        Args:
            annotator_id: User who signs in.
            method: Method of the sign-in, for the audit.
            password_hash: Hash that the password was verified against, if any.

        Raises:
            SignInRefused: The password was changed, or the user disabled, since the verification.
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
        account = select(users.c.annotator_id).where(
            users.c.annotator_id == annotator_id, users.c.disabled_at.is_(None)
        )
        if password_hash is not None:
            account = account.where(users.c.password_hash == password_hash)
        with read_write(self._engine) as connection:
            # The lock waits for a concurrent change of this user, which ends their sessions; the check then sees it.
            if connection.scalar(account.with_for_update(read=True)) is None:
                raise SignInRefused("Your account was changed during the sign-in; sign in again.")
            connection.execute(delete(sessions).where(sessions.c.expires_at <= to_micros(now)))
            connection.execute(insert(sessions), row)
            audit.record(connection, "signed_in", actor_id=annotator_id, method=method)
        return token

    def person(self, token: str, consent_version: str | None) -> tuple[Person, datetime] | None:
        """Return the person with this session token and the last use of the session; None if there is no such session.

        Their `consent_version` is the one given if they have agreed to it.
        """
        now = to_micros(self._clock())
        values = {"of_token": _hash(token), "at_instant": now, "with_consent": consent_version or ""}
        with reading(self._engine, self._statements) as tx:
            row = tx.one(_PERSON, values)
        if row is None:
            return None
        annotator_id, name, role, session_id, agreed_version, seen_at = row
        return Person(annotator_id, name, role, session_id, agreed_version), from_micros(seen_at)

    def touch(self, session_id: str) -> None:
        """Record a use of the session, and extend it."""
        now = self._clock()
        with read_write(self._engine) as connection:
            session = (sessions.c.session_id == session_id) & (sessions.c.expires_at > to_micros(now))
            created = connection.scalar(select(sessions.c.created_at).where(session))
            if created is not None:
                expires_at = min(from_micros(created) + self._lifetime, now + self._idle)
                values = {"seen_at": to_micros(now), "expires_at": to_micros(expires_at)}
                connection.execute(update(sessions).where(session).values(**values))

    def end(self, session_id: str) -> None:
        """End the session: a user signs out."""
        with read_write(self._engine) as connection:
            owner = connection.scalar(select(sessions.c.annotator_id).where(sessions.c.session_id == session_id))
            if owner is not None:
                connection.execute(delete(sessions).where(sessions.c.session_id == session_id))
                audit.record(connection, "signed_out", actor_id=owner)


def alive(engine: Engine, annotator_id: str | None = None) -> list[Session]:
    """Return the sessions that have not expired, of one user or of all, newest first."""
    query = (
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
        query = query.where(sessions.c.annotator_id == annotator_id)
    with read_only(engine) as connection:
        return [Session(*row[:4], *map(from_micros, row[4:])) for row in connection.execute(query)]


def end_all(engine: Engine, annotator_id: str, *, actor_id: str | None) -> int:
    """End all sessions of a user; return their number."""
    with read_write(engine) as connection:
        ended = connection.execute(delete(sessions).where(sessions.c.annotator_id == annotator_id)).rowcount
        if ended:
            audit.record(connection, "sessions_ended", actor_id=actor_id, subject_id=annotator_id, sessions=ended)
    return ended


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()

"""Authentication service: sign-in, sign-out, sessions and identities; independent of HTTP.

A failed sign-in raises an error with one sentence, the same for a wrong name and a wrong password. The audit records
refusals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine

from chatfeedback.auth import passwords
from chatfeedback.auth.refusal_log import RefusalLog
from chatfeedback.domain.roles import Person
from chatfeedback.domain.text import sanitize
from chatfeedback.errors import Conflict, NotAllowed, SignInRefused, StoreError, TooMany
from chatfeedback.store.accounts import annotators, audit, secrets, users
from chatfeedback.store.accounts.login_throttle import LoginThrottle
from chatfeedback.store.accounts.sessions import TOUCH_EVERY, Sessions
from chatfeedback.store.accounts.users import User
from chatfeedback.store.database.availability import StoreFailed, log_error
from chatfeedback.store.database.clock import Clock, now
from chatfeedback.store.database.transactions import read_write

MAX_NAME_CHARS = 200
PROXY = "proxy"
"""Issuer of the identities that a trusted proxy asserts."""


class AuthService:
    """Authentication of people.

    Every method may raise StoreError. All block on the database: do not call them in an event loop. `sign_in` and
    `change_password` hash passwords besides: a server calls them in a `HashingPool`.

    Args:
        engine: The database.
        lifetime: Maximum age of a session.
        idle: Maximum idle time of a session.
        consent_version: Version of the text that all people must agree to, if there is one.
        sign_up: Create an annotator for each unknown identity of the provider or the proxy.
        clock: The clock; for tests.
        store_failed: Callback for store errors that do not fail a request.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        lifetime: timedelta = timedelta(days=14),
        idle: timedelta = timedelta(days=3),
        consent_version: str | None = None,
        sign_up: bool = False,
        clock: Clock = now,
        store_failed: StoreFailed = log_error,
    ) -> None:
        self._engine = engine
        self._store_failed = store_failed
        self._sessions = Sessions(engine, lifetime=lifetime, idle=idle, clock=clock)
        self._login_throttle = LoginThrottle(engine, secrets.get_or_create(engine, "sign_in_failures"), clock=clock)
        self._clock = clock
        self._consent_version = consent_version
        self._sign_up = sign_up
        self._refusals = RefusalLog(engine, store_failed)

    # Identity

    def local(self, name: str) -> Callable[[], Person]:
        """Return a function that returns the one person of a server without sign-in, an admin."""
        annotator_id = annotators.ensure(self._engine, name)
        consented: list[str | None] = [None]

        def person() -> Person:
            version = self._consent_version
            if version and not consented[0] and users.has_consented(self._engine, annotator_id, version):
                consented[0] = version
            return Person(annotator_id, name, "admin", None, consented[0])

        return person

    def person(self, token: str, *, unattended: bool = False) -> Person | None:
        """Return the person of a session; None if it has ended or never existed.

        `unattended`: a request without user activity, which does not keep the session alive.
        """
        row = self._sessions.person(token, self._consent_version)
        if row is None:
            return None
        person, seen_at = row
        if not unattended and self._clock() - seen_at > TOUCH_EVERY and person.session_id is not None:
            try:
                self._sessions.touch(person.session_id)
            except StoreError as error:
                self._store_failed(error)  # the session is valid all the same
        return person

    def person_from_proxy(self, subject: str) -> Person:
        """Return the person that the proxy names. Raises NotAllowed without an active account."""
        if len(subject) > MAX_NAME_CHARS or not subject.isprintable():
            raise NotAllowed(f"The proxy gives a name that cannot be one: 1 to {MAX_NAME_CHARS} printable characters.")
        user = self._find_or_create_user(PROXY, subject, subject)
        consented = self._consent_version
        if consented and not users.has_consented(self._engine, user.annotator_id, consented):
            consented = None
        return Person(user.annotator_id, user.name, user.role, None, consented)

    # Signing in and out

    def sign_in(self, name: str, password: str, address: str) -> str:
        """Sign in with a password and return the token of a new session.

        Raises SignInRefused, and TooMany after too many attempts.
        """
        name = sanitize(name.strip()[:MAX_NAME_CHARS])[0]
        attempt_id, wait = self._login_throttle.begin(name, address)
        if wait > 0:
            minutes = math.ceil(wait / 60)
            raise TooMany(
                f"Too many attempts to sign in; try again in {minutes} minute{'s' if minutes > 1 else ''}.", wait
            )
        user = users.find_by_name(self._engine, name)
        is_correct = passwords.verify(user.password_hash if user else None, password)
        if user is None or not is_correct or user.disabled_at:
            with read_write(self._engine) as connection:
                audit.record(connection, "sign_in_failed", subject_id=user.annotator_id if user else None)
            raise SignInRefused("This name and password do not go together, or the account is disabled.")
        self._login_throttle.succeeded(attempt_id, name, address)
        password_hash = self._rehash_if_needed(user, password)
        return self._sessions.begin(user.annotator_id, "password", password_hash=password_hash)

    def sign_in_with(self, issuer: str, subject: str, name: str) -> str:
        """Sign in an identity of `issuer` and return the token of a new session.

        Raises NotAllowed without an active account.
        """
        return self._sessions.begin(self._find_or_create_user(issuer, subject, name).annotator_id, "oidc")

    def sign_out(self, person: Person) -> None:
        """End the session of this request."""
        if person.session_id is not None:
            self._sessions.end(person.session_id)

    def change_password(self, person: Person, current: str, new: str, address: str) -> None:
        """Set a new password and end the other sessions. Raises SignInRefused, TooMany, InputError."""
        attempt_id, wait = self._login_throttle.begin(person.name, address)
        if wait > 0:
            raise TooMany("Too many attempts; try again in a few minutes.", wait)
        user = users.by_id(self._engine, person.annotator_id)
        is_correct = passwords.verify(user.password_hash if user else None, current)
        if not is_correct:
            raise SignInRefused("This is not your password.")
        self._login_throttle.succeeded(attempt_id, person.name, address)
        password_hash = passwords.hash_password(new, person.name)
        users.set_password(
            self._engine,
            person.annotator_id,
            password_hash,
            actor_id=person.annotator_id,
            keep_session=person.session_id,
        )

    def consent(self, person: Person, version: str) -> None:
        """Record consent to a version of the text. Raises Conflict if it is no longer the current one."""
        if version != self._consent_version:
            raise Conflict("The text has changed meanwhile; read it again.")
        users.consent(self._engine, person.annotator_id, version)

    # Audit

    def record_refusal(self, annotator_id: str, code: str) -> None:
        """Record the refusal of a known person. `code` is a constant, never input of a browser."""
        self._refusals.record(annotator_id, code)

    def record_too_many_sign_ins(self) -> None:
        """Log that sign-ins were refused without looking at the password."""
        self._refusals.too_many_sign_ins()

    def record_export(self, person: Person, **detail: Any) -> None:
        """Record an export of data."""
        with read_write(self._engine) as connection:
            audit.record(connection, "exported", actor_id=person.annotator_id, **detail)

    def _find_or_create_user(self, issuer: str, subject: str, name: str) -> User:
        user = users.find_by_identity(self._engine, issuer, subject)
        if user is None and issuer == PROXY:
            user = users.find_by_name(self._engine, name)  # safe: with a proxy, only admins and the proxy name users
        if user is None and self._sign_up:
            user = self._create_user(issuer, subject, name)
        if user is None:
            raise NotAllowed("You have no account here yet; ask the administrator for one.")
        if user.disabled_at:
            raise NotAllowed("Your account here is disabled; ask the administrator.")
        return user

    def _create_user(self, issuer: str, subject: str, name: str) -> User:
        """Create an annotator. A taken name gets a number: an external name does not identify a user."""
        for number in range(1, 100):
            candidate = name if number == 1 else f"{name} ({number})"
            if annotators.find(self._engine, candidate) is not None:
                continue
            try:
                return users.add(self._engine, candidate, "annotator", actor_id=None, identity=(issuer, subject))
            except Conflict:
                if existing := users.find_by_identity(
                    self._engine, issuer, subject
                ):  # a concurrent sign-in of this person
                    return existing
        raise NotAllowed("Too many people here have your name; ask the administrator for an account.")

    def _rehash_if_needed(self, user: User, password: str) -> str:
        """Store a new hash if the parameters are outdated; return the stored hash of the correct password."""
        assert user.password_hash is not None  # noqa: S101 - a user who signed in with a password has one
        new_hash = passwords.rehash_if_needed(user.password_hash, password)
        if new_hash is None:
            return user.password_hash
        users.rehash(self._engine, user.annotator_id, user.password_hash, new_hash)
        return new_hash

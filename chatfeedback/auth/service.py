"""The door: signing in and out, and who a request comes from.

Nothing here knows of HTTP. A refusal is an error with one sentence, the same one whatever was wrong with a name or a
password; what was refused, and whom, is in the audit.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine

from chatfeedback.auth import passwords
from chatfeedback.auth.refusal_log import Refusals
from chatfeedback.domain.roles import Person
from chatfeedback.domain.text import sanitize
from chatfeedback.errors import Conflict, NotAllowed, SignInRefused, StoreError, TooMany
from chatfeedback.store.accounts import annotators, audit, secrets, users
from chatfeedback.store.accounts.login_throttle import LoginThrottle
from chatfeedback.store.accounts.sessions import TOUCH_EVERY, Sessions
from chatfeedback.store.accounts.users import User
from chatfeedback.store.database.availability import StoreFailed, logged
from chatfeedback.store.database.clock import Clock, now
from chatfeedback.store.database.transactions import writing

MAX_CONCURRENT_HASHES = 2
"""Each takes 64 MiB for a moment."""
MAX_NAME_CHARS = 200
PROXY = "proxy"
"""The issuer of the names that a proxy vouches for."""


class AuthService:
    """Lets people in. `consent_version`: of the text that everybody must have agreed to, if there is one.

    `sign_up`: whether whoever a provider or a proxy vouches for becomes an annotator. Every method may raise a
    StoreError, and waits for the database or for a hash: none is for an event loop.
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
        store_failed: StoreFailed = logged,
    ) -> None:
        self._engine = engine
        self._store_failed = store_failed
        self._sessions = Sessions(engine, lifetime=lifetime, idle=idle, clock=clock)
        self._attempts = LoginThrottle(engine, secrets.get_or_create(engine, "sign_in_failures"), clock=clock)
        self._clock = clock
        self._consent_version = consent_version
        self._sign_up = sign_up
        self._refusals = Refusals(engine, store_failed)
        self._hashing = threading.BoundedSemaphore(MAX_CONCURRENT_HASHES)

    # Who is it

    def local(self, name: str) -> Callable[[], Person]:
        """The one person of a server without sign-in, who may do everything."""
        annotator_id = annotators.ensure(self._engine, name)
        agreed: list[str | None] = [None]

        def person() -> Person:
            wanted = self._consent_version
            if wanted and not agreed[0] and users.has_consented(self._engine, annotator_id, wanted):
                agreed[0] = wanted
            return Person(annotator_id, name, "admin", None, agreed[0])

        return person

    def person(self, token: str, *, unattended: bool = False) -> Person | None:
        """Whose session it is; None when it has ended, or never was. `unattended`: this does not keep it alive."""
        found = self._sessions.person(token, self._consent_version)
        if found is None:
            return None
        person, seen_at = found
        if not unattended and self._clock() - seen_at > TOUCH_EVERY and person.session_id is not None:
            try:
                self._sessions.touch(person.session_id)
            except StoreError as error:
                self._store_failed(error)  # she is let in all the same
        return person

    def vouched(self, subject: str) -> Person:
        """The person whom the proxy names. Raises NotAllowed for who may not come in."""
        if len(subject) > MAX_NAME_CHARS or not subject.isprintable():
            raise NotAllowed(f"The proxy gives a name that cannot be one: 1 to {MAX_NAME_CHARS} printable characters.")
        user = self._identified(PROXY, subject, subject)
        agreed = self._consent_version
        if agreed and not users.has_consented(self._engine, user.annotator_id, agreed):
            agreed = None
        return Person(user.annotator_id, user.name, user.role, None, agreed)

    # Signing in and out

    def sign_in(self, name: str, password: str, address: str) -> str:
        """Returns the token of a new session. Raises SignInRefused, and TooMany after too many attempts."""
        name = sanitize(name.strip()[:MAX_NAME_CHARS])[0]
        attempt_id, wait = self._attempts.begin(name, address)
        if wait > 0:
            minutes = math.ceil(wait / 60)
            raise TooMany(
                f"Too many attempts to sign in; try again in {minutes} minute{'s' if minutes > 1 else ''}.", wait
            )
        user = users.called(self._engine, name)
        with self._hashing:
            right = passwords.verified(user.password_hash if user else None, password)
        if user is None or not right or user.disabled_at:
            with writing(self._engine) as connection:
                audit.record(connection, "sign_in_failed", subject_id=user.annotator_id if user else None)
            raise SignInRefused("This name and password do not go together, or the account is disabled.")
        self._attempts.succeeded(attempt_id, name, address)
        hashed = self._rehash_if_needed(user, password)
        return self._sessions.begin(user.annotator_id, "password", password_hash=hashed)

    def sign_in_with(self, issuer: str, subject: str, name: str) -> str:
        """Returns the token of a new session for whom `issuer` vouches. Raises NotAllowed for who may not come in."""
        return self._sessions.begin(self._identified(issuer, subject, name).annotator_id, "oidc")

    def sign_out(self, person: Person) -> None:
        """Ends the session that the person came with."""
        if person.session_id is not None:
            self._sessions.end(person.session_id)

    def change_password(self, person: Person, before: str, after: str, address: str) -> None:
        """Another password; ends the other sessions. Raises SignInRefused, TooMany, InputError."""
        attempt_id, wait = self._attempts.begin(person.name, address)
        if wait > 0:
            raise TooMany("Too many attempts; try again in a few minutes.", wait)
        user = users.by_id(self._engine, person.annotator_id)
        with self._hashing:
            right = passwords.verified(user.password_hash if user else None, before)
        if not right:
            raise SignInRefused("This is not your password.")
        self._attempts.succeeded(attempt_id, person.name, address)
        with self._hashing:
            hashed = passwords.hashed(after, person.name)
        users.set_password(
            self._engine,
            person.annotator_id,
            hashed,
            actor_id=person.annotator_id,
            keep_session=person.session_id,
        )

    def consent(self, person: Person, version: str) -> None:
        """The person agrees to the text. Raises Conflict when it is another one by now."""
        if version != self._consent_version:
            raise Conflict("The text has changed meanwhile; read it again.")
        users.consent(self._engine, person.annotator_id, version)

    # What else is recorded

    def refused(self, annotator_id: str, what: str) -> None:
        """Notes that somebody who is known was refused. `what`: a code, nothing that a browser sent."""
        self._refusals.note(annotator_id, what)

    def exported(self, person: Person, **detail: Any) -> None:
        """Notes that somebody takes data away."""
        with writing(self._engine) as connection:
            audit.record(connection, "exported", actor_id=person.annotator_id, **detail)

    def _identified(self, issuer: str, subject: str, name: str) -> User:
        user = users.identified(self._engine, issuer, subject)
        if user is None and issuer == PROXY:
            user = users.called(self._engine, name)  # whoever names people names users: nobody else gives names here
        if user is None and self._sign_up:
            user = self._signed_up(issuer, subject, name)
        if user is None:
            raise NotAllowed("You have no account here yet; ask whoever runs this server for one.")
        if user.disabled_at:
            raise NotAllowed("Your account here is disabled; ask whoever runs this server.")
        return user

    def _signed_up(self, issuer: str, subject: str, name: str) -> User:
        """A new annotator. A name that is taken gets a number: names from elsewhere prove nothing."""
        for number in range(1, 100):
            free = name if number == 1 else f"{name} ({number})"
            if annotators.find(self._engine, free) is not None:
                continue
            try:
                return users.add(self._engine, free, "annotator", actor_id=None, identity=(issuer, subject))
            except Conflict:
                if found := users.identified(self._engine, issuer, subject):  # the same person, at the same moment
                    return found
        raise NotAllowed("Too many people here have your name; ask whoever runs this server for an account.")

    def _rehash_if_needed(self, user: User, password: str) -> str:
        """The hash of the right password that is stored from now on."""
        assert user.password_hash is not None  # noqa: S101 - a user who signed in with a password has one
        with self._hashing:
            better = passwords.rehash_if_needed(user.password_hash, password)
        if better is None:
            return user.password_hash
        users.rehash(self._engine, user.annotator_id, user.password_hash, better)
        return better

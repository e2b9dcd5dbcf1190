"""Sessions: their lifetime, their end, and tokens that the database does not reveal."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from chatfeedback.errors import SignInRefused
from chatfeedback.store.accounts import sessions, users
from chatfeedback.store.accounts.sessions import Sessions
from chatfeedback.store.accounts.users import User
from clock import Clock
from leak_scan import traces

LASTING, IDLE = timedelta(days=14), timedelta(days=3)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session_store(engine: Engine, clock: Clock) -> Sessions:
    return Sessions(engine, lifetime=LASTING, idle=IDLE, clock=clock)


@pytest.fixture
def ada(engine: Engine) -> User:
    return users.add(engine, "ada", "annotator", actor_id=None)


def name_of(session_store: Sessions, token: str) -> str | None:
    result = session_store.person(token, None)
    return result[0].name if result else None


def id_of(session_store: Sessions, token: str) -> str:
    result = session_store.person(token, None)
    assert result is not None
    assert result[0].session_id is not None
    return result[0].session_id


def test_session_token_identifies_user(session_store: Sessions, ada: User, clock: Clock) -> None:
    result = session_store.person(session_store.begin(ada.annotator_id, "password"), None)
    assert result is not None
    person, seen_at = result
    assert (person.annotator_id, person.name, person.role, person.consent_version) == (
        ada.annotator_id,
        "ada",
        "annotator",
        None,
    )
    assert seen_at == clock()


@pytest.mark.parametrize("token", ["", "x", "\0", "\udcff", "ü" * 10_000, "' OR 1=1 --", "%"])
def test_session_is_none_for_invalid_token(session_store: Sessions, ada: User, token: str) -> None:
    session_store.begin(ada.annotator_id, "password")
    assert session_store.person(token, None) is None


def test_session_token_is_long_and_unique_for_each_sign_in(session_store: Sessions, ada: User) -> None:
    tokens = {session_store.begin(ada.annotator_id, "password") for _ in range(20)}
    assert len(tokens) == 20
    assert all(len(base64.urlsafe_b64decode(f"{token}=")) == 32 for token in tokens)
    assert len({id_of(session_store, token) for token in tokens}) == 20


def test_session_token_is_stored_only_as_hash(session_store: Sessions, ada: User, database_url: str) -> None:
    token = session_store.begin(ada.annotator_id, "password")
    session_store.touch(id_of(session_store, token))
    hashed = hashlib.sha256(token.encode()).hexdigest()
    assert traces(database_url, [token, hashed]) == {hashed}
    assert session_store.person(hashed, None) is None


def test_session_expires_when_idle(session_store: Sessions, ada: User, clock: Clock) -> None:
    token = session_store.begin(ada.annotator_id, "password")
    clock += IDLE - timedelta(microseconds=1)
    assert name_of(session_store, token) == "ada"
    clock += timedelta(microseconds=1)
    assert name_of(session_store, token) is None


def test_session_is_extended_by_use_and_ends_with_its_lifetime(
    session_store: Sessions, ada: User, clock: Clock
) -> None:
    token = session_store.begin(ada.annotator_id, "password")
    for _ in range(13):
        clock += timedelta(days=1)
        session_store.touch(id_of(session_store, token))
    clock += timedelta(days=1) - timedelta(microseconds=1)
    assert name_of(session_store, token) == "ada"
    clock += timedelta(microseconds=1)
    assert name_of(session_store, token) is None


def test_session_stays_ended_when_touched_after_expiry(session_store: Sessions, ada: User, clock: Clock) -> None:
    token = session_store.begin(ada.annotator_id, "password")
    session_id = id_of(session_store, token)
    clock += IDLE
    session_store.touch(session_id)
    assert name_of(session_store, token) is None


def test_begin_deletes_expired_sessions(session_store: Sessions, ada: User, clock: Clock, engine: Engine) -> None:
    session_store.begin(ada.annotator_id, "password")
    clock += IDLE
    session_store.begin(ada.annotator_id, "password")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM sessions")).scalar() == 1


def test_end_ends_this_session_and_no_other(session_store: Sessions, ada: User) -> None:
    here, there = (session_store.begin(ada.annotator_id, "password") for _ in range(2))
    session_id = id_of(session_store, here)
    session_store.end(session_id)
    session_store.end(session_id)
    assert (name_of(session_store, here), name_of(session_store, there)) == (None, "ada")


def test_end_all_ends_sessions_of_one_user(engine: Engine, ada: User) -> None:
    session_store = Sessions(engine, lifetime=LASTING, idle=IDLE)
    bob = users.add(engine, "bob", "annotator", actor_id=None)
    tokens = [session_store.begin(ada.annotator_id, "password") for _ in range(3)]
    theirs = session_store.begin(bob.annotator_id, "oidc")
    assert [session.name for session in sessions.alive(engine)] == ["bob", "ada", "ada", "ada"]
    assert sessions.end_all(engine, ada.annotator_id, actor_id=bob.annotator_id) == 3
    assert sessions.end_all(engine, ada.annotator_id, actor_id=bob.annotator_id) == 0
    assert [name_of(session_store, token) for token in [*tokens, theirs]] == [None, None, None, "bob"]
    (left,) = sessions.alive(engine)
    assert (left.name, left.method) == ("bob", "oidc")
    assert sessions.alive(engine, ada.annotator_id) == []


def test_session_ends_when_user_is_disabled_and_stays_ended_when_enabled(
    engine: Engine, session_store: Sessions, ada: User
) -> None:
    token = session_store.begin(ada.annotator_id, "password")
    users.set_disabled(engine, "ada", True, actor_id=None)
    assert name_of(session_store, token) is None
    users.set_disabled(engine, "ada", False, actor_id=None)
    assert name_of(session_store, token) is None
    assert name_of(session_store, session_store.begin(ada.annotator_id, "password")) == "ada"


def test_begin_refuses_disabled_user(engine: Engine, session_store: Sessions, ada: User) -> None:
    users.set_disabled(engine, "ada", True, actor_id=None)
    with pytest.raises(SignInRefused, match="changed during the sign-in"):
        session_store.begin(ada.annotator_id, "password")


def test_session_has_new_role_from_next_request_on(engine: Engine, session_store: Sessions, ada: User) -> None:
    token = session_store.begin(ada.annotator_id, "password")
    for role in ("researcher", "admin", "annotator"):
        users.add(engine, f"admin beside {role}", "admin", actor_id=None)
        users.set_role(engine, "ada", role, actor_id=None)
        result = session_store.person(token, None)
        assert result is not None
        assert result[0].role == role


def test_session_shows_consent_only_for_requested_version(engine: Engine, session_store: Sessions, ada: User) -> None:
    token = session_store.begin(ada.annotator_id, "password")
    users.consent(engine, ada.annotator_id, "2026-03")

    def agreed(version: str | None) -> str | None:
        result = session_store.person(token, version)
        assert result is not None
        return result[0].consent_version

    assert (agreed("2026-03"), agreed("2026-04"), agreed(None)) == ("2026-03", None, None)

"""Sessions: how long they last, what ends them, and that the database gives nobody a way in."""

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
def kept(engine: Engine, clock: Clock) -> Sessions:
    return Sessions(engine, lifetime=LASTING, idle=IDLE, clock=clock)


@pytest.fixture
def ada(engine: Engine) -> User:
    return users.add(engine, "ada", "annotator", actor_id=None)


def name_of(kept: Sessions, token: str) -> str | None:
    found = kept.person(token, None)
    return found[0].name if found else None


def id_of(kept: Sessions, token: str) -> str:
    found = kept.person(token, None)
    assert found is not None
    assert found[0].session_id is not None
    return found[0].session_id


def test_the_token_says_who_it_is(kept: Sessions, ada: User, clock: Clock) -> None:
    found = kept.person(kept.begin(ada.annotator_id, "password"), None)
    assert found is not None
    person, seen_at = found
    assert (person.annotator_id, person.name, person.role, person.consent_version) == (
        ada.annotator_id,
        "ada",
        "annotator",
        None,
    )
    assert seen_at == clock()


@pytest.mark.parametrize("token", ["", "x", "\0", "\udcff", "ü" * 10_000, "' OR 1=1 --", "%"])
def test_what_is_no_token_is_nobody(kept: Sessions, ada: User, token: str) -> None:
    kept.begin(ada.annotator_id, "password")
    assert kept.person(token, None) is None


def test_every_sign_in_has_a_long_token_of_its_own(kept: Sessions, ada: User) -> None:
    tokens = {kept.begin(ada.annotator_id, "password") for _ in range(20)}
    assert len(tokens) == 20
    assert all(len(base64.urlsafe_b64decode(f"{token}=")) == 32 for token in tokens)
    assert len({id_of(kept, token) for token in tokens}) == 20


def test_the_database_holds_a_hash_of_the_token_and_nowhere_the_token(
    kept: Sessions, ada: User, database_url: str
) -> None:
    token = kept.begin(ada.annotator_id, "password")
    kept.touch(id_of(kept, token))
    hashed = hashlib.sha256(token.encode()).hexdigest()
    assert traces(database_url, [token, hashed]) == {hashed}
    assert kept.person(hashed, None) is None


def test_a_session_that_is_not_used_ends_after_a_while(kept: Sessions, ada: User, clock: Clock) -> None:
    token = kept.begin(ada.annotator_id, "password")
    clock += IDLE - timedelta(microseconds=1)
    assert name_of(kept, token) == "ada"
    clock += timedelta(microseconds=1)
    assert name_of(kept, token) is None


def test_a_session_that_is_used_lasts_on_and_ends_all_the_same(kept: Sessions, ada: User, clock: Clock) -> None:
    token = kept.begin(ada.annotator_id, "password")
    for _ in range(13):
        clock += timedelta(days=1)
        kept.touch(id_of(kept, token))
    clock += timedelta(days=1) - timedelta(microseconds=1)
    assert name_of(kept, token) == "ada"
    clock += timedelta(microseconds=1)
    assert name_of(kept, token) is None


def test_a_session_that_has_ended_stays_ended(kept: Sessions, ada: User, clock: Clock) -> None:
    token = kept.begin(ada.annotator_id, "password")
    session_id = id_of(kept, token)
    clock += IDLE
    kept.touch(session_id)
    assert name_of(kept, token) is None


def test_what_has_expired_is_forgotten_at_the_next_sign_in(
    kept: Sessions, ada: User, clock: Clock, engine: Engine
) -> None:
    kept.begin(ada.annotator_id, "password")
    clock += IDLE
    kept.begin(ada.annotator_id, "password")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM sessions")).scalar() == 1


def test_signing_out_ends_this_session_and_no_other(kept: Sessions, ada: User) -> None:
    here, there = (kept.begin(ada.annotator_id, "password") for _ in range(2))
    session_id = id_of(kept, here)
    kept.end(session_id)
    kept.end(session_id)
    assert (name_of(kept, here), name_of(kept, there)) == (None, "ada")


def test_all_sessions_of_one_person_end_at_once(engine: Engine, ada: User) -> None:
    kept = Sessions(engine, lifetime=LASTING, idle=IDLE)
    bob = users.add(engine, "bob", "annotator", actor_id=None)
    tokens = [kept.begin(ada.annotator_id, "password") for _ in range(3)]
    theirs = kept.begin(bob.annotator_id, "oidc")
    assert [session.name for session in sessions.alive(engine)] == ["bob", "ada", "ada", "ada"]
    assert sessions.end_all(engine, ada.annotator_id, actor_id=bob.annotator_id) == 3
    assert sessions.end_all(engine, ada.annotator_id, actor_id=bob.annotator_id) == 0
    assert [name_of(kept, token) for token in [*tokens, theirs]] == [None, None, None, "bob"]
    (left,) = sessions.alive(engine)
    assert (left.name, left.method) == ("bob", "oidc")
    assert sessions.alive(engine, ada.annotator_id) == []


def test_a_user_who_is_disabled_is_out_at_once_and_old_sessions_do_not_come_back(
    engine: Engine, kept: Sessions, ada: User
) -> None:
    token = kept.begin(ada.annotator_id, "password")
    users.set_disabled(engine, "ada", True, actor_id=None)
    assert name_of(kept, token) is None
    users.set_disabled(engine, "ada", False, actor_id=None)
    assert name_of(kept, token) is None
    assert name_of(kept, kept.begin(ada.annotator_id, "password")) == "ada"


def test_nobody_who_is_disabled_gets_a_session(engine: Engine, kept: Sessions, ada: User) -> None:
    users.set_disabled(engine, "ada", True, actor_id=None)
    with pytest.raises(SignInRefused, match="changed during the sign-in"):
        kept.begin(ada.annotator_id, "password")


def test_another_role_counts_from_the_next_request_on(engine: Engine, kept: Sessions, ada: User) -> None:
    token = kept.begin(ada.annotator_id, "password")
    for role in ("researcher", "admin", "annotator"):
        users.add(engine, f"admin beside {role}", "admin", actor_id=None)
        users.set_role(engine, "ada", role, actor_id=None)
        found = kept.person(token, None)
        assert found is not None
        assert found[0].role == role


def test_the_person_has_agreed_to_the_version_that_is_asked_about(engine: Engine, kept: Sessions, ada: User) -> None:
    token = kept.begin(ada.annotator_id, "password")
    users.consent(engine, ada.annotator_id, "2026-03")

    def agreed(version: str | None) -> str | None:
        found = kept.person(token, version)
        assert found is not None
        return found[0].consent_version

    assert (agreed("2026-03"), agreed("2026-04"), agreed(None)) == ("2026-03", None, None)

"""The auth service: sign-in, refusals, guessing, sessions and the audit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import argon2
import pytest
from sqlalchemy import Engine

from auth.auth_fixtures import CAFE, HOME, RIGHT, WRONG, person
from chatfeedback.auth import passwords
from chatfeedback.auth.service import AuthService
from chatfeedback.errors import InputError, SignInRefused, TooMany
from chatfeedback.store.accounts import annotators, audit, users
from chatfeedback.store.accounts.users import User
from cheap_hashes import STRONG, hashing_with
from clock import Clock
from concurrently import together

pytestmark = pytest.mark.usefixtures("cheap")

REFUSAL = "This name and password do not go together, or the account is disabled."


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, str]]:
    """Return the list of compared hashes and passwords."""
    compared: list[tuple[str | None, str]] = []
    really = passwords.verify

    def verified(stored: str | None, password: str) -> bool:
        compared.append((stored, password))
        return really(stored, password)

    monkeypatch.setattr(passwords, "verify", verified)
    return compared


def refusal(auth_service: AuthService, name: str, password: str, address: str = HOME) -> str:
    with pytest.raises(SignInRefused) as refused:
        auth_service.sign_in(name, password, address)
    return str(refused.value)


def actions(engine: Engine) -> list[tuple[str, str | None, str | None]]:
    return [(entry.action, entry.actor_id, entry.subject_id) for entry in reversed(audit.latest(engine, limit=100))]


# Sign-in


def test_sign_in_accepts_right_password_and_spaces_around_name(auth_service: AuthService, ada: User) -> None:
    for name in ("ada", " ada\t"):
        assert person(auth_service, auth_service.sign_in(name, RIGHT, HOME)).annotator_id == ada.annotator_id


def test_sign_in_refusal_is_always_same_and_compares_hash(
    auth_service: AuthService,
    engine: Engine,
    ada: User,
    right_hash: str,
    looked_at: list[tuple[str | None, str]],
) -> None:
    users.add(engine, "proxied", "annotator", actor_id=None)
    users.add(engine, "gone", "annotator", actor_id=None, password_hash=right_hash)
    users.set_disabled(engine, "gone", True, actor_id=None)
    annotators.ensure(engine, "no user")
    tries = [
        ("ada", WRONG, right_hash),
        ("ada", "", right_hash),
        ("nobody", RIGHT, None),
        ("", RIGHT, None),
        ("no user", RIGHT, None),
        ("proxied", RIGHT, None),
        ("gone", RIGHT, right_hash),
        ("ada\0", RIGHT, None),
        ("\udcff", RIGHT, None),
        ("x" * 100_000, RIGHT, None),
        ("ada" + " " * 500 + "x", RIGHT, None),
    ]
    for name, password, _ in tries:
        assert refusal(auth_service, name, password) == REFUSAL
    assert looked_at == [(stored, password) for _, password, stored in tries]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_sign_in_compares_hash_of_same_cost_for_unknown_name(
    auth_service: AuthService, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[Any] = []

    class Counting(argon2.PasswordHasher):
        def verify(self, stored: str | bytes, password: str | bytes) -> Any:
            compared.append(argon2.extract_parameters(str(stored)))
            return super().verify(stored, password)

    with hashing_with(Counting()):
        users.add(engine, "ada", "annotator", actor_id=None, password_hash=passwords.hash_password(RIGHT, "ada"))
        refusal(auth_service, "ada", WRONG)
        refusal(auth_service, "nobody", WRONG)
    assert len(compared) == 2
    assert compared[0] == compared[1]


def test_sign_in_refuses_id_as_name(auth_service: AuthService, ada: User) -> None:
    assert refusal(auth_service, ada.annotator_id, RIGHT) == REFUSAL


# Guessing


def test_sign_in_compares_no_password_after_five_wrong_ones(
    auth_service: AuthService, ada: User, clock: Clock, looked_at: list[tuple[str | None, str]]
) -> None:
    for _ in range(5):
        refusal(auth_service, "ada", WRONG)
    looked_at.clear()
    with pytest.raises(TooMany, match=r"Too many attempts to sign in; try again in 15 minutes\.") as refused:
        auth_service.sign_in("ada", RIGHT, HOME)
    assert refused.value.retry_after == timedelta(minutes=15).total_seconds()
    assert looked_at == []
    assert auth_service.sign_in("ada", RIGHT, CAFE)
    clock += timedelta(minutes=14, seconds=30)
    with pytest.raises(TooMany, match=r"in 1 minute\."):
        auth_service.sign_in("ada", RIGHT, HOME)
    clock += timedelta(seconds=30)
    assert auth_service.sign_in("ada", RIGHT, HOME)


def test_throttle_counts_guesses_for_unknown_name(auth_service: AuthService) -> None:
    for _ in range(5):
        refusal(auth_service, "nobody", WRONG)
    with pytest.raises(TooMany):
        auth_service.sign_in("nobody", WRONG, HOME)


def test_sign_in_clears_earlier_failures(auth_service: AuthService, ada: User) -> None:
    for _ in range(3):
        for _ in range(4):
            refusal(auth_service, "ada", WRONG)
        assert auth_service.sign_in("ada", RIGHT, HOME)


def test_throttle_counts_concurrent_guesses(
    auth_service: AuthService, ada: User, looked_at: list[tuple[str | None, str]]
) -> None:
    done = together(
        [lambda number=number: auth_service.sign_in("ada", f"{WRONG} {number}", HOME) for number in range(9)]
    )
    assert sorted(type(one).__name__ for one in done) == ["SignInRefused"] * 5 + ["TooMany"] * 4
    assert len(looked_at) == 5


def test_throttle_counts_guesses_at_password_change(auth_service: AuthService, ada: User) -> None:
    here = person(auth_service, auth_service.sign_in("ada", RIGHT, HOME))
    for _ in range(5):
        with pytest.raises(SignInRefused, match="not your password"):
            auth_service.change_password(here, WRONG, "another long phrase", HOME)
    with pytest.raises(TooMany):
        auth_service.change_password(here, RIGHT, "another long phrase", HOME)
    with pytest.raises(TooMany):
        auth_service.sign_in("ada", RIGHT, HOME)


# While the account changes


@pytest.mark.parametrize("change", ["password", "disabled"])
def test_sign_in_is_refused_when_account_changes_meanwhile(
    auth_service: AuthService, engine: Engine, ada: User, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    changes: dict[str, Callable[[], None]] = {
        "password": lambda: users.set_password(engine, "ada", "another hash", actor_id=None),
        "disabled": lambda: users.set_disabled(engine, "ada", True, actor_id=None),
    }
    really = passwords.verify

    def verified(stored: str | None, password: str) -> bool:
        right = really(stored, password)
        changes[change]()
        return right

    monkeypatch.setattr(passwords, "verify", verified)
    with pytest.raises(SignInRefused, match="changed during the sign-in; sign in again"):
        auth_service.sign_in("ada", RIGHT, HOME)
    users.set_disabled(engine, "ada", False, actor_id=None)
    assert [listed.sessions for listed in users.list_all(engine)] == [0]


def test_sign_in_renews_old_hash(auth_service: AuthService, engine: Engine) -> None:
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(RIGHT)
    users.add(engine, "ada", "annotator", actor_id=None, password_hash=old)
    refusal(auth_service, "ada", WRONG)
    assert users.find(engine, "ada").password_hash == old  # type: ignore[union-attr]
    with hashing_with(STRONG):
        assert person(auth_service, auth_service.sign_in("ada", RIGHT, HOME)).name == "ada"
    kept = users.find(engine, "ada").password_hash  # type: ignore[union-attr]
    assert kept is not None
    assert argon2.extract_parameters(kept) == argon2.profiles.RFC_9106_LOW_MEMORY
    with hashing_with(STRONG):
        assert auth_service.sign_in("ada", RIGHT, HOME)
    assert users.find(engine, "ada").password_hash == kept  # type: ignore[union-attr]


# Sessions


def test_session_use_is_recorded_at_most_once_per_minute(
    auth_service: AuthService, ada: User, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = auth_service.sign_in("ada", RIGHT, HOME)
    touched: list[str] = []
    touch = auth_service._sessions.touch
    monkeypatch.setattr(
        auth_service._sessions, "touch", lambda session_id: (touched.append(session_id), touch(session_id))
    )
    for _ in range(60):
        person(auth_service, token)
        clock += timedelta(seconds=1)
    assert touched == []
    for _ in range(61):
        clock += timedelta(seconds=1)
        person(auth_service, token)
    assert len(touched) == 1
    assert auth_service._sessions.person(token, None)[1] == clock() - timedelta(seconds=60)  # type: ignore[index]


def test_session_lasts_two_weeks_when_used_regularly(auth_service: AuthService, ada: User, clock: Clock) -> None:
    token = auth_service.sign_in("ada", RIGHT, HOME)
    for _ in range(6):
        clock += timedelta(days=2)
        assert person(auth_service, token).name == "ada"
    clock += timedelta(days=2)
    assert auth_service.person(token) is None


def test_password_change_ends_other_sessions(auth_service: AuthService, ada: User) -> None:
    here, there = (auth_service.sign_in("ada", RIGHT, address) for address in (HOME, CAFE))
    auth_service.change_password(person(auth_service, here), RIGHT, "another long phrase", HOME)
    assert person(auth_service, here).name == "ada"
    assert auth_service.person(there) is None
    assert refusal(auth_service, "ada", RIGHT) == REFUSAL
    assert auth_service.sign_in("ada", "another long phrase", HOME)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("new", ["short", "adaadaadaadaada", "aaaaaaaaaaaaaaaaa"])
def test_password_change_to_easy_password_changes_nothing(auth_service: AuthService, ada: User, new: str) -> None:
    here, there = (auth_service.sign_in("ada", RIGHT, address) for address in (HOME, CAFE))
    with pytest.raises(InputError):
        auth_service.change_password(person(auth_service, here), RIGHT, new, HOME)
    assert person(auth_service, there).name == "ada"
    assert auth_service.sign_in("ada", RIGHT, HOME)


def test_sign_out_ends_this_session_only(auth_service: AuthService, ada: User) -> None:
    here, there = (auth_service.sign_in("ada", RIGHT, HOME) for _ in range(2))
    auth_service.sign_out(person(auth_service, here))
    assert auth_service.person(here) is None
    assert person(auth_service, there).name == "ada"


# The audit


def test_audit_records_events_of_sign_in_without_secrets(auth_service: AuthService, engine: Engine, ada: User) -> None:
    refusal(auth_service, "ada", WRONG)
    refusal(auth_service, "no such person", WRONG)
    token = auth_service.sign_in("ada", RIGHT, HOME)
    here = person(auth_service, token)
    auth_service.record_refusal(here.annotator_id, "function")
    auth_service.record_export(here, kind="events")
    auth_service.change_password(here, RIGHT, "another long phrase", HOME)
    auth_service.sign_out(here)
    assert actions(engine)[1:] == [
        ("sign_in_failed", None, ada.annotator_id),
        ("sign_in_failed", None, None),
        ("signed_in", ada.annotator_id, None),
        ("refused", ada.annotator_id, None),
        ("exported", ada.annotator_id, None),
        ("password_changed", ada.annotator_id, ada.annotator_id),
        ("signed_out", ada.annotator_id, None),
    ]
    everything = repr(audit.latest(engine, limit=100))
    for secret in ("no such person", WRONG, RIGHT, token, HOME, "'ada'", "another long phrase"):
        assert secret not in everything

"""Failed sign-ins count, by name and by address, and are forgotten after a while."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from chatfeedback.store.accounts.login_throttle import (
    MAX_PER_ADDRESS,
    MAX_PER_NAME,
    MAX_PER_NAME_AND_ADDRESS,
    WINDOW,
    LoginThrottle,
)
from clock import Clock
from concurrently import together
from leak_scan import traces

HOME, CAFE = "192.0.2.1", "198.51.100.2"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def attempts(engine: Engine, clock: Clock) -> LoginThrottle:
    return LoginThrottle(engine, b"a key of this database", clock=clock)


def wait(attempts: LoginThrottle, name: str, address: str) -> float:
    return attempts.begin(name, address)[1]


def fail(attempts: LoginThrottle, name: str, address: str, times: int) -> None:
    for _ in range(times):
        assert wait(attempts, name, address) == 0


def test_after_five_failures_from_an_address_a_name_has_to_wait_and_others_have_not(attempts: LoginThrottle) -> None:
    fail(attempts, "ada", HOME, MAX_PER_NAME_AND_ADDRESS)
    assert 0 < wait(attempts, "ada", HOME) <= WINDOW.total_seconds()
    assert wait(attempts, "ada", CAFE) == 0
    assert wait(attempts, "bob", HOME) == 0


def test_a_name_is_the_same_in_capitals(attempts: LoginThrottle) -> None:
    for name in ("ada", "ADA", "Ada", "aDA", "adA"):
        assert wait(attempts, name, HOME) == 0
    assert wait(attempts, "AdA", HOME) > 0


def test_a_name_has_to_wait_when_it_is_tried_from_everywhere(attempts: LoginThrottle) -> None:
    for number in range(MAX_PER_NAME):
        assert wait(attempts, "ada", f"203.0.113.{number}") == 0
    assert wait(attempts, "ada", HOME) > 0
    assert wait(attempts, "bob", HOME) == 0


def test_an_address_has_to_wait_when_it_tries_every_name(attempts: LoginThrottle) -> None:
    for number in range(MAX_PER_ADDRESS):
        assert wait(attempts, f"user {number}", HOME) == 0
    assert wait(attempts, "ada", HOME) > 0
    assert wait(attempts, "ada", CAFE) == 0


def test_the_addresses_of_one_network_of_ipv6_are_one(attempts: LoginThrottle) -> None:
    for number in range(MAX_PER_NAME_AND_ADDRESS):
        assert wait(attempts, "ada", f"2001:db8:1:2:{number}::{number}") == 0
    assert wait(attempts, "ada", "2001:db8:1:2:ffff:ffff:ffff:ffff") > 0
    assert wait(attempts, "ada", "2001:db8:1:3::1") == 0


def test_an_address_of_ipv4_is_the_same_written_as_one_of_ipv6(attempts: LoginThrottle) -> None:
    fail(attempts, "ada", HOME, MAX_PER_NAME_AND_ADDRESS)
    assert wait(attempts, "ada", f"::ffff:{HOME}") > 0
    assert wait(attempts, "ada", f"::ffff:{CAFE}") == 0


@pytest.mark.parametrize("address", ["", "unknown", "1.2.3.4:80", "\udcff", "fe80::1%eth0", "0" * 5000])
def test_an_address_that_cannot_be_read_counts_as_it_is_written(attempts: LoginThrottle, address: str) -> None:
    fail(attempts, "ada", address, MAX_PER_NAME_AND_ADDRESS)
    assert wait(attempts, "ada", address) > 0
    assert wait(attempts, "ada", HOME) == 0


def test_the_wait_is_over_when_it_says_so_and_not_before(attempts: LoginThrottle, clock: Clock) -> None:
    fail(attempts, "ada", HOME, 2)
    clock += timedelta(minutes=5)
    fail(attempts, "ada", HOME, MAX_PER_NAME_AND_ADDRESS - 2)
    assert wait(attempts, "ada", HOME) == timedelta(minutes=10).total_seconds()
    clock += timedelta(minutes=10) - timedelta(seconds=1)
    assert wait(attempts, "ada", HOME) == 1
    clock += timedelta(seconds=1)
    fail(attempts, "ada", HOME, 2)
    assert wait(attempts, "ada", HOME) == timedelta(minutes=5).total_seconds()


def test_attempts_that_are_refused_do_not_make_the_wait_longer(attempts: LoginThrottle, clock: Clock) -> None:
    fail(attempts, "ada", HOME, MAX_PER_NAME_AND_ADDRESS)
    for _ in range(30):
        clock += timedelta(seconds=30)
        wait(attempts, "ada", HOME)
    assert wait(attempts, "ada", HOME) == 0


def test_who_is_let_in_begins_anew_from_there_and_only_there(attempts: LoginThrottle) -> None:
    fail(attempts, "ada", HOME, MAX_PER_NAME_AND_ADDRESS - 1)
    fail(attempts, "ada", CAFE, MAX_PER_NAME_AND_ADDRESS)
    attempt, _ = attempts.begin("ada", HOME)
    attempts.succeeded(attempt, "ADA", HOME)
    fail(attempts, "ada", HOME, MAX_PER_NAME_AND_ADDRESS)
    assert wait(attempts, "ada", HOME) > 0
    assert wait(attempts, "ada", CAFE) > 0


def test_ones_own_right_password_buys_no_more_guesses_at_those_of_others(attempts: LoginThrottle) -> None:
    for number in range(MAX_PER_ADDRESS):
        assert wait(attempts, f"user {number}", HOME) == 0
        if number < MAX_PER_ADDRESS - 1:
            attempt, seconds = attempts.begin("mallory", HOME)
            assert seconds == 0
            attempts.succeeded(attempt, "mallory", HOME)
    assert wait(attempts, "mallory", HOME) > 0


def test_attempts_at_the_same_moment_all_count(engine: Engine) -> None:
    many = [LoginThrottle(engine, b"a key of this database") for _ in range(8)]
    waits = together([lambda one=one: wait(one, "ada", HOME) for one in many])
    assert sorted(seconds > 0 for seconds in waits) == [False] * MAX_PER_NAME_AND_ADDRESS + [True] * (
        8 - MAX_PER_NAME_AND_ADDRESS
    )


def test_neither_a_name_nor_an_address_is_stored_and_what_is_over_is_forgotten(
    engine: Engine, database_url: str, attempts: LoginThrottle, clock: Clock
) -> None:
    fail(attempts, "Ada Lovelace", HOME, 3)
    assert traces(database_url, ["Ada Lovelace", "ada lovelace", HOME]) == set()
    clock += WINDOW
    fail(attempts, "bob", CAFE, 1)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(DISTINCT failure_id) FROM sign_in_failures")).scalar() == 1


def test_keys_of_two_databases_say_nothing_about_each_other(engine: Engine, clock: Clock) -> None:
    fail(LoginThrottle(engine, b"one", clock=clock), "ada", HOME, MAX_PER_NAME_AND_ADDRESS)
    assert wait(LoginThrottle(engine, b"two", clock=clock), "ada", HOME) == 0

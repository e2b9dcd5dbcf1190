"""Login throttle: failed sign-ins count by name and by address, until a window has passed."""

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
def login_throttle(engine: Engine, clock: Clock) -> LoginThrottle:
    return LoginThrottle(engine, b"a key of this database", clock=clock)


def wait(login_throttle: LoginThrottle, name: str, address: str) -> float:
    return login_throttle.begin(name, address)[1]


def fail(login_throttle: LoginThrottle, name: str, address: str, times: int) -> None:
    for _ in range(times):
        assert wait(login_throttle, name, address) == 0


def test_login_throttle_delays_name_at_one_address_and_no_others(login_throttle: LoginThrottle) -> None:
    fail(login_throttle, "ada", HOME, MAX_PER_NAME_AND_ADDRESS)
    assert 0 < wait(login_throttle, "ada", HOME) <= WINDOW.total_seconds()
    assert wait(login_throttle, "ada", CAFE) == 0
    assert wait(login_throttle, "bob", HOME) == 0


def test_login_throttle_ignores_case_of_name(login_throttle: LoginThrottle) -> None:
    for name in ("ada", "ADA", "Ada", "aDA", "adA"):
        assert wait(login_throttle, name, HOME) == 0
    assert wait(login_throttle, "AdA", HOME) > 0


def test_login_throttle_delays_name_that_is_tried_from_many_addresses(login_throttle: LoginThrottle) -> None:
    for number in range(MAX_PER_NAME):
        assert wait(login_throttle, "ada", f"203.0.113.{number}") == 0
    assert wait(login_throttle, "ada", HOME) > 0
    assert wait(login_throttle, "bob", HOME) == 0


def test_login_throttle_delays_address_that_tries_many_names(login_throttle: LoginThrottle) -> None:
    for number in range(MAX_PER_ADDRESS):
        assert wait(login_throttle, f"user {number}", HOME) == 0
    assert wait(login_throttle, "ada", HOME) > 0
    assert wait(login_throttle, "ada", CAFE) == 0


def test_login_throttle_counts_ipv6_network_as_one_address(login_throttle: LoginThrottle) -> None:
    for number in range(MAX_PER_NAME_AND_ADDRESS):
        assert wait(login_throttle, "ada", f"2001:db8:1:2:{number}::{number}") == 0
    assert wait(login_throttle, "ada", "2001:db8:1:2:ffff:ffff:ffff:ffff") > 0
    assert wait(login_throttle, "ada", "2001:db8:1:3::1") == 0


def test_login_throttle_treats_ipv4_mapped_address_as_ipv4_address(login_throttle: LoginThrottle) -> None:
    fail(login_throttle, "ada", HOME, MAX_PER_NAME_AND_ADDRESS)
    assert wait(login_throttle, "ada", f"::ffff:{HOME}") > 0
    assert wait(login_throttle, "ada", f"::ffff:{CAFE}") == 0


@pytest.mark.parametrize("address", ["", "unknown", "1.2.3.4:80", "\udcff", "fe80::1%eth0", "0" * 5000])
def test_login_throttle_counts_invalid_address_as_it_is_written(login_throttle: LoginThrottle, address: str) -> None:
    fail(login_throttle, "ada", address, MAX_PER_NAME_AND_ADDRESS)
    assert wait(login_throttle, "ada", address) > 0
    assert wait(login_throttle, "ada", HOME) == 0


def test_login_throttle_ends_delay_at_announced_time(login_throttle: LoginThrottle, clock: Clock) -> None:
    fail(login_throttle, "ada", HOME, 2)
    clock += timedelta(minutes=5)
    fail(login_throttle, "ada", HOME, MAX_PER_NAME_AND_ADDRESS - 2)
    assert wait(login_throttle, "ada", HOME) == timedelta(minutes=10).total_seconds()
    clock += timedelta(minutes=10) - timedelta(seconds=1)
    assert wait(login_throttle, "ada", HOME) == 1
    clock += timedelta(seconds=1)
    fail(login_throttle, "ada", HOME, 2)
    assert wait(login_throttle, "ada", HOME) == timedelta(minutes=5).total_seconds()


def test_login_throttle_does_not_extend_delay_for_refused_attempts(login_throttle: LoginThrottle, clock: Clock) -> None:
    fail(login_throttle, "ada", HOME, MAX_PER_NAME_AND_ADDRESS)
    for _ in range(30):
        clock += timedelta(seconds=30)
        wait(login_throttle, "ada", HOME)
    assert wait(login_throttle, "ada", HOME) == 0


def test_login_throttle_resets_only_name_at_one_address_after_success(login_throttle: LoginThrottle) -> None:
    fail(login_throttle, "ada", HOME, MAX_PER_NAME_AND_ADDRESS - 1)
    fail(login_throttle, "ada", CAFE, MAX_PER_NAME_AND_ADDRESS)
    attempt, _ = login_throttle.begin("ada", HOME)
    login_throttle.succeeded(attempt, "ADA", HOME)
    fail(login_throttle, "ada", HOME, MAX_PER_NAME_AND_ADDRESS)
    assert wait(login_throttle, "ada", HOME) > 0
    assert wait(login_throttle, "ada", CAFE) > 0


def test_login_throttle_does_not_reset_address_after_success_of_one_name(login_throttle: LoginThrottle) -> None:
    for number in range(MAX_PER_ADDRESS):
        assert wait(login_throttle, f"user {number}", HOME) == 0
        if number < MAX_PER_ADDRESS - 1:
            attempt, seconds = login_throttle.begin("mallory", HOME)
            assert seconds == 0
            login_throttle.succeeded(attempt, "mallory", HOME)
    assert wait(login_throttle, "mallory", HOME) > 0


def test_login_throttle_counts_concurrent_attempts(engine: Engine) -> None:
    many = [LoginThrottle(engine, b"a key of this database") for _ in range(8)]
    waits = together([lambda one=one: wait(one, "ada", HOME) for one in many])
    assert sorted(seconds > 0 for seconds in waits) == [False] * MAX_PER_NAME_AND_ADDRESS + [True] * (
        8 - MAX_PER_NAME_AND_ADDRESS
    )


def test_login_throttle_stores_no_name_or_address_and_deletes_expired_failures(
    engine: Engine, database_url: str, login_throttle: LoginThrottle, clock: Clock
) -> None:
    fail(login_throttle, "Ada Lovelace", HOME, 3)
    assert traces(database_url, ["Ada Lovelace", "ada lovelace", HOME]) == set()
    clock += WINDOW
    fail(login_throttle, "bob", CAFE, 1)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(DISTINCT failure_id) FROM sign_in_failures")).scalar() == 1


def test_login_throttle_does_not_share_failures_between_keys(engine: Engine, clock: Clock) -> None:
    fail(LoginThrottle(engine, b"one", clock=clock), "ada", HOME, MAX_PER_NAME_AND_ADDRESS)
    assert wait(LoginThrottle(engine, b"two", clock=clock), "ada", HOME) == 0

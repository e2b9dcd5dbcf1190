"""Secrets of a database: made once, and the same for everybody."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine, select

from chatfeedback.errors import SchemaBehind, StoreUnavailable
from chatfeedback.store.accounts import secrets as keys
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.schema import keys as keys_table
from closed import reading_url


def test_a_secret_is_made_at_first_need_and_stays(engine: Engine) -> None:
    assert keys.find(engine, "one") is None
    made = keys.secret(engine, "one")
    assert len(made) == 32
    assert keys.secret(engine, "one") == keys.find(engine, "one") == made
    assert keys.find(engine, "two") is None
    assert keys.secret(engine, "two") != made
    with engine.connect() as connection:
        stored = connection.execute(select(keys_table.c.secret).where(keys_table.c.name == "one")).scalar_one()
    assert bytes.fromhex(stored) == made


def test_all_who_ask_at_the_same_moment_get_the_same_secret(database_url: str) -> None:
    engines = [open_engine(database_url) for _ in range(6)]
    start = threading.Barrier(len(engines))
    found: list[list[bytes]] = []

    def ask(engine: Engine) -> None:
        start.wait()
        found.append([keys.secret(engine, f"key {number}") for number in range(5)])

    threads = [threading.Thread(target=ask, args=[engine]) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        engine.dispose()
    assert len(found) == len(engines)
    assert all(secrets == found[0] for secrets in found)
    assert len(set(found[0])) == 5


def test_a_database_that_can_only_be_read_gives_a_secret_that_is_there_and_makes_none(
    database_url: str, engine: Engine
) -> None:
    closed = open_engine(reading_url(database_url), read_only=True)
    made = keys.secret(engine, "one")
    assert keys.secret(closed, "one") == made
    with pytest.raises(
        StoreUnavailable,
        match=r"^The database has no key for two yet and can only be read; make it writable once, or do without two\.$",
    ):
        keys.secret(closed, "two")
    closed.dispose()
    assert keys.find(engine, "two") is None


def test_a_database_without_the_table_is_said_in_a_sentence(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    with pytest.raises(SchemaBehind, match="chatfeedback db upgrade"):
        keys.secret(engine, "one")
    engine.dispose()

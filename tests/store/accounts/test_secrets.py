"""Secrets of a database: made once, and the same for everybody."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine, select

from chatfeedback.errors import SchemaBehind, StoreUnavailable
from chatfeedback.store.accounts import secrets
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.schema import keys
from readonly_dirs import reading_url


def test_a_secret_is_made_at_first_need_and_stays(engine: Engine) -> None:
    assert secrets.find(engine, "one") is None
    made = secrets.get_or_create(engine, "one")
    assert len(made) == 32
    assert secrets.get_or_create(engine, "one") == secrets.find(engine, "one") == made
    assert secrets.find(engine, "two") is None
    assert secrets.get_or_create(engine, "two") != made
    with engine.connect() as connection:
        stored = connection.execute(select(keys.c.secret).where(keys.c.name == "one")).scalar_one()
    assert bytes.fromhex(stored) == made


def test_all_who_ask_at_the_same_moment_get_the_same_secret(database_url: str) -> None:
    engines = [open_engine(database_url) for _ in range(6)]
    start = threading.Barrier(len(engines))
    found: list[list[bytes]] = []

    def ask(engine: Engine) -> None:
        start.wait()
        found.append([secrets.get_or_create(engine, f"key {number}") for number in range(5)])

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
    made = secrets.get_or_create(engine, "one")
    assert secrets.get_or_create(closed, "one") == made
    with pytest.raises(
        StoreUnavailable,
        match=r"^The database has no key for two yet and can only be read; make it writable once, or do without two\.$",
    ):
        secrets.get_or_create(closed, "two")
    closed.dispose()
    assert secrets.find(engine, "two") is None


def test_a_database_without_the_table_is_said_in_a_sentence(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    with pytest.raises(SchemaBehind, match="chatfeedback db upgrade"):
        secrets.get_or_create(engine, "one")
    engine.dispose()

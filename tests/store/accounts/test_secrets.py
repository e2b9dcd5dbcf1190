"""Secrets of a database: created once, and the same for all processes."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine, select

from chatfeedback.errors import SchemaBehind, StoreUnavailable
from chatfeedback.store.accounts import secrets
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.schema import keys
from readonly_dirs import reading_url


def test_get_or_create_creates_secret_once(engine: Engine) -> None:
    assert secrets.find(engine, "one") is None
    secret = secrets.get_or_create(engine, "one")
    assert len(secret) == 32
    assert secrets.get_or_create(engine, "one") == secrets.find(engine, "one") == secret
    assert secrets.find(engine, "two") is None
    assert secrets.get_or_create(engine, "two") != secret
    with engine.connect() as connection:
        stored = connection.execute(select(keys.c.secret).where(keys.c.name == "one")).scalar_one()
    assert bytes.fromhex(stored) == secret


def test_get_or_create_returns_same_secret_to_concurrent_callers(database_url: str) -> None:
    engines = [open_engine(database_url) for _ in range(6)]
    start = threading.Barrier(len(engines))
    results: list[list[bytes]] = []

    def ask(engine: Engine) -> None:
        start.wait()
        results.append([secrets.get_or_create(engine, f"key {number}") for number in range(5)])

    threads = [threading.Thread(target=ask, args=[engine]) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        engine.dispose()
    assert len(results) == len(engines)
    assert all(secrets == results[0] for secrets in results)
    assert len(set(results[0])) == 5


def test_get_or_create_creates_no_secret_in_read_only_database(database_url: str, engine: Engine) -> None:
    closed = open_engine(reading_url(database_url), read_only=True)
    secret = secrets.get_or_create(engine, "one")
    assert secrets.get_or_create(closed, "one") == secret
    with pytest.raises(
        StoreUnavailable,
        match=r"^The database has no key for two yet and can only be read; make it writable once, or do without two\.$",
    ):
        secrets.get_or_create(closed, "two")
    closed.dispose()
    assert secrets.find(engine, "two") is None


def test_get_or_create_raises_schema_behind_without_table(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    with pytest.raises(SchemaBehind, match="chatfeedback db upgrade"):
        secrets.get_or_create(engine, "one")
    engine.dispose()

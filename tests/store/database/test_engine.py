"""Engine: guarantees of all connections, and the URLs that are supported."""

from __future__ import annotations

import sqlite3
import threading

import psycopg
import pytest
from sqlalchemy import Engine, text

from chatfeedback.errors import SettingsError
from chatfeedback.store.database.engine import LIBPQ_TIMEOUTS, parse_url
from chatfeedback.store.schema import from_micros, to_micros
from conversation_builder import StoredTalk


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
def test_sqlite_connection_uses_wal_full_synchronous_and_foreign_keys(
    engine: Engine, pragma: str, value: object
) -> None:
    for _ in range(2):
        with engine.connect() as connection:
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_postgres_session_uses_utc(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW timezone")) == "UTC"


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_postgres_connection_has_keepalives_and_timeouts(engine: Engine) -> None:
    # Only the settings can be tested: the Unix socket of the tests has no keepalives.
    sources = text("SELECT source FROM pg_settings WHERE name LIKE 'tcp_keepalives%'")
    with engine.connect() as connection:
        assert list(connection.scalars(sources)) == ["session"] * 3
        driver = connection.connection.driver_connection
        assert driver is not None
        parameters = driver.info.get_parameters()
    assert {name: parameters.get(name) for name in LIBPQ_TIMEOUTS} == {
        name: str(value) for name, value in LIBPQ_TIMEOUTS.items()
    }


def test_engine_closes_connection_that_is_returned_after_dispose(engine: Engine) -> None:
    """A thread continues to read when its caller was cancelled and the engine disposed of."""
    late, idle = engine.connect(), engine.connect()
    drivers = [connection.connection.driver_connection for connection in (late, idle)]
    idle.close()
    engine.dispose()
    assert late.execute(text("SELECT 1")).scalar() == 1
    late.close()
    for driver in drivers:
        with pytest.raises((sqlite3.ProgrammingError, psycopg.OperationalError), match="closed"):
            driver.execute("SELECT 1")  # type: ignore[union-attr]


def test_reader_sees_one_state_of_database_throughout(talk: StoredTalk) -> None:
    talk.ask("Hello", "Hi")
    count = text("SELECT count(*) FROM events")
    with talk.store.reading() as tx:
        first = tx.one(count, {})
        writer = threading.Thread(target=talk.ask, args=("And?", "Nothing"))
        writer.start()
        writer.join()
        assert tx.one(count, {}) == first
    with talk.store.reading() as tx:
        assert tx.one(count, {}) != first


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///chat.db", "sqlite+pysqlite"),
        ("postgres://ada@host/chat", "postgresql+psycopg"),
        ("postgresql://ada@host/chat", "postgresql+psycopg"),
        ("postgresql+psycopg://ada@host/chat", "postgresql+psycopg"),
    ],
)
def test_parse_url_sets_driver(url: str, driver: str) -> None:
    assert parse_url(url).drivername == driver


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/chat", "chat.db", ""])
def test_parse_url_refuses_unsupported_url(url: str) -> None:
    with pytest.raises(SettingsError):
        parse_url(url)


@pytest.mark.parametrize("micros", [0, 1, -1, 1_780_000_000_123_456, 253_402_300_799_999_999])
def test_micros_round_trip_to_instant_exactly(micros: int) -> None:
    instant = from_micros(micros)
    assert instant.utcoffset() is not None
    assert to_micros(instant) == micros

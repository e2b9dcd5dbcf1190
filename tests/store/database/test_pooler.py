"""Postgres behind a pooler (PgBouncer), which refuses start-up options and may change sessions between transactions."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.store.accounts import annotators
from chatfeedback.store.database import migrate
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.maintenance import check, rebuild
from chatfeedback.store.opening import open_event_store
from clusters import Cluster
from conversation_builder import StoredTalk
from pgbouncer import pooling

pytestmark = [pytest.mark.process, pytest.mark.postgres]


@pytest.fixture(params=["transaction", "session"])
def pooled_url(request: pytest.FixtureRequest, postgres_server: Cluster) -> Iterator[str]:
    """Return the address of an empty database behind a pooler."""
    name = postgres_server.create_database()
    host = postgres_server.url().partition("host=")[2]
    with pooling(host, request.param) as folder:
        yield f"postgresql://postgres:@/{name}?host={folder}&port=6432"
    postgres_server.drop_database(name)


@pytest.fixture
def engine(pooled_url: str) -> Iterator[Engine]:
    migrate.upgrade(pooled_url)
    engine = open_engine(pooled_url, lock_seconds=7)
    yield engine
    engine.dispose()


def test_store_works_behind_pooler(pooled_url: str, engine: Engine) -> None:
    store = open_event_store(engine)

    def talk(number: int) -> None:
        talk = StoredTalk(store, annotators.ensure(engine, f"person {number}"))
        for turn in range(8):  # psycopg prepares a statement at its sixth use
            reply = talk.ask(f"{turn}?", f"{turn}!")
            talk.rate(reply, talk.actor, RatingChange(value="like", comment="fine"))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(talk, range(8)))
    store.close()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM ratings")) == 64
        assert connection.scalar(text("SHOW timezone")) == "UTC"
        assert connection.scalar(text("SHOW lock_timeout")) == "7s"
    assert check(pooled_url) == []
    assert rebuild(pooled_url, lambda _done, _total: None) == 8 * (1 + 8 * 4)
    assert migrate.downgrade(pooled_url, "base", destroy_data=True)[1] is None
    assert migrate.upgrade(pooled_url)[0] is None


def test_settings_of_transaction_do_not_stay_in_session_of_pooler(engine: Engine) -> None:
    with engine.begin() as connection:
        assert connection.scalar(text("SHOW lock_timeout")) == "7s"
    other = open_engine(str(engine.url.render_as_string(hide_password=False)))
    with other.begin() as connection:
        assert connection.scalar(text("SHOW lock_timeout")) == "0"
    other.dispose()

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import Engine

from analytics.load_users import Crowd, enrol, store
from analytics.reference_figures import Record
from chatfeedback.analytics.dashboard import DashboardQueries
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Event
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log.statements import Statements, Transaction
from clusters import Cluster


@dataclass
class Recorded:
    """Database filled by a crowd, the record of its events, and the dashboard that reads it."""

    url: str
    engine: Engine
    crowd: Crowd
    record: Record
    talks: dict[str, Conversation]

    @property
    def dashboard(self) -> DashboardQueries:
        return DashboardQueries(self.engine, self.talks.get)


@cache
def _talks(crowd: Crowd, conversations: int) -> list[tuple[list[Event], Conversation]]:
    """Make up the talks of the crowd once: they are the same every time, and cost more than to store them."""
    return list(islice(crowd.talk(), conversations))


def fill(engine: Engine, crowd: Crowd, conversations: int) -> list[Conversation]:
    """Store so many conversations of the crowd; return them."""
    talks = _talks(crowd, conversations)
    pooled = engine.raw_connection()
    try:
        if engine.dialect.name == "sqlite":
            pooled.driver_connection.execute("BEGIN")
        tx = Transaction(pooled.driver_connection, Statements(engine.dialect))
        enrol(tx, crowd.names())
        store(tx, talks)
        pooled.driver_connection.commit()
    finally:
        pooled.close()
    return [talk for _, talk in talks]


CROWD, CONVERSATIONS = Crowd(), 90


def _filled(url: str) -> str:
    engine = open_engine(url)
    fill(engine, CROWD, CONVERSATIONS)
    engine.dispose()
    return url


@pytest.fixture(scope="session")
def filled_sqlite(new_sqlite: Callable[[], str]) -> Path:
    """Return a database filled by the crowd, which others are copies of."""
    return Path(_filled(new_sqlite()).removeprefix("sqlite:///"))


@pytest.fixture(scope="session")
def filled_postgres(postgres_server: Cluster, _migrated_postgres: str) -> str:
    """Return the name of the same database on Postgres."""
    name = postgres_server.create_database(template=_migrated_postgres)
    _filled(postgres_server.url(name))
    return name


@pytest.fixture
def filled_url(database_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return a new database filled by the crowd; each test runs once for each kind of database."""
    if database_kind == "sqlite":
        filled, path = request.getfixturevalue("filled_sqlite"), tmp_path / "filled.db"
        with closing(sqlite3.connect(filled)) as original, closing(sqlite3.connect(path)) as copy:
            original.backup(copy)
        yield f"sqlite:///{path}"
        return
    server: Cluster = request.getfixturevalue("postgres_server")
    name = server.create_database(template=request.getfixturevalue("filled_postgres"))
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def recorded(filled_url: str) -> Iterator[Recorded]:
    """Return a database of four annotators, three models and ten days."""
    engine = open_engine(filled_url)
    talks = _talks(CROWD, CONVERSATIONS)
    record = Record.of(event for events, _ in talks for event in events)
    yield Recorded(filled_url, engine, CROWD, record, {talk.conversation_id: talk for _, talk in talks})
    engine.dispose()

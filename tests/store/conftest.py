"""An open store on each database, and three people."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from chatfeedback.store import annotators
from chatfeedback.store.engine import open_engine
from chatfeedback.store.event_store import EventStore
from chatfeedback.store.writer import open_writer
from talking import People, StoredTalk


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Iterator[EventStore]:
    store = EventStore(engine, open_writer(engine))
    yield store
    store.writer.close()


@pytest.fixture
def people(engine: Engine) -> People:
    return People(*(annotators.ensure(engine, name) for name in People._fields))


@pytest.fixture
def talk(store: EventStore, people: People) -> StoredTalk:
    return StoredTalk(store, people.ada)

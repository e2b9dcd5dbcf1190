"""An open store on each database, three people, and exports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine

from chatfeedback.export.stream import stream
from chatfeedback.query.filters import Filters
from chatfeedback.query.sql_filters import resolve
from chatfeedback.store.accounts import annotators
from chatfeedback.store.accounts import pseudonyms as naming
from chatfeedback.store.accounts.pseudonyms import DisplayNames
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.opening import open_event_store
from conversation_builder import People
from export.recording import Export, Read, Rows, TimedTalk


@pytest.fixture
def store(database_url: str) -> Iterator[EventStore]:
    """Return a store with connections of its own, so that those in use by exports can be counted."""
    engine = open_engine(database_url)
    store = open_event_store(engine)
    yield store
    store.writer.close()
    engine.dispose()


@pytest.fixture
def people(engine: Engine) -> People:
    return People(*(annotators.ensure(engine, name) for name in People._fields))


@pytest.fixture
def talk(store: EventStore, people: People) -> TimedTalk:
    return TimedTalk(store, people.ada)


@pytest.fixture
def pseudonyms(engine: Engine) -> DisplayNames:
    return naming.pseudonyms(engine)


@pytest.fixture
def called(people: People, pseudonyms: DisplayNames) -> People:
    """Return the three people by the pseudonyms that they have in exports."""
    return People(*map(pseudonyms, people))


@pytest.fixture
def export(engine: Engine, pseudonyms: DisplayNames) -> Export:

    def whole(kind: str, format: str = "csv", naming: DisplayNames = pseudonyms, **filters: Any) -> bytes:
        return b"".join(stream(engine, kind, format, resolve(engine, Filters(**filters)), naming))

    return whole


@pytest.fixture
def read(export: Export) -> Read:
    """Return `read(kind, **filters)`, which gives the rows of an export, by name."""

    def rows(kind: str, **filters: Any) -> Rows:
        return [orjson.loads(line) for line in export(kind, "jsonl", **filters).split(b"\n")[:-1]]

    return rows

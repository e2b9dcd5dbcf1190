from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import pytest
from sqlalchemy import Engine

from analytics.crowd import Crowd, enrol, store
from analytics.naive import Record
from chatfeedback.analytics.desk import AnalyticsDesk
from chatfeedback.domain.conversation import Conversation
from chatfeedback.store.sql import Statements, Transaction


@dataclass
class Recorded:
    """A database, what it was filled with, and a desk that reads it."""

    url: str
    engine: Engine
    crowd: Crowd
    record: Record
    talks: dict[str, Conversation]

    @property
    def desk(self) -> AnalyticsDesk:
        return AnalyticsDesk(self.engine, self.talks.get)


def fill(engine: Engine, crowd: Crowd, conversations: int) -> list[Conversation]:
    """Stores so many conversations of the crowd."""
    return [talk for _, talk in _stored(engine, crowd, conversations)]


def _stored(engine: Engine, crowd: Crowd, conversations: int) -> list[tuple[list, Conversation]]:
    talks = list(islice(crowd.talk(), conversations))
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
    return talks


@pytest.fixture
def recorded(database_url: str, engine: Engine) -> Recorded:
    """Four annotators, three models, ten days."""
    crowd = Crowd()
    talks = _stored(engine, crowd, 90)
    record = Record.of(event for events, _ in talks for event in events)
    return Recorded(database_url, engine, crowd, record, {talk.conversation_id: talk for _, talk in talks})

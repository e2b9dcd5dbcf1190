"""Fixtures: an open store on each database, and three people."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.store.accounts import annotators
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.opening import open_event_store
from conversation_builder import People, StoredTalk


@pytest.fixture
def store(engine: Engine) -> Iterator[EventStore]:
    store = open_event_store(engine)
    yield store
    store.writer.close()


@pytest.fixture
def people(engine: Engine) -> People:
    return People(*(annotators.ensure(engine, name) for name in People._fields))


@pytest.fixture
def talk(store: EventStore, people: People) -> StoredTalk:
    return StoredTalk(store, people.ada)


@pytest.fixture
def talk_of_ada(store: EventStore, people: People) -> StoredTalk:
    """Conversation of Ada in which Bob has rated."""
    talk = StoredTalk(store, people.ada)
    reply = talk.retry(talk.ask("Hello", "Hi"))
    talk.finish(reply, "Good day")
    talk.rate(reply, people.ada, RatingChange("like", {"funny": True}))
    talk.rate(reply, people.bob, RatingChange("dislike", {"wrong": True}, "Not at all"))
    return talk


@pytest.fixture
def shared(store: EventStore, people: People) -> StoredTalk:
    """Conversation of Bob in which Ada has written as well."""
    talk = StoredTalk(store, people.bob)
    first = talk.ask("Who is there?", "A model")
    talk.rate(first, people.ada, RatingChange("like", {"accurate": True}, "Well said"))
    talk.rate(first, people.ada, RatingChange(comment="Well said, almost"))
    talk.rate(first, people.cyd, RatingChange("like", comment="I agree"))
    talk.actor = people.ada
    talk.edit(talk.ask("And who are you?", "I am a model"), "I am the model")
    talk.actor = people.bob
    talk.ask("Thanks", "Welcome")
    return talk

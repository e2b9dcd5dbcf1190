"""Append: decided and stored in one transaction, once and in order, despite concurrent writers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from chatfeedback.domain.conversation.events import ConversationCleared, ConversationStarted, MessageSent, TurnUndone
from chatfeedback.domain.conversation.evolve import fold
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import UPCASTERS, Body
from chatfeedback.domain.feedback.decide import RatingChange, rate
from chatfeedback.domain.text import sanitize
from chatfeedback.domain.types import new_id
from chatfeedback.errors import Conflict, EventIdReused, StoreCorrupt, VersionTaken
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log.event_store import Appended, Command, EventStore
from chatfeedback.store.log.statements import Transaction
from chatfeedback.store.opening import open_event_store
from conversation_builder import REASONS, People, StoredTalk
from store.importing import LONG_AGO, imported, stored

# Results


def test_append_returns_events_with_position_and_both_instants(store: EventStore, people: People) -> None:
    new = imported(people, ["Hello", "Anybody?"])
    before = datetime.now(UTC)
    appended = store.append(new, expected_version=0).result()
    assert stored(appended.events) == new
    assert tuple(store.events_of(new[0].conversation_id)) == appended.events
    for event in appended.events:
        assert event.position is not None
        assert event.occurred_at == LONG_AGO
        assert event.recorded_at is not None
        assert before <= event.recorded_at <= datetime.now(UTC)
    assert store.conversation(new[0].conversation_id) == appended.conversation == fold(new[0].conversation_id, new)


def test_conversation_is_none_when_unknown(store: EventStore) -> None:
    assert store.conversation(new_id()) is None
    assert store.events_of(new_id()) == []


def test_execute_loads_no_conversation_that_cache_has(talk: StoredTalk, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    monkeypatch.setattr(talk.store._states, "load", lambda tx, conversation_id: loads.append(conversation_id))
    talk.ask("Hello", "Hi")
    talk.ask("And?", "That is all.")
    assert len(talk.conversation.shown()) == 4
    assert loads == []


def test_execute_stores_nothing_when_decision_is_refused(talk: StoredTalk) -> None:
    def refuse(_: Conversation) -> list[Body]:
        raise Conflict("No.")

    with pytest.raises(Conflict):
        talk.do(refuse)
    assert talk.store.conversation(talk.conversation_id) is None


def test_execute_writes_nothing_when_decision_has_no_events(talk: StoredTalk) -> None:
    assert talk.do(lambda c: []) == ()
    assert talk.store.conversation(talk.conversation_id) is None


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text_from_outside=st.text(st.characters(), min_size=1))
def test_execute_stores_sanitized_text_unchanged(store: EventStore, people: People, text_from_outside: str) -> None:
    clean, altered = sanitize(text_from_outside)
    conversation_id = new_id()

    def say(_: Conversation) -> list[Body]:
        return [
            ConversationStarted(),
            MessageSent(message_id=new_id(), parent_id=None, text=clean, altered=altered),
        ]

    store.execute(Command(conversation_id, people.ada, say)).result()
    _, event = store.events_of(conversation_id)
    assert isinstance(event.body, MessageSent)
    assert (event.body.text, event.body.altered) == (clean, altered)
    fresh = open_event_store(store.engine, store.writer).conversation(conversation_id)
    assert fresh is not None
    assert [(message.text, message.altered) for message in fresh.shown()] == [(clean, altered)]


# Once


def test_append_returns_first_result_when_repeated(store: EventStore, people: People) -> None:
    new = imported(people, ["Hello"])
    first = store.append(new, expected_version=0).result()
    StoredTalk(store, people.ada, new[0].conversation_id).send("More")
    again = store.append(new, expected_version=0).result()
    assert again.events == first.events
    assert again.conversation.version == 4
    assert len(store.events_of(new[0].conversation_id)) == 4


@pytest.mark.parametrize(
    "other",
    [
        {"occurred_at": datetime(2020, 1, 1, tzinfo=UTC)},
        {"conversation_id": "019a0000-0000-7000-8000-000000000000"},
        {"body": ConversationCleared()},
        {"version": 2},
    ],
    ids=str,
)
def test_append_refuses_event_id_with_other_content(
    store: EventStore, people: People, other: dict[str, object]
) -> None:
    new = imported(people, ["Hello"])[:1]
    store.append(new, expected_version=0).result()
    with pytest.raises(EventIdReused, match=new[0].event_id):
        store.append([replace(new[0], **other)], expected_version=0).result()  # type: ignore[arg-type]
    assert len(store.events_of(new[0].conversation_id)) == 1


def test_execute_refuses_event_id_of_another_conversation(store: EventStore, people: People) -> None:
    new = imported(people, ["Hello"])
    store.append(new, expected_version=0).result()
    thief = Command(new_id(), people.bob, lambda c: [ConversationStarted()], event_ids=(new[0].event_id,))
    with pytest.raises(EventIdReused):
        store.execute(thief).result()
    assert store.conversation(thief.conversation_id) is None


def test_append_refuses_version_that_is_taken(store: EventStore, people: People) -> None:
    new = imported(people, ["Hello"])
    store.append(new, expected_version=0).result()
    late = replace(new[0], event_id=new_id(), body=TurnUndone(message_id="m", model=None))
    with pytest.raises(VersionTaken, match="is at version 2, not 0"):
        store.append([late], expected_version=0).result()
    assert len(store.events_of(new[0].conversation_id)) == 2


# Events of other releases


def by_hand(engine: Engine, conversation_id: str, kind: str, schema_version: int, payload: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO events (event_id, conversation_id, version, kind, schema_version, message_id, actor_id,"
                " occurred_at, recorded_at, payload) SELECT :id, conversation_id, version + 1, :kind, :schema, 'm',"
                " actor_id, 0, 0, :payload FROM events WHERE conversation_id = :of ORDER BY version DESC LIMIT 1"
            ),
            {
                "id": new_id(),
                "kind": kind,
                "schema": schema_version,
                "payload": payload,
                "of": conversation_id,
            },
        )


def test_events_of_refuses_and_names_event_of_newer_release(talk: StoredTalk) -> None:
    talk.ask("Hello", "Hi")
    by_hand(talk.store.engine, talk.conversation_id, "message_translated", 1, "{}")
    with pytest.raises(StoreCorrupt, match=r"Event .* cannot be read: .*newer than this release"):
        talk.store.events_of(talk.conversation_id)


def test_events_of_upcasts_old_event_and_keeps_stored_payload(
    talk: StoredTalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(UPCASTERS, ("turn_undone", 0), lambda payload: {"model": payload["name"]})
    talk.ask("Hello", "Hi")
    by_hand(talk.store.engine, talk.conversation_id, "turn_undone", 0, '{"name":"zephyr"}')
    assert talk.store.events_of(talk.conversation_id)[-1].body == TurnUndone(message_id="m", model="zephyr")
    with talk.store.engine.connect() as connection:
        assert connection.scalar(text("SELECT payload FROM events WHERE schema_version = 0")) == '{"name":"zephyr"}'


# Concurrency


@pytest.fixture
def neighbour(database_url: str) -> Iterator[EventStore]:
    """Another process on the same database, as far as the database can tell."""
    engine = open_engine(database_url)
    store = open_event_store(engine)
    yield store
    store.writer.close()
    engine.dispose()


def test_execute_loses_no_event_of_64_threads_on_one_conversation(
    store: EventStore, neighbour: EventStore, talk: StoredTalk, people: People
) -> None:
    reply = talk.ask("Hello", "Hi")
    start = threading.Barrier(64)
    futures: list[Future[Appended]] = []

    def rating(annotator_id: str, comment: str) -> Command:
        change = RatingChange(comment=comment)
        return Command(
            talk.conversation_id,
            annotator_id,
            lambda c: rate(c, change, message_id=reply, annotator_id=annotator_id, reasons=REASONS),
        )

    def rate_in_turns(number: int) -> None:
        start.wait()
        for turn in range(4):
            command = rating(people[number % 3], f"{number} {turn}")
            futures.append((store, neighbour)[turn % 2].execute(command))

    threads = [threading.Thread(target=rate_in_turns, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for future in futures:
        assert len(future.result().events) == 1
    events = store.events_of(talk.conversation_id)
    assert [event.version for event in events] == list(range(1, 4 + 64 * 4 + 1))
    comments = [getattr(event.body, "comment", None) for event in events[4:]]
    assert sorted(map(str, comments)) == sorted(f"{number} {turn}" for number in range(64) for turn in range(4))
    assert store.conversation(talk.conversation_id) == fold(talk.conversation_id, events)
    assert neighbour.conversation(talk.conversation_id) == store.conversation(talk.conversation_id)


def test_append_refuses_one_of_two_concurrent_starts_of_conversation(
    store: EventStore, neighbour: EventStore, people: People
) -> None:
    for _ in range(10):
        one, other = imported(people, ["One"]), imported(people, ["Other"])
        other = [replace(event, conversation_id=one[0].conversation_id) for event in other]
        futures = [store.append(one, expected_version=0), neighbour.append(other, expected_version=0)]
        errors = [future.exception() for future in futures]
        assert sorted(type(error).__name__ for error in errors) == ["NoneType", "VersionTaken"]
        assert stored(tuple(store.events_of(one[0].conversation_id))) == (one if errors[0] is None else other)


def test_conversation_shows_events_of_another_process_at_once(
    store: EventStore, neighbour: EventStore, people: People
) -> None:
    mine = StoredTalk(store, people.ada)
    reply = mine.ask("Hello", "Hi")
    theirs = StoredTalk(neighbour, people.bob, mine.conversation_id)
    theirs.rate(reply, people.bob, RatingChange(value="dislike"))
    assert mine.conversation.ratings[reply, people.bob].value == "dislike"
    mine.undo()
    assert theirs.shown() == []


def test_work_sees_its_own_transaction(store: EventStore) -> None:
    def count(tx: Transaction) -> int:
        tx.script("INSERT INTO annotators VALUES ('x', 'x', 0)")
        row = tx.one(text("SELECT count(*) FROM annotators WHERE name = 'x'"), {})
        assert row is not None
        return int(row[0])

    assert store.writer.submit(count).result() == 1

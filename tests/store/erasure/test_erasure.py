"""Erasure: rows that are removed, and rows that stay."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from sqlalchemy import select

from chatfeedback.domain.conversation.events import (
    AnnotatorRedacted,
    ConversationErased,
    ConversationStarted,
    MessageSent,
)
from chatfeedback.domain.events import Event
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.domain.types import new_id
from chatfeedback.errors import NotFound, StoreError
from chatfeedback.store.accounts import annotators
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.erasure import erasure
from chatfeedback.store.erasure.erasure import Erased
from chatfeedback.store.log.event_store import EventStore, now
from chatfeedback.store.maintenance import check, rebuild
from chatfeedback.store.schema import consents, events, identities, sessions, users
from conversation_builder import People, StoredTalk
from store.erasing import ids_of, kinds, rows, without

# A conversation


def test_erase_conversation_leaves_only_receipt_and_audit_entry(
    store: EventStore, people: People, talk_of_ada: StoredTalk, shared: StoredTalk, database_url: str
) -> None:
    before, its, count = rows(store.engine), ids_of(talk_of_ada), talk_of_ada.conversation.version
    assert erasure.extent_of_conversation(store.engine, talk_of_ada.conversation_id) == Erased(
        conversations=1, events=count
    )
    assert erasure.erase_conversation(store.engine, talk_of_ada.conversation_id, people.cyd) == Erased(1, count)
    after = rows(store.engine)
    assert without(after, *its) == without(before, *its) != before, "what others have is untouched"
    assert {name for name, of in after.items() if any(set(its) & set(row) for row in of)} == {"events", "audit"}
    (receipt,) = store.events_of(talk_of_ada.conversation_id)
    assert receipt.body == ConversationErased(events=count)
    assert (receipt.version, receipt.actor_id) == (count + 1, people.ada)
    assert (receipt.position or 0) > max(position for position, *_ in before["events"])
    ((_, _, action, actor_id, subject_id, detail),) = after["audit"]
    assert (action, actor_id, subject_id) == ("conversation_erased", people.cyd, talk_of_ada.conversation_id)
    assert json.loads(detail) == {"conversations": 1, "events": count, "redacted": 0}
    assert check(database_url) == []


def test_rebuild_after_erasure_gives_same_rows(
    store: EventStore, people: People, talk_of_ada: StoredTalk, shared: StoredTalk, database_url: str
) -> None:
    erasure.erase_conversation(store.engine, talk_of_ada.conversation_id, None)
    erasure.erase_annotator(store.engine, people.ada, None)
    after = rows(store.engine)
    done: list[tuple[int, int]] = []
    assert rebuild(database_url, lambda *progress: done.append(progress)) == len(after["events"])
    assert done[-1] == (len(after["events"]), len(after["events"]))
    assert rows(store.engine) == after


def test_commands_and_appends_are_refused_after_erasure(
    store: EventStore, people: People, talk_of_ada: StoredTalk, database_url: str
) -> None:
    reply = talk_of_ada.send("Go on")
    erasure.erase_conversation(store.engine, talk_of_ada.conversation_id, None)
    log = store.events_of(talk_of_ada.conversation_id)
    assert store.conversation(talk_of_ada.conversation_id) is None
    for attempt in (
        lambda: talk_of_ada.send("Hello again"),
        lambda: talk_of_ada.finish(reply),
        lambda: talk_of_ada.rate(reply, people.bob, RatingChange("like")),
        lambda: store.append([_first(talk_of_ada, people)], expected_version=0).result(),
        lambda: store.append([_first(talk_of_ada, people, version=log[0].version + 1)], log[0].version).result(),
    ):
        with pytest.raises(NotFound, match="There is no such conversation"):
            attempt()
    assert (
        store.writer.submit(lambda tx: reply_leases.save(tx, store.lease_owner, {reply: "Late"}, now())).result() == {}
    )
    assert store.events_of(talk_of_ada.conversation_id) == log
    assert check(database_url) == []


def _first(talk: StoredTalk, people: People, version: int = 1) -> Event:
    return Event(new_id(), talk.conversation_id, version, people.ada, now(), ConversationStarted())


def test_append_accepts_receipt_of_another_database(store: EventStore, people: People, database_url: str) -> None:
    receipt = Event(new_id(), new_id(), 8, people.ada, now(), ConversationErased(events=7))
    assert store.append([receipt], expected_version=0).result().conversation.erased
    assert store.conversation(receipt.conversation_id) is None
    assert check(database_url) == []
    assert erasure.erase_conversation(store.engine, receipt.conversation_id, None) == Erased()


def test_erase_changes_nothing_when_repeated(store: EventStore, people: People, talk_of_ada: StoredTalk) -> None:
    erasure.erase_conversation(store.engine, talk_of_ada.conversation_id, None)
    erasure.erase_annotator(store.engine, people.ada, None)
    before = rows(store.engine)
    assert not erasure.extent_of_conversation(store.engine, talk_of_ada.conversation_id)
    assert erasure.erase_conversation(store.engine, talk_of_ada.conversation_id, None) == Erased()
    assert erasure.erase_annotator(store.engine, people.ada, None) == Erased()
    assert rows(store.engine) == before


def test_erase_raises_not_found_for_unknown_id(store: EventStore, talk_of_ada: StoredTalk) -> None:
    before = rows(store.engine)
    for call in (erasure.extent_of_conversation, lambda *args: erasure.erase_conversation(*args, None)):
        with pytest.raises(NotFound, match="no such conversation"):
            call(store.engine, new_id())
    for call in (erasure.extent_of_annotator, lambda *args: erasure.erase_annotator(*args, None)):
        with pytest.raises(NotFound, match="no such annotator"):
            call(store.engine, new_id())
    assert rows(store.engine) == before


def test_name_of_erased_annotator_gets_new_id(store: EventStore, people: People) -> None:
    erasure.erase_annotator(store.engine, people.ada, None)
    assert annotators.find(store.engine, "ada") is None
    assert annotators.ensure(store.engine, "ada") != people.ada
    assert annotators.names(store.engine)[people.ada] == f"erased-{people.ada[-12:]}"


def test_erase_conversation_succeeds_when_event_cannot_be_read(
    store: EventStore, talk_of_ada: StoredTalk, database_url: str
) -> None:
    with store.engine.begin() as connection:
        latest = connection.execute(select(events).order_by(events.c.position.desc())).mappings().first()
        assert latest is not None
        broken = {name: value for name, value in latest.items() if name != "position"}
        broken |= {"version": latest["version"] + 1, "event_id": new_id(), "payload": "{", "kind": "message_rated"}
        connection.execute(events.insert(), broken)
    with pytest.raises(StoreError):
        store.events_of(talk_of_ada.conversation_id)
    erasure.erase_conversation(store.engine, talk_of_ada.conversation_id, None)
    assert kinds(store, talk_of_ada) == ["conversation_erased"]
    assert check(database_url) == []


# An annotator


def test_erase_annotator_redacts_their_texts_in_conversations_of_others(
    store: EventStore, people: People, talk_of_ada: StoredTalk, shared: StoredTalk, database_url: str
) -> None:
    before, count, was = rows(store.engine), talk_of_ada.conversation.version, shared.conversation
    log, touched = store.events_of(shared.conversation_id), (*ids_of(talk_of_ada), *ids_of(shared), people.ada)
    assert erasure.erase_annotator(store.engine, people.ada, people.ada) == Erased(1, count, redacted=4, account=1)
    assert kinds(store, talk_of_ada) == ["conversation_erased"]
    assert check(database_url) == []

    after = store.events_of(shared.conversation_id)
    assert [envelope(event) for event in log] == [envelope(event) for event in after[:-1]]
    assert [event for event in after if event.actor_id != people.ada] == [e for e in log if e.actor_id != people.ada]
    assert (after[-1].body, after[-1].actor_id) == (AnnotatorRedacted(events=4), people.ada)
    assert without(rows(store.engine), *touched) == without(before, *touched)

    left = shared.conversation
    assert (left.title, left.updated_at, left.version) == (was.title, was.updated_at, was.version + 1)
    assert shared.shown() == ["Who is there?", "A model", "", "", "Thanks", "Welcome"]
    values = {key: (rating.value, rating.reasons, rating.comment) for key, rating in left.ratings.items()}
    first = left.shown()[1].message_id
    assert values == {
        (first, people.ada): ("like", ("accurate",), None),
        (first, people.cyd): ("like", (), "I agree"),
    }
    shared.ask("It goes on", "It does")
    assert check(database_url) == []


def envelope(event: Event) -> tuple[Any, ...]:
    """Return all fields of an event but its body, and its kind."""
    return (*(getattr(event, field.name) for field in fields(Event) if field.name != "body"), event.body.KIND)


def test_erase_annotator_removes_their_text_from_title(store: EventStore, people: People, database_url: str) -> None:
    talk = StoredTalk(store, people.bob)
    start = ConversationStarted(), MessageSent(message_id=new_id(), parent_id=None, text="A secret")
    written = [
        Event(new_id(), talk.conversation_id, version, actor, now(), body)
        for version, (actor, body) in enumerate(zip((people.bob, people.ada), start, strict=True), 1)
    ]
    assert store.append(written, expected_version=0).result().conversation.title == "A secret"
    erasure.erase_annotator(store.engine, people.ada, None)
    assert (talk.conversation.title, talk.shown()) == ("…", [""])
    assert check(database_url) == []


def test_erase_annotator_does_not_disturb_running_reply(
    store: EventStore, people: People, shared: StoredTalk, database_url: str
) -> None:
    reply = shared.send("Are you still there?")
    store.writer.submit(lambda tx: reply_leases.save(tx, store.lease_owner, {reply: "I am"}, now())).result()
    erasure.erase_annotator(store.engine, people.ada, None)
    assert shared.conversation.writing_id == reply
    assert store.writer.submit(lambda tx: reply_leases.save(tx, store.lease_owner, {reply: "I am"}, now())).result()
    shared.finish(reply, "I am here")
    assert shared.shown()[-1] == "I am here"
    assert check(database_url) == []


def test_erase_annotator_removes_only_their_account_and_name(store: EventStore, people: People) -> None:
    with store.engine.begin() as connection:
        for annotator_id in (people.ada, people.bob):
            connection.execute(users.insert().values(annotator_id=annotator_id, role="annotator", created_at=1))
            connection.execute(
                identities.insert().values(issuer="i", subject=annotator_id, annotator_id=annotator_id, created_at=1)
            )
            session = {
                "session_id": new_id(),
                "token_hash": new_id(),
                "annotator_id": annotator_id,
                "method": "password",
            }
            connection.execute(sessions.insert().values(**session, created_at=1, seen_at=1, expires_at=2))
            for version in ("1", "2"):
                connection.execute(consents.insert().values(annotator_id=annotator_id, version=version, agreed_at=1))
    before = rows(store.engine)
    assert erasure.erase_annotator(store.engine, people.ada, None) == Erased(account=6)
    after = rows(store.engine, users, identities, sessions, consents)
    assert after == {name: of for name, of in without(before, people.ada).items() if name in after}
    assert all(after.values()), "Bob has what he had"

"""Erasing: what goes, what stays, and what it never leaves half done."""

from __future__ import annotations

import json
import threading
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, Table, select, text
from sqlalchemy.exc import DBAPIError

from chatfeedback.domain import decisions
from chatfeedback.domain.decisions import RatingChange
from chatfeedback.domain.events import (
    AnnotatorRedacted,
    ConversationErased,
    ConversationStarted,
    Event,
    MessageSent,
    new_id,
)
from chatfeedback.errors import InputError, NotFound, StoreCorrupt, StoreError
from chatfeedback.store import admin, annotators, drafts, erasure, guards
from chatfeedback.store.engine import open_engine
from chatfeedback.store.erasure import Erased
from chatfeedback.store.event_store import EventStore, now
from chatfeedback.store.schema import PROJECTIONS, consents, events, identities, metadata, sessions, users
from talking import People, StoredTalk

Rows = dict[str, list[tuple[Any, ...]]]


def rows(engine: Engine, *tables: Table) -> Rows:
    """All rows of these tables, or of all tables."""
    with engine.connect() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
            for table in tables or metadata.sorted_tables
        }


def without(everything: Rows, *ids: str) -> Rows:
    """The rows that do not name any of these."""
    return {name: [row for row in of if not set(ids) & set(row)] for name, of in everything.items()}


def ids_of(talk: StoredTalk) -> list[str]:
    return [talk.conversation_id, *talk.conversation.messages]


def kinds(store: EventStore, talk: StoredTalk) -> list[str]:
    return [event.body.KIND for event in store.events_of(talk.conversation_id)]


@pytest.fixture
def hers(store: EventStore, people: People) -> StoredTalk:
    """A conversation of Ada in which Bob has rated."""
    talk = StoredTalk(store, people.ada)
    reply = talk.retry(talk.ask("Hello", "Hi"))
    talk.finish(reply, "Good day")
    talk.rate(reply, people.ada, RatingChange("like", ("funny",)))
    talk.rate(reply, people.bob, RatingChange("dislike", ("wrong",), "Not at all"))
    return talk


@pytest.fixture
def shared(store: EventStore, people: People) -> StoredTalk:
    """A conversation of Bob in which Ada has written as well."""
    talk = StoredTalk(store, people.bob)
    first = talk.ask("Who is there?", "A model")
    talk.rate(first, people.ada, RatingChange("like", ("accurate",), "Well said"))
    talk.rate(first, people.ada, RatingChange(comment="Well said, almost"))
    talk.rate(first, people.cyd, RatingChange("like", comment="I agree"))
    talk.actor = people.ada
    talk.edit(talk.ask("And who are you?", "I am a model"), "I am the model")
    talk.actor = people.bob
    talk.ask("Thanks", "Welcome")
    return talk


# A conversation


def test_an_erased_conversation_leaves_a_receipt_and_nothing_else(
    store: EventStore, people: People, hers: StoredTalk, shared: StoredTalk, database_url: str
) -> None:
    before, its, count = rows(store.engine), ids_of(hers), hers.conversation.version
    assert erasure.extent_of_conversation(store.engine, hers.conversation_id) == Erased(conversations=1, events=count)
    assert erasure.erase_conversation(store.engine, hers.conversation_id, people.cyd) == Erased(1, count)
    after = rows(store.engine)
    assert without(after, *its) == without(before, *its) != before, "what others have is untouched"
    assert {name for name, of in after.items() if any(set(its) & set(row) for row in of)} == {"events", "audit"}
    (receipt,) = store.events_of(hers.conversation_id)
    assert receipt.body == ConversationErased(events=count)
    assert (receipt.version, receipt.actor_id) == (count + 1, people.ada)
    assert (receipt.position or 0) > max(position for position, *_ in before["events"])
    ((_, _, action, actor_id, subject_id, detail),) = after["audit"]
    assert (action, actor_id, subject_id) == ("conversation_erased", people.cyd, hers.conversation_id)
    assert json.loads(detail) == {"conversations": 1, "events": count, "redacted": 0}
    assert admin.check(database_url) == []


def test_a_rebuild_gives_the_same_rows(
    store: EventStore, people: People, hers: StoredTalk, shared: StoredTalk, database_url: str
) -> None:
    erasure.erase_conversation(store.engine, hers.conversation_id, None)
    erasure.erase_annotator(store.engine, people.ada, None)
    after = rows(store.engine)
    done: list[tuple[int, int]] = []
    assert admin.rebuild(database_url, lambda *seen: done.append(seen)) == len(after["events"])
    assert done[-1] == (len(after["events"]), len(after["events"]))
    assert rows(store.engine) == after


def test_nothing_comes_after_an_erasure(store: EventStore, people: People, hers: StoredTalk, database_url: str) -> None:
    reply = hers.send("Go on")
    erasure.erase_conversation(store.engine, hers.conversation_id, None)
    log = store.events_of(hers.conversation_id)
    assert store.conversation(hers.conversation_id) is None
    for attempt in (
        lambda: hers.send("Hello again"),
        lambda: hers.finish(reply),
        lambda: hers.rate(reply, people.bob, RatingChange("like")),
        lambda: store.append([_first(hers, people)], expected_version=0).result(),
        lambda: store.append([_first(hers, people, version=log[0].version + 1)], log[0].version).result(),
    ):
        with pytest.raises(NotFound, match="There is no such conversation"):
            attempt()
    assert store.writer.submit(lambda tx: drafts.save(tx, reply, store.owner, "Late", now())).result() is None
    assert store.events_of(hers.conversation_id) == log
    assert admin.check(database_url) == []


def _first(talk: StoredTalk, people: People, version: int = 1) -> Event:
    return Event(new_id(), talk.conversation_id, version, people.ada, now(), ConversationStarted())


def test_a_receipt_can_be_brought_to_another_database(store: EventStore, people: People, database_url: str) -> None:
    receipt = Event(new_id(), new_id(), 8, people.ada, now(), ConversationErased(events=7))
    assert store.append([receipt], expected_version=0).result().conversation.erased
    assert store.conversation(receipt.conversation_id) is None
    assert admin.check(database_url) == []
    assert erasure.erase_conversation(store.engine, receipt.conversation_id, None) == Erased()


def test_erasing_again_finds_nothing_and_says_nothing(store: EventStore, people: People, hers: StoredTalk) -> None:
    erasure.erase_conversation(store.engine, hers.conversation_id, None)
    erasure.erase_annotator(store.engine, people.ada, None)
    before = rows(store.engine)
    assert not erasure.extent_of_conversation(store.engine, hers.conversation_id)
    assert erasure.erase_conversation(store.engine, hers.conversation_id, None) == Erased()
    assert erasure.erase_annotator(store.engine, people.ada, None) == Erased()
    assert rows(store.engine) == before


def test_what_never_was_is_not_found(store: EventStore, hers: StoredTalk) -> None:
    before = rows(store.engine)
    for door in (erasure.extent_of_conversation, lambda *of: erasure.erase_conversation(*of, None)):
        with pytest.raises(NotFound, match="no such conversation"):
            door(store.engine, new_id())
    for door in (erasure.extent_of_annotator, lambda *of: erasure.erase_annotator(*of, None)):
        with pytest.raises(NotFound, match="no such annotator"):
            door(store.engine, new_id())
    assert rows(store.engine) == before


def test_the_same_name_is_somebody_else_afterwards(store: EventStore, people: People) -> None:
    erasure.erase_annotator(store.engine, people.ada, None)
    assert annotators.find(store.engine, "ada") is None
    assert annotators.ensure(store.engine, "ada") != people.ada
    assert annotators.names(store.engine)[people.ada] == f"erased-{people.ada[-12:]}"


# An annotator


def test_an_erased_annotator_leaves_the_conversations_of_others_without_her_words(
    store: EventStore, people: People, hers: StoredTalk, shared: StoredTalk, database_url: str
) -> None:
    before, count, was = rows(store.engine), hers.conversation.version, shared.conversation
    log, touched = store.events_of(shared.conversation_id), (*ids_of(hers), *ids_of(shared), people.ada)
    assert erasure.erase_annotator(store.engine, people.ada, people.ada) == Erased(1, count, redacted=4, account=1)
    assert kinds(store, hers) == ["conversation_erased"]
    assert admin.check(database_url) == []

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
    assert admin.check(database_url) == []


def envelope(event: Event) -> tuple[Any, ...]:
    """All of it but what it says."""
    return (*(getattr(event, field.name) for field in fields(Event) if field.name != "body"), event.body.KIND)


def test_the_title_does_not_keep_what_was_redacted(store: EventStore, people: People, database_url: str) -> None:
    talk = StoredTalk(store, people.bob)
    start = ConversationStarted(), MessageSent(message_id=new_id(), parent_id=None, text="A secret")
    written = [
        Event(new_id(), talk.conversation_id, version, actor, now(), body)
        for version, (actor, body) in enumerate(zip((people.bob, people.ada), start, strict=True), 1)
    ]
    assert store.append(written, expected_version=0).result().conversation.title == "A secret"
    erasure.erase_annotator(store.engine, people.ada, None)
    assert (talk.conversation.title, talk.shown()) == ("…", [""])
    assert admin.check(database_url) == []


def test_redaction_waits_for_nobody_and_a_running_reply_goes_on(
    store: EventStore, people: People, shared: StoredTalk, database_url: str
) -> None:
    reply = shared.send("Are you still there?")
    store.writer.submit(lambda tx: drafts.save(tx, reply, store.owner, "I am", now())).result()
    erasure.erase_annotator(store.engine, people.ada, None)
    assert shared.conversation.writing_id == reply
    assert store.writer.submit(lambda tx: drafts.save(tx, reply, store.owner, "I am", now())).result() is not None
    shared.finish(reply, "I am here")
    assert shared.shown()[-1] == "I am here"
    assert admin.check(database_url) == []


def test_account_and_name_go_with_an_annotator_and_nobody_elses(store: EventStore, people: People) -> None:
    with store.engine.begin() as connection:
        for who in (people.ada, people.bob):
            connection.execute(users.insert().values(annotator_id=who, role="annotator", created_at=1))
            connection.execute(identities.insert().values(issuer="i", subject=who, annotator_id=who, created_at=1))
            session = {"session_id": new_id(), "token_hash": new_id(), "annotator_id": who, "method": "password"}
            connection.execute(sessions.insert().values(**session, created_at=1, seen_at=1, expires_at=2))
            for version in ("1", "2"):
                connection.execute(consents.insert().values(annotator_id=who, version=version, agreed_at=1))
    before = rows(store.engine)
    assert erasure.erase_annotator(store.engine, people.ada, None) == Erased(account=6)
    after = rows(store.engine, users, identities, sessions, consents)
    assert after == {name: of for name, of in without(before, people.ada).items() if name in after}
    assert all(after.values()), "Bob has what he had"


# Never half done


class Crashed(Exception):
    pass


@pytest.mark.parametrize(
    "step", ["delete_projections", "_leave_receipts", "rebuild_conversations", "_forget", "_record"]
)
def test_a_crash_on_the_way_leaves_everything_as_it_was(
    store: EventStore,
    people: People,
    hers: StoredTalk,
    shared: StoredTalk,
    database_url: str,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = rows(store.engine)
    really = getattr(erasure, step)

    def crash(*arguments: Any) -> None:
        really(*arguments)
        raise Crashed

    with monkeypatch.context() as patched, pytest.raises(Crashed):
        patched.setattr(erasure, step, crash)
        erasure.erase_annotator(store.engine, people.ada, None)
    assert rows(store.engine) == before
    assert admin.check(database_url) == []
    _must_refuse(store.engine)
    assert erasure.erase_annotator(store.engine, people.ada, None).conversations == 1


def _must_refuse(engine: Engine) -> None:
    """The guards refuse, whatever it is."""
    for statement in ("DELETE FROM events", "UPDATE events SET payload = '{}'"):
        with pytest.raises(DBAPIError, match="never changed or deleted"), engine.begin() as connection:
            connection.exec_driver_sql(statement)


def test_the_log_refuses_changes_again_after_an_erasure(
    store: EventStore, people: People, hers: StoredTalk, shared: StoredTalk
) -> None:
    erasure.erase_conversation(store.engine, hers.conversation_id, None)
    _must_refuse(store.engine)
    erasure.erase_annotator(store.engine, people.ada, None)
    _must_refuse(store.engine)
    hers = StoredTalk(store, people.ada)
    hers.ask("Hello", "Hi")
    assert hers.conversation.version == 4


def test_a_log_that_has_lost_a_guard_is_not_erased_from(store: EventStore, hers: StoredTalk) -> None:
    sqlite = store.engine.dialect.name == "sqlite"
    name = "events_refuse_delete" if sqlite else "events_refuse_change"
    with store.engine.begin() as connection:
        connection.execute(text(f"DROP TRIGGER {name}" + ("" if sqlite else " ON events")))
    before = rows(store.engine)
    with pytest.raises(StoreCorrupt, match=f"The trigger {name} on the table events is missing"):
        erasure.erase_conversation(store.engine, hers.conversation_id, None)
    assert rows(store.engine) == before


def test_guards_that_do_not_come_back_undo_the_erasure(
    store: EventStore, hers: StoredTalk, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, looks = rows(store.engine), iter([[], ["A guard is missing."]])
    monkeypatch.setattr(guards, "problems", lambda _connection: next(looks))
    with pytest.raises(StoreCorrupt, match=r"A guard is missing\."):
        erasure.erase_conversation(store.engine, hers.conversation_id, None)
    monkeypatch.undo()
    assert rows(store.engine) == before
    assert admin.check(database_url) == []


# While others are there


def test_people_go_on_writing_while_conversations_are_erased(
    store: EventStore, people: People, database_url: str
) -> None:
    """Some of them in what is being erased: they are told that it is gone, and nothing waits for ever."""
    talks = [StoredTalk(store, people.ada) for _ in range(4)]
    for talk in talks:
        talk.ask("Hello", "Hi")
    bystander = StoredTalk(store, people.bob)
    over, bugs, gone = threading.Event(), [], []

    def write(talk: StoredTalk) -> None:
        while not over.is_set():
            try:
                talk.rate(talk.ask("More", "Yes"), people.bob, RatingChange("like", comment="Good"))
            except NotFound:
                gone.append(talk.conversation_id)
                return
            except Exception as bug:  # noqa: BLE001 - whatever it is, the test shall show it
                bugs.append(bug)
                return

    threads = [threading.Thread(target=write, args=(talk,)) for talk in [*talks, bystander]]
    for thread in threads:
        thread.start()
    elsewhere = open_engine(database_url)
    try:
        erasure.erase_conversation(elsewhere, talks[0].conversation_id, None)
        erasure.erase_annotator(elsewhere, people.ada, None)
    finally:
        elsewhere.dispose()
        over.set()
        for thread in threads:
            thread.join()
    assert bugs == []
    assert sorted(gone) == sorted(talk.conversation_id for talk in talks)
    assert bystander.conversation.version > 1
    assert admin.check(database_url) == []


# At random

steps = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from(["ask", "edit", "retry", "rate", "undo", "clear"])),
    min_size=1,
    max_size=10,
)


def do(talk: StoredTalk, who: str, what: str, words: str) -> None:
    talk.actor = who
    shown = [message.message_id for message in talk.conversation.shown()]
    if what == "ask" or not shown:
        talk.ask(words, "An answer")
    elif what == "edit":
        talk.edit(shown[-1], words)
        if (writing := talk.conversation.writing_id) is not None:
            talk.finish(writing)
    elif what == "retry":
        talk.finish(talk.retry(shown[-1]))
    elif what == "rate":
        talk.rate(shown[-1], who, RatingChange("like", ("funny",), words))
    elif what == "undo":
        talk.undo()
    else:
        talk.do(decisions.clear)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(taken=steps, all_of_her=st.booleans())
def test_whatever_two_people_wrote_an_erasure_takes_hers_and_leaves_the_rest(
    store: EventStore, database_url: str, taken: list[tuple[int, int, str]], all_of_her: bool
) -> None:
    ada, bob = (annotators.ensure(store.engine, f"{name} {new_id()}") for name in ("ada", "bob"))
    talks = [StoredTalk(store, owner) for owner in (ada, bob, bob)]
    for talk in talks:
        talk.ask(f"Hello from {talk.actor}", "Hi")
    for number, (which, who, what) in enumerate(taken):
        try:
            do(talks[which], (ada, bob)[who], what, f"words {number} of {(ada, bob)[who]}")
        except InputError:
            continue
    before, its = rows(store.engine), ids_of(talks[0])
    logs = [store.events_of(talk.conversation_id) for talk in talks]
    if all_of_her:
        erased = erasure.erase_annotator(store.engine, ada, None)
    else:
        erased = erasure.erase_conversation(store.engine, talks[0].conversation_id, None)
    assert (erased.conversations, erased.events) == (1, len(logs[0]))
    assert kinds(store, talks[0]) == ["conversation_erased"]
    after = rows(store.engine)
    for talk, log in zip(talks[1:], logs[1:], strict=True):
        now_there = store.events_of(talk.conversation_id)
        assert [e.event_id for e in log] == [e.event_id for e in now_there[: len(log)]]
        assert [e for e in now_there[: len(log)] if e.actor_id != ada] == [e for e in log if e.actor_id != ada]
        if not all_of_her:
            assert now_there == log
    if not all_of_her:
        assert without(after, *its) == without(before, *its)
    else:
        assert f"of {ada}" not in repr(after)
        assert f"from {ada}" not in repr(after)
    assert admin.check(database_url) == []
    admin.rebuild(database_url, lambda done, total: None)
    assert rows(store.engine, *PROJECTIONS) == {table.name: after[table.name] for table in PROJECTIONS}
    _must_refuse(store.engine)


def test_an_event_that_cannot_be_read_is_no_reason_to_keep_its_conversation(
    store: EventStore, hers: StoredTalk, database_url: str
) -> None:
    with store.engine.begin() as connection:
        latest = connection.execute(select(events).order_by(events.c.position.desc())).mappings().first()
        assert latest is not None
        broken = {name: value for name, value in latest.items() if name != "position"}
        broken |= {"version": latest["version"] + 1, "event_id": new_id(), "payload": "{", "kind": "message_rated"}
        connection.execute(events.insert(), broken)
    with pytest.raises(StoreError):
        store.events_of(hers.conversation_id)
    erasure.erase_conversation(store.engine, hers.conversation_id, None)
    assert kinds(store, hers) == ["conversation_erased"]
    assert admin.check(database_url) == []

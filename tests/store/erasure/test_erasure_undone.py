"""Erasing is never left half done, whatever happens on the way or beside it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import text

from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.errors import NotFound, StoreCorrupt
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.erasure import erasure
from chatfeedback.store.log import append_only
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.maintenance import check
from conversation_builder import People, StoredTalk
from store.erasing import must_refuse, rows


class Crashed(Exception):
    pass


@pytest.mark.parametrize(
    "step", ["delete_projections", "_append_receipts", "rebuild_conversations", "_delete_account", "_record"]
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
    assert check(database_url) == []
    must_refuse(store.engine)
    assert erasure.erase_annotator(store.engine, people.ada, None).conversations == 1


def test_the_log_refuses_changes_again_after_an_erasure(
    store: EventStore, people: People, hers: StoredTalk, shared: StoredTalk
) -> None:
    erasure.erase_conversation(store.engine, hers.conversation_id, None)
    must_refuse(store.engine)
    erasure.erase_annotator(store.engine, people.ada, None)
    must_refuse(store.engine)
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
    monkeypatch.setattr(append_only, "problems", lambda _connection: next(looks))
    with pytest.raises(StoreCorrupt, match=r"A guard is missing\."):
        erasure.erase_conversation(store.engine, hers.conversation_id, None)
    monkeypatch.undo()
    assert rows(store.engine) == before
    assert check(database_url) == []


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
    assert check(database_url) == []

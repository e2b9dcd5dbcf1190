"""Erasure is atomic, despite crashes, missing guards and concurrent writers."""

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
from store.erasing import assert_guarded, rows


class Crashed(Exception):
    pass


@pytest.mark.parametrize(
    "step", ["delete_projections", "_append_receipts", "rebuild_conversations", "_delete_account", "_record"]
)
def test_erase_changes_nothing_when_it_crashes(
    store: EventStore,
    people: People,
    talk_of_ada: StoredTalk,
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
    assert_guarded(store.engine)
    assert erasure.erase_annotator(store.engine, people.ada, None).conversations == 1


def test_log_refuses_changes_again_after_erasure(
    store: EventStore, people: People, talk_of_ada: StoredTalk, shared: StoredTalk
) -> None:
    erasure.erase_conversation(store.engine, talk_of_ada.conversation_id, None)
    assert_guarded(store.engine)
    erasure.erase_annotator(store.engine, people.ada, None)
    assert_guarded(store.engine)
    talk_of_ada = StoredTalk(store, people.ada)
    talk_of_ada.ask("Hello", "Hi")
    assert talk_of_ada.conversation.version == 4


def test_erase_is_refused_when_guard_of_log_is_missing(store: EventStore, talk_of_ada: StoredTalk) -> None:
    sqlite = store.engine.dialect.name == "sqlite"
    name = "events_refuse_delete" if sqlite else "events_refuse_change"
    with store.engine.begin() as connection:
        connection.execute(text(f"DROP TRIGGER {name}" + ("" if sqlite else " ON events")))
    before = rows(store.engine)
    with pytest.raises(StoreCorrupt, match=f"The trigger {name} on the table events is missing"):
        erasure.erase_conversation(store.engine, talk_of_ada.conversation_id, None)
    assert rows(store.engine) == before


def test_erase_is_undone_when_guards_are_not_restored(
    store: EventStore, talk_of_ada: StoredTalk, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, looks = rows(store.engine), iter([[], ["A guard is missing."]])
    monkeypatch.setattr(append_only, "problems", lambda _connection: next(looks))
    with pytest.raises(StoreCorrupt, match=r"A guard is missing\."):
        erasure.erase_conversation(store.engine, talk_of_ada.conversation_id, None)
    monkeypatch.undo()
    assert rows(store.engine) == before
    assert check(database_url) == []


# Concurrent writers


def test_writers_continue_or_raise_not_found_while_conversations_are_erased(
    store: EventStore, people: People, database_url: str
) -> None:
    """Writers in an erased conversation get `NotFound`, and no thread blocks."""
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
            except Exception as bug:  # noqa: BLE001 - the test reports any error
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

"""Exports after an erasure: erased data is in none, receipts are, and everything else is unchanged."""

from __future__ import annotations

from sqlalchemy import Engine

from chatfeedback.export.registry import DATASETS
from chatfeedback.store.accounts import pseudonyms
from chatfeedback.store.erasure import erasure
from chatfeedback.store.log.event_store import EventStore
from conversation_builder import People
from export.recording import Read, Rows, TimedTalk, gather


def test_export_has_only_receipt_of_erased_conversation(
    engine: Engine, store: EventStore, people: People, read: Read
) -> None:
    gather(store, people)
    before: dict[str, Rows] = {kind: read(kind) for kind in DATASETS}
    gone = before["events"][0]["conversation_id"]
    count = sum(row["conversation_id"] == gone for row in before["events"])
    erasure.erase_conversation(engine, gone, None)
    after = {kind: read(kind) for kind in DATASETS}
    *others, receipt = after["events"]
    assert {**after, "events": others} == {
        kind: [row for row in rows if row["conversation_id"] != gone] for kind, rows in before.items()
    }
    assert (receipt["conversation_id"], receipt["version"], receipt["kind"]) == (gone, count + 1, "conversation_erased")
    assert receipt["payload"] == {"events": count}
    assert receipt["message_id"] is receipt["model"] is receipt["rating"] is None


def test_export_keeps_only_thumbs_and_codes_of_erased_annotator(
    engine: Engine, store: EventStore, people: People, read: Read
) -> None:
    gather(store, people)
    talk = TimedTalk(store, people.ada)
    reply = talk.ask("Hello", "Hi")
    talk.comment(reply, people.bob, "to be erased")
    before = {kind: read(kind) for kind in DATASETS}
    pseudonym = pseudonyms.pseudonyms(engine)(people.bob)
    own_conversations = {row["conversation_id"] for row in before["messages"] if row["annotator_id"] == pseudonym}
    assert own_conversations
    erasure.erase_annotator(engine, people.bob, None)
    kept = {
        kind: [row for row in before[kind] if row["conversation_id"] not in own_conversations]
        for kind in ("messages", "feedback")
    }
    assert read("messages") == kept["messages"], "she wrote no message elsewhere"
    assert read("feedback") == [row for row in kept["feedback"] if row["comment"] != "to be erased"]
    assert read("feedback", annotator=people.bob) != []
    receipts = [row for row in read("events") if row["kind"] in ("conversation_erased", "annotator_redacted")]
    assert {row["conversation_id"] for row in receipts} == {*own_conversations, talk.conversation_id}
    assert read("events", annotator=f"erased-{people.bob[-12:]}") == read("events", annotator=people.bob) != []

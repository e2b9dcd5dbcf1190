"""What was erased is in no export any more; the receipts are, and everything else is as it was."""

from __future__ import annotations

from sqlalchemy import Engine

from chatfeedback.export.registry import DATASETS
from chatfeedback.store.accounts import pseudonyms
from chatfeedback.store.erasure import erasure
from chatfeedback.store.log.event_store import EventStore
from conversation_builder import People
from export.recording import Read, Rows, TimedTalk, gather


def test_an_erased_conversation_is_a_receipt_among_the_events_and_nowhere_else(
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


def test_an_erased_annotator_is_left_as_thumbs_and_codes_on_the_replies_of_others(
    engine: Engine, store: EventStore, people: People, read: Read
) -> None:
    gather(store, people)
    talk = TimedTalk(store, people.ada)
    reply = talk.ask("Hello", "Hi")
    talk.comment(reply, people.bob, "to be erased")
    before = {kind: read(kind) for kind in DATASETS}
    her = pseudonyms.pseudonyms(engine)(people.bob)
    hers = {row["conversation_id"] for row in before["messages"] if row["annotator_id"] == her}
    assert hers
    erasure.erase_annotator(engine, people.bob, None)
    kept = {
        kind: [row for row in before[kind] if row["conversation_id"] not in hers] for kind in ("messages", "feedback")
    }
    assert read("messages") == kept["messages"], "she wrote no message elsewhere"
    assert read("feedback") == [row for row in kept["feedback"] if row["comment"] != "to be erased"]
    assert read("feedback", annotator=people.bob) != []
    receipts = [row for row in read("events") if row["kind"] in ("conversation_erased", "annotator_redacted")]
    assert {row["conversation_id"] for row in receipts} == {*hers, talk.conversation_id}
    assert read("events", annotator=f"erased-{people.bob[-12:]}") == read("events", annotator=people.bob) != []

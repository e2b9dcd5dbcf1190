"""Content of the three exports."""

from __future__ import annotations

import orjson
from sqlalchemy import Engine, select

from chatfeedback.export.registry import FORMATS
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.schema import events
from conversation_builder import People
from export.recording import Export, Read, TimedTalk, at, gather

# Events


def test_events_export_equals_log(engine: Engine, talk: TimedTalk, people: People, called: People, read: Read) -> None:
    reply = talk.ask("Hello", "Hi")
    talk.like(reply, people.bob, "funny")
    with engine.connect() as connection:
        stored = connection.execute(select(events).order_by(events.c.position)).mappings().all()
    exported = read("events")
    assert len(exported) == len(stored) == 5
    for row, was in zip(exported, stored, strict=True):
        assert list(row) == list(events.c.keys())
        assert orjson.dumps(row["payload"]).decode() == was["payload"]
        different = {name for name in row if row[name] != was[name]}
        assert different == {"actor_id", "occurred_at", "recorded_at", "payload"}
    assert [row["kind"] for row in exported] == [
        *("conversation_started", "message_sent", "reply_started", "reply_finished", "message_rated")
    ]
    assert [row["occurred_at"] for row in exported] == [at(0), at(0), at(0), at(1), at(2)]
    assert [row["actor_id"] for row in exported] == [called.ada] * 4 + [called.bob]
    assert (exported[4]["model"], exported[4]["rating"], exported[4]["message_id"]) == ("small", "like", reply)


def test_events_export_has_stored_payload_in_csv(engine: Engine, talk: TimedTalk, export: Export) -> None:
    talk.ask('He said "Hello,\nworld"', "Hi")
    with engine.connect() as connection:
        (payload,) = connection.scalars(select(events.c.payload).where(events.c.kind == "message_sent")).all()
    assert f'"{payload.replace(chr(34), chr(34) * 2)}"\n'.encode() in export("events")


# Messages


def test_messages_export_has_every_version_and_replacement(talk: TimedTalk, read: Read, called: People) -> None:
    first = talk.ask("Tell me a joke", "No.")
    second = talk.again(first, "Knock, knock.")
    prompt = talk.conversation.messages[first].parent_id
    assert prompt is not None
    corrected, _ = talk.edit(second, "Knock, knock!")
    other_prompt, other_reply = talk.edit(prompt, "Tell me two jokes")
    talk.finish(other_reply, "One, two.")
    rows = {row["message_id"]: row for row in read("messages")}
    assert list(rows) == [prompt, first, second, corrected, other_prompt, other_reply]
    tree = {key: (row["role"], row["parent_id"], row["replaces_id"], row["shown"]) for key, row in rows.items()}
    assert tree == {
        prompt: ("user", None, None, False),
        first: ("assistant", prompt, None, False),
        second: ("assistant", prompt, first, False),
        corrected: ("assistant", prompt, second, False),
        other_prompt: ("user", None, prompt, True),
        other_reply: ("assistant", other_prompt, None, True),
    }
    assert [row["author_id"] for row in rows.values()] == [called.ada, None, None, called.ada, called.ada, None]
    assert [row["version"] for row in rows.values()] == sorted(row["version"] for row in rows.values())


def test_messages_export_has_generation_and_outcome_of_reply(talk: TimedTalk, read: Read, called: People) -> None:
    reply = talk.ask("Hello", "Hi there")
    prompt, row = read("messages")
    events_by_kind = {event["kind"]: event for event in read("events")}
    assert row == {
        "conversation_id": talk.conversation_id,
        "message_id": reply,
        "version": 3,
        "annotator_id": called.ada,
        "parent_id": prompt["message_id"],
        "replaces_id": None,
        "shown": True,
        "role": "assistant",
        "author_id": None,
        "text": "Hi there",
        "altered": False,
        "status": "complete",
        "created_at": at(0),
        "created_event_id": events_by_kind["reply_started"]["event_id"],
        "model": "small",
        "endpoint": "https://models.example/v1",
        "provider": None,
        "temperature": 0.95,
        "top_p": 0.9,
        "max_tokens": 512,
        "seed": 7,
        "system_prompt": "You are a friendly chatbot",
        "sent_ids": [prompt["message_id"]],
        "finished_at": at(1),
        "finished_event_id": events_by_kind["reply_finished"]["event_id"],
        "finish_reason": "stop",
        "error": None,
        "time_to_first_token": 0.1 + 0.2,
        "duration": 1.7,
        "prompt_tokens": None,
        "completion_tokens": 2,
        "consent_version": None,
        "model_id": "org/small-7b",
        "sent_temperature": 0.95,
        "sent_top_p": 0.9,
        "sent_max_tokens": 512,
        "sent_seed": None,
        "reported_model": "zephyr-7b-0613",
        "system_fingerprint": "fp_44709d6fcb",
        "reported_provider": "together",
        "weights_sha256": None,
        "study": None,
        "condition": None,
        "external_id": None,
    }


def test_messages_export_has_running_reply_without_text(talk: TimedTalk, read: Read) -> None:
    talk.send("Hello")
    _, row = read("messages")
    assert (row["status"], row["text"], row["finished_at"], row["duration"]) == ("writing", "", None, None)


def test_messages_export_is_ordered_by_conversation_and_creation(store: EventStore, people: People, read: Read) -> None:
    talks = [TimedTalk(store, actor) for actor in people]
    for number in range(3):
        for talk in talks:
            talk.ask(f"Question {number}", "Answer")
    rows = read("messages")
    assert [row["conversation_id"] for row in rows] == [talk.conversation_id for talk in talks for _ in range(6)]
    assert [row["text"] for row in rows[:6:2]] == ["Question 0", "Question 1", "Question 2"]


# All of them


def test_feedback_export_refers_to_events_of_events_export(store: EventStore, people: People, read: Read) -> None:
    gather(store, people)
    log = {row["event_id"]: row for row in read("events")}
    rows = read("feedback")
    assert len(rows) == 3 * 3 * 3 - 3  # where Cyd talks, their like and their comment are one row
    for row in rows:
        clicks = [log[event_id] for event_id in row["event_ids"]]
        assert {(click["message_id"], click["actor_id"]) for click in clicks} == {
            (row["message_id"], row["annotator_id"])
        }
        assert row["event_id"] == clicks[-1]["event_id"]
        assert clicks[-1]["payload"]["value"] == row["value"]
        assert clicks[-1]["payload"]["reasons"] == row["reasons"]
    for row in read("messages"):
        assert log[row["created_event_id"]]["message_id"] == row["message_id"]


def test_export_of_same_state_has_same_bytes(store: EventStore, people: People, export: Export) -> None:
    gather(store, people)
    for kind in ("events", "messages", "feedback"):
        for format in FORMATS:
            assert export(kind, format) == export(kind, format) != b""


def test_export_of_empty_database_has_only_header(export: Export) -> None:
    for kind in ("events", "messages", "feedback"):
        assert export(kind, "jsonl") == b""
        assert export(kind, "csv").count(b"\n") == export(kind, "spreadsheet").count(b"\n") == 1


def test_feedback_export_keeps_awkward_texts(talk: TimedTalk, read: Read, people: People) -> None:
    hard = [
        '"',
        "a,b",
        "x\r\ny\rz\n",
        "\ufffd",
        "👩‍👩‍👧 \u2028 שלום",
        "  x  ",
        "NA",
        "null",
        '""',
        "=1+1",
        "'; --",
        "\\N",
    ]
    for text in hard:
        talk.comment(talk.ask(text, text), people.bob, text)
    rows = read("feedback")
    assert [row["prompt"] for row in rows] == hard
    assert [row["reply"] for row in rows] == hard
    assert [row["comment"] for row in rows] == hard
    assert [row["thread"][-1]["content"] for row in rows] == hard


def test_messages_export_marks_text_with_replaced_characters(talk: TimedTalk, read: Read) -> None:
    talk.ask("nothing \0 and half \ud83d of a smile", "Hm")
    prompt, reply = read("messages")
    assert (prompt["text"], prompt["altered"]) == ("nothing \ufffd and half \ufffd of a smile", True)
    assert (reply["text"], reply["altered"]) == ("Hm", False)

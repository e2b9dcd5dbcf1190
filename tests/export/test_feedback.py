"""The export of feedback: each rating as it stands, with the reply that was rated."""

from __future__ import annotations

import pytest

from chatfeedback.domain.types import FinalStatus
from chatfeedback.store.log.event_store import EventStore
from conversation_builder import People
from export.recording import Read, TimedTalk, at


def test_feedback_row_has_rating_and_rated_reply(talk: TimedTalk, read: Read, people: People, called: People) -> None:
    talk.ask("Hello", "Hi")
    reply = talk.ask("Who are you?", "A chatbot")
    clicks = [
        talk.dislike(reply, people.bob, "wrong"),
        talk.like(reply, people.bob, "funny", "accurate"),
        talk.comment(reply, people.bob, "made me laugh"),
    ]
    (row,) = read("feedback")
    assert row == {
        "conversation_id": talk.conversation_id,
        "message_id": reply,
        "annotator_id": called.bob,
        "model": "small",
        "author_id": None,
        "system_prompt": "You are a friendly chatbot",
        "thread": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi"},
            {"role": "user", "content": "Who are you?"},
        ],
        "prompt": "Who are you?",
        "reply": "A chatbot",
        "status": "complete",
        "shown": True,
        "value": "like",
        "reasons": ["accurate", "funny"],
        "comment": "made me laugh",
        "rated_at": at(6),
        "first_rated_at": at(4),
        "event_id": clicks[-1],
        "event_ids": clicks,
        "consent_version": None,
        "model_id": "org/small-7b",
        "reported_model": "zephyr-7b-0613",
        "system_fingerprint": "fp_44709d6fcb",
        "reported_provider": "together",
        "weights_sha256": None,
        "study": None,
        "condition": None,
        "external_id": None,
    }


@pytest.mark.parametrize("status", ["failed", "stopped", "left", "interrupted"])
def test_feedback_keeps_rating_when_its_reply_ends_without_text(
    talk: TimedTalk, read: Read, people: People, status: FinalStatus
) -> None:
    reply = talk.send("Hello")
    talk.like(reply, people.ada, "accurate")
    talk.comment(reply, people.ada, "It begins well")
    talk.finish(reply, "", status)
    (row,) = read("feedback")
    assert (row["message_id"], row["reply"], row["status"]) == (reply, "", status)
    assert (row["value"], row["reasons"], row["comment"]) == ("like", ["accurate"], "It begins well")
    assert len(row["event_ids"]) == 2


def test_feedback_has_one_row_per_reply_and_annotator(
    talk: TimedTalk, read: Read, people: People, called: People
) -> None:
    first, second = talk.ask("One", "1"), talk.ask("Two", "2")
    for annotator_id in (people.cyd, people.ada, people.bob):
        talk.like(second, annotator_id)
        talk.dislike(first, annotator_id)
    rows = read("feedback")
    assert [(row["message_id"], row["annotator_id"]) for row in rows] == [
        (reply, annotator_id)
        for reply in (first, second)
        for annotator_id in called  # in the order of their ids
    ]
    assert [row["value"] for row in rows] == ["dislike"] * 3 + ["like"] * 3
    assert len({row["event_id"] for row in rows}) == 6
    assert all(row["event_ids"] == [row["event_id"]] for row in rows)


def test_feedback_keeps_rating_of_reply_that_is_no_longer_shown(talk: TimedTalk, read: Read, people: People) -> None:
    old = talk.ask("Tell me a joke", "No.")
    talk.dislike(old, people.ada, "wrong")
    new = talk.again(old, "Knock, knock.")
    talk.like(new, people.ada)
    talk.undo()
    rows = read("feedback")
    assert [(row["reply"], row["value"], row["shown"]) for row in rows] == [
        ("No.", "dislike", False),
        ("Knock, knock.", "like", False),
    ]
    assert rows[0]["thread"] == rows[1]["thread"] == [{"role": "user", "content": "Tell me a joke"}]


def test_feedback_thread_is_branch_of_its_reply(talk: TimedTalk, read: Read, people: People) -> None:
    first = talk.ask("Hello", "Hi")
    lost = talk.ask("Go on", "No")
    corrected, _ = talk.edit(first, "Hi, Ada")
    on_branch = talk.ask("Go on, please", "Gladly")
    for reply in (lost, corrected, on_branch):
        talk.like(reply, people.bob)
    threads = {row["reply"]: [message["content"] for message in row["thread"]] for row in read("feedback")}
    assert threads == {
        "No": ["Hello", "Hi", "Go on"],
        "Hi, Ada": ["Hello"],
        "Gladly": ["Hello", "Hi, Ada", "Go on, please"],
    }


def test_feedback_on_human_text_has_author_and_no_model(
    talk: TimedTalk, read: Read, people: People, called: People
) -> None:
    corrected, _ = talk.edit(talk.ask("Hello", "Hi"), "Good morning")
    talk.like(corrected, people.bob)
    (row,) = read("feedback")
    assert (row["model"], row["author_id"], row["system_prompt"]) == (None, called.ada, None)


def test_feedback_thread_leaves_out_failed_reply_without_text(talk: TimedTalk, read: Read, people: People) -> None:
    talk.ask("Hello?", "", "failed")
    talk.like(talk.ask("Hello!", "Hi"), people.ada)
    (row,) = read("feedback")
    assert [message["content"] for message in row["thread"]] == ["Hello?", "Hello!"]


def test_feedback_omits_cleared_rating_and_lists_its_events_with_new_one(
    talk: TimedTalk, read: Read, people: People
) -> None:
    reply = talk.ask("Hello", "Hi")
    clicks = [talk.like(reply, people.ada, "funny"), talk.unrate(reply, people.ada)]
    assert read("feedback") == []
    clicks.append(talk.dislike(reply, people.ada))
    (row,) = read("feedback")
    assert (row["value"], row["reasons"], row["event_ids"]) == ("dislike", [], clicks)
    assert row["first_rated_at"] == row["rated_at"] == at(4)


def test_feedback_has_comment_without_thumb(talk: TimedTalk, read: Read, people: People) -> None:
    reply, other = talk.ask("Hello", "Hi"), talk.ask("And?", "Well")
    talk.comment(reply, people.cyd, "hm")
    talk.like(other, people.cyd)
    talk.comment(other, people.cyd, "good")
    talk.unrate(other, people.cyd)
    assert [(row["value"], row["reasons"], row["comment"]) for row in read("feedback")] == [
        (None, [], "hm"),
        (None, [], "good"),
    ]


def test_feedback_of_many_conversations_keeps_threads_and_reasons_apart(
    store: EventStore, people: People, called: People, read: Read
) -> None:
    # More than are read at once, some without reasons, some without any feedback.
    for number in range(230):
        talk = TimedTalk(store, people.ada)
        reply = talk.ask(f"Question {number}", f"Answer {number}")
        if number % 5:
            talk.like(reply, people[number % 3], *(["funny"] if number % 2 else []))
    rows = read("feedback")
    expected = [number for number in range(230) if number % 5]
    assert [row["reply"] for row in rows] == [f"Answer {number}" for number in expected]
    assert [row["prompt"] for row in rows] == [f"Question {number}" for number in expected]
    assert [row["reasons"] for row in rows] == [["funny"] if number % 2 else [] for number in expected]
    assert [row["annotator_id"] for row in rows] == [called[number % 3] for number in expected]


def test_messages_and_feedback_have_consent_version_of_conversation_start(
    store: EventStore, people: People, read: Read
) -> None:
    versions = ("2026-05", None, "2026-11")
    for version in versions:
        talk = TimedTalk(store, people.ada)
        talk.like(talk.ask("Hello", "Hi", consent_version=version), people.bob)
        talk.dislike(talk.ask("And now?", "Still", consent_version="later"), people.ada)
    for kind in ("messages", "feedback"):
        rows = read(kind)
        assert [row["consent_version"] for row in rows] == [
            version for version in versions for _ in range(len(rows) // 3)
        ]

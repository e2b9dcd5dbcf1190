"""Redaction: the texts of an annotator leave the stored form of their events, and nothing else changes."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chatfeedback.domain.conversation.events import (
    AnnotatorRedacted,
    ConversationErased,
    ConversationStarted,
    MessageSent,
)
from chatfeedback.domain.conversation.evolve import evolve, fold
from chatfeedback.domain.conversation.state import Conversation, Message
from chatfeedback.domain.events import BODIES, KINDS, SCHEMA_VERSION, Body, Event, body_from, payload_text
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.domain.redaction import KINDS_WITH_TEXT, redact
from chatfeedback.domain.types import new_id
from chatfeedback.errors import InputError
from conversation_builder import FoldedTalk
from domain.test_events import instances

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def redacted(event: Event) -> Event:
    """Return the event as it is read after redaction."""
    kind, message_id = event.body.KIND, getattr(event.body, "message_id", None)
    left = redact(kind, payload_text(event.body))
    return replace(event, body=body_from(kind, SCHEMA_VERSION, message_id, left))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_redact_removes_only_texts_of_actor(kind: str, data: st.DataObject) -> None:
    body = data.draw(instances(BODIES[kind]))
    before = payload_text(body)
    after = redact(kind, before)
    assert redact(kind, after) == after
    left = body_from(kind, SCHEMA_VERSION, getattr(body, "message_id", None), after)
    assert payload_text(left) == after, "canonical"
    changed = {f.name for f in fields(body) if getattr(left, f.name) != getattr(body, f.name)}
    texts = {"text", "comment", "previous_comment"} if kind in KINDS_WITH_TEXT else set()
    assert changed <= texts
    assert not any(getattr(left, name, None) for name in texts)


def test_redact_keeps_fields_of_older_schema() -> None:
    assert redact("message_sent", '{"parent_id":null,"text":"Hello"}') == '{"parent_id":null,"text":""}'
    assert redact("rating_cleared", '{"model":null}') == '{"model":null}'


# The fold


steps = st.lists(
    st.tuples(
        st.sampled_from(["ada", "bob"]),
        st.sampled_from(["ask", "empty", "retry", "retry in vain", "undo", "edit", "choose", "rate"]),
        st.integers(0, 7),
        st.sampled_from(["Hello", "What is a river?", "Grüße"]),
    ),
    max_size=12,
)


def do(talk: FoldedTalk, actor: str, command: str, which: int, words: str) -> None:
    """Run one step of a conversation in which two people write."""
    talk._actor = actor
    conversation = talk.conversation
    shown = [message.message_id for message in conversation.shown()]
    replies = [message.message_id for message in conversation.messages.values() if message.role == "assistant"]
    if command in ("ask", "empty") or not shown:
        talk.finish(
            talk.send(words), "An answer" if command == "ask" else "", "complete" if command == "ask" else "failed"
        )
    elif command in ("retry", "retry in vain"):
        talk.finish(talk.retry(shown[-1]), "Another" if command == "retry" else "")
    elif command == "undo":
        talk.undo()
    elif command == "edit":
        talk.edit(shown[which % len(shown)], f"{words} {which}")
        if (writing := talk.conversation.writing_id) is not None:
            talk.finish(writing, "An answer to that")
    elif not replies:
        return
    elif command == "choose":
        talk.choose(replies[which % len(replies)])
    else:
        change = RatingChange(("like", "dislike", "", None)[which % 4], comment=words if which > 3 else None)
        talk.rate(replies[which % len(replies)], actor, change)


@given(steps)
@example([("ada", "ask", 0, "Hello"), ("bob", "edit", 1, "Hello"), ("ada", "retry in vain", 0, "Hello")])
def test_fold_of_redacted_log_gives_same_tree_without_texts(taken: list[tuple[str, str, int, str]]) -> None:
    talk = FoldedTalk()
    for step in taken:
        try:
            do(talk, *step)
        except InputError:
            continue
    log = talk.events
    after = fold(
        talk.conversation.conversation_id, [redacted(event) if event.actor_id == "bob" else event for event in log]
    )
    assert after.messages == {
        message_id: replace(message, text="") if message.author_id == "bob" else message
        for message_id, message in talk.conversation.messages.items()
    }
    assert shape(after) == shape(talk.conversation)
    of_ada = {key: rating for key, rating in talk.conversation.ratings.items() if key[1] == "ada"}
    assert {key: rating for key, rating in after.ratings.items() if key[1] == "ada"} == of_ada
    for key, rating in talk.conversation.ratings.items():
        if key[1] == "bob" and (rating.value or rating.reasons):
            left = after.ratings[key]
            assert (left.value, left.reasons, left.comment) == (rating.value, rating.reasons, None)
    roots = [message for message in talk.conversation.messages.values() if message.parent_id is None]
    assert after.title == ("…" if roots and roots[-1].author_id == "bob" else talk.conversation.title)


def shape(conversation: Conversation) -> tuple[object, ...]:
    """Return the structure of the tree, the head and the versions."""

    def of(message: Message) -> tuple[object, ...]:
        return message.message_id, message.shown, message.active_child_id

    return (
        *(of(message) for message in conversation.messages.values()),
        *(conversation.head_id, conversation.writing_id, conversation.version, conversation.tree_version),
        *(conversation.annotator_id, conversation.updated_at),
    )


# Receipts


def event(version: int, body: Body, actor: str = "ada") -> Event:
    return Event(new_id(), "c", version, actor, NOON, body)


def test_erasure_receipt_stands_for_all_erased_events() -> None:
    after = fold("c", [event(8, ConversationErased(events=7))])
    assert (after.erased, after.version, after.messages, after.annotator_id) == (True, 8, {}, "ada")
    assert evolve(after, [])[0].erased


@pytest.mark.parametrize(
    "log",
    [
        [event(7, ConversationErased(events=7))],
        [event(1, ConversationStarted()), event(2, ConversationErased(events=1))],
        [event(8, ConversationErased(events=7)), event(9, ConversationErased(events=8))],
        [event(8, ConversationErased(events=7)), event(9, MessageSent(message_id="m", parent_id=None, text="Hello"))],
        [event(8, ConversationErased(events=7)), event(9, AnnotatorRedacted(events=1))],
        [event(1, ConversationStarted()), event(3, AnnotatorRedacted(events=1))],
    ],
)
def test_fold_refuses_receipt_out_of_sequence(log: list[Event]) -> None:
    with pytest.raises(ValueError, match="does not follow version"):
        fold("c", log)


def test_redaction_receipt_changes_only_version() -> None:
    talk = FoldedTalk()
    talk.ask("Hello", "Hi")
    before = talk.conversation
    receipt = replace(
        event(before.version + 1, AnnotatorRedacted(events=2), "bob"), conversation_id=before.conversation_id
    )
    after, changes = evolve(before, [receipt])
    assert after == replace(before, version=before.version + 1)
    assert not (changes.added or changes.moved or changes.finished or changes.rated)

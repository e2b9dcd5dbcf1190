"""Repeated prompts add no event, also after later changes of the conversation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chatfeedback.domain.conversation import decide
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Body
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.domain.types import new_id
from chatfeedback.errors import Conflict, ReplyRunning
from conversation_builder import FoldedTalk, plan

SINCE: dict[str, Callable[[FoldedTalk, str], object]] = {
    "nothing": lambda talk, reply: None,
    "the end of its reply": lambda talk, reply: talk.finish(reply),
    "a rating": lambda talk, reply: talk.rate(reply, "ada", RatingChange(value="like")),
    "Clear": lambda talk, reply: talk.clear(),
    "another prompt": lambda talk, reply: (talk.finish(reply), talk.ask("And?", "Nothing")),
    "a running reply to another prompt": lambda talk, reply: (talk.finish(reply), talk.send("And?")),
    "Undo": lambda talk, reply: (talk.finish(reply), talk.undo()),
    "Retry": lambda talk, reply: (talk.finish(reply), talk.retry(reply)),
    "an edit": lambda talk, reply: (talk.finish(reply), talk.edit(talk.conversation.shown()[-2].message_id, "Bye")),
}


def repeat(conversation: Conversation, event_id: str | None, expected_version: int | None) -> tuple[Body, ...]:
    return decide.send(
        conversation,
        "Hello",
        plan,
        message_id=new_id(),
        reply_id=new_id(),
        event_id=event_id,
        expected_version=expected_version,
    )


@pytest.mark.parametrize("earlier", [0, 2])
@pytest.mark.parametrize("since", SINCE)
def test_send_writes_nothing_when_its_event_is_stored(since: str, earlier: int) -> None:
    talk = FoldedTalk()
    for number in range(earlier):
        talk.ask(f"prompt {number}", "Hi")
    expected_version = talk.conversation.tree_version
    reply = talk.send("Hello", expected_version)
    prompt = talk.conversation.messages[reply].parent_id
    event_id = talk.conversation.messages[str(prompt)].created_event_id
    SINCE[since](talk, reply)
    for page in (expected_version, talk.conversation.tree_version, None):
        assert repeat(talk.conversation, event_id, page) == ()


def test_send_raises_conflict_or_reply_running_when_its_event_is_not_stored() -> None:
    talk = FoldedTalk()
    expected_version = talk.conversation.tree_version
    talk.send("Hello", expected_version)
    for event_id in (None, new_id()):
        with pytest.raises(Conflict):
            repeat(talk.conversation, event_id, expected_version)
        with pytest.raises(ReplyRunning):
            repeat(talk.conversation, event_id, talk.conversation.tree_version)


def test_send_treats_same_text_with_another_id_as_new_prompt() -> None:
    talk = FoldedTalk()
    talk.ask("Hello", "Hi")
    kinds = [body.KIND for body in repeat(talk.conversation, new_id(), talk.conversation.tree_version)]
    assert kinds == ["message_sent", "reply_started"]

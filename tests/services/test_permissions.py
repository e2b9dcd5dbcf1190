"""Permissions of all use cases: conversations of others are refused, unknown ones are not found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.types import new_id
from chatfeedback.errors import NotAllowed, NotFound
from openai_server import ScriptedServer
from services.service_harness import Room, held, texts

pytestmark = pytest.mark.sqlite

UseCase = Callable[[Room, str, str, Conversation], Awaitable[object]]
"""(room, annotator id, conversation id, the conversation that its messages are from)."""

USE_CASES: dict[str, UseCase] = {
    "open": lambda room, annotator, conversation_id, _: room.service.conversation(annotator, conversation_id),
    "send": lambda room, annotator, conversation_id, _: room.service.send(
        annotator, conversation_id, "Hello", expected_version=None
    ),
    "send as the first": lambda room, annotator, conversation_id, _: room.service.send(
        annotator, conversation_id, "Hello", expected_version=0
    ),
    "retry": lambda room, annotator, conversation_id, c: room.service.retry(
        annotator, conversation_id, c.shown()[1].message_id, expected_version=None
    ),
    "edit a prompt": lambda room, annotator, conversation_id, c: room.service.edit(
        annotator, conversation_id, c.shown()[0].message_id, "Hi", expected_version=None
    ),
    "edit a reply": lambda room, annotator, conversation_id, c: room.service.edit(
        annotator, conversation_id, c.shown()[1].message_id, "Hi", expected_version=None
    ),
    "undo": lambda room, annotator, conversation_id, _: room.service.undo(
        annotator, conversation_id, expected_version=None
    ),
    "choose": lambda room, annotator, conversation_id, c: room.service.choose(
        annotator, conversation_id, c.shown()[1].message_id, expected_version=None
    ),
    "clear": lambda room, annotator, conversation_id, _: room.service.clear(annotator, conversation_id),
    "rate": lambda room, annotator, conversation_id, c: room.service.feedback.rate(
        annotator, conversation_id, c.shown()[1].message_id, value="like"
    ),
    "stop": lambda room, annotator, conversation_id, _: room.service.stop(annotator, conversation_id),
}


async def test_use_cases_refuse_conversation_of_another_annotator(room: Room, server: ScriptedServer) -> None:
    conversation = await room.ask()
    for annotator in (room.people.bob, room.people.cyd):
        for name, use_case in USE_CASES.items():
            with pytest.raises(NotAllowed, match="belongs to another person"):
                await use_case(room, annotator, conversation.conversation_id, conversation)
                pytest.fail(name)
        assert await room.service.conversations(annotator, 10) == []
    assert await room.now(conversation) == conversation
    assert len(server.requests) == 1


async def test_stop_and_rate_refuse_running_reply_of_another_annotator(room: Room, server: ScriptedServer) -> None:
    script = server.reply("one two three", hold_after=1)
    conversation = await room.send()
    await held(script)
    for annotator in (room.people.bob, room.people.cyd):
        with pytest.raises(NotAllowed):
            await room.service.stop(annotator, conversation.conversation_id)
        with pytest.raises(NotAllowed):
            await room.service.feedback.rate(
                annotator, conversation.conversation_id, conversation.head_id, value="like"
            )
    script.release()
    assert texts(await room.ended(conversation)) == ["Hello", "one two three"]


async def test_use_cases_raise_not_found_and_store_nothing_for_unknown_conversation(
    room: Room, server: ScriptedServer
) -> None:
    conversation = await room.ask()
    for unknown in (new_id(), "", "no-such-conversation", "nul\0", "\ud800"):
        for name, use_case in USE_CASES.items():
            with pytest.raises(NotFound, match="no such conversation"):
                await use_case(room, room.ada, unknown, conversation)
                pytest.fail(f"{name} {unknown!r}")
    assert len(await room.service.conversations(room.ada, 10)) == len(server.requests) == 1


async def test_rate_and_retry_raise_not_found_for_message_of_another_conversation(room: Room) -> None:
    mine = await room.ask()
    theirs = await room.service.send(room.people.bob, None, "Hello", expected_version=0)
    reply_id = (await room.ended(theirs)).head_id
    with pytest.raises(NotFound):
        await room.rate(mine, reply_id, value="like")
    with pytest.raises(NotFound):
        await room.retry(mine, reply_id)
    assert (await room.now(mine)).ratings == {}


async def test_conversations_of_concurrent_annotators_stay_separate(room: Room) -> None:
    talks = {
        annotator: await room.service.send(annotator, None, f"I am {annotator}", expected_version=0)
        for annotator in room.people
    }
    for annotator, talk in talks.items():
        ended = await room.ended(talk)
        await room.service.feedback.rate(annotator, talk.conversation_id, ended.head_id, value="dislike")
    for annotator, talk in talks.items():
        assert [line.conversation_id for line in await room.service.conversations(annotator, 10)] == [
            talk.conversation_id
        ]
        own = await room.service.conversation(annotator, talk.conversation_id)
        assert own.shown()[0].text == f"I am {annotator}"
        assert list(own.ratings) == [(own.head_id, annotator)]

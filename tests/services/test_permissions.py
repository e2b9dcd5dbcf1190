"""Who asks is checked in every use case: somebody else's conversation is refused, an unknown one is not there."""

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
"""(room, who asks, conversation id, the conversation that its messages are from)."""

USE_CASES: dict[str, UseCase] = {
    "open": lambda room, who, of, _: room.service.conversation(who, of),
    "send": lambda room, who, of, _: room.service.send(who, of, "Hello", expected_version=None),
    "send as the first": lambda room, who, of, _: room.service.send(who, of, "Hello", expected_version=0),
    "retry": lambda room, who, of, c: room.service.retry(who, of, c.shown()[1].message_id, expected_version=None),
    "edit a prompt": lambda room, who, of, c: room.service.edit(
        who, of, c.shown()[0].message_id, "Hi", expected_version=None
    ),
    "edit a reply": lambda room, who, of, c: room.service.edit(
        who, of, c.shown()[1].message_id, "Hi", expected_version=None
    ),
    "undo": lambda room, who, of, _: room.service.undo(who, of, expected_version=None),
    "choose": lambda room, who, of, c: room.service.choose(who, of, c.shown()[1].message_id, expected_version=None),
    "clear": lambda room, who, of, _: room.service.clear(who, of),
    "rate": lambda room, who, of, c: room.service.feedback.rate(who, of, c.shown()[1].message_id, value="like"),
    "stop": lambda room, who, of, _: room.service.stop(who, of),
}


async def test_somebody_elses_conversation_is_refused_in_every_use_case(room: Room, server: ScriptedServer) -> None:
    conversation = await room.ask()
    for who in (room.people.bob, room.people.cyd):
        for name, use_case in USE_CASES.items():
            with pytest.raises(NotAllowed, match="belongs to another person"):
                await use_case(room, who, conversation.conversation_id, conversation)
                pytest.fail(name)
        assert await room.service.conversations(who, 10) == []
    assert await room.now(conversation) == conversation
    assert len(server.requests) == 1


async def test_nobody_else_can_stop_a_reply_or_rate_it_while_it_is_written(room: Room, server: ScriptedServer) -> None:
    script = server.reply("one two three", hold_after=1)
    conversation = await room.send()
    await held(script)
    for who in (room.people.bob, room.people.cyd):
        with pytest.raises(NotAllowed):
            await room.service.stop(who, conversation.conversation_id)
        with pytest.raises(NotAllowed):
            await room.service.feedback.rate(who, conversation.conversation_id, conversation.head_id, value="like")
    script.release()
    assert texts(await room.ended(conversation)) == ["Hello", "one two three"]


async def test_an_unknown_conversation_is_not_found_in_any_use_case_and_nothing_is_stored(
    room: Room, server: ScriptedServer
) -> None:
    conversation = await room.ask()
    for unknown in (new_id(), "", "no-such-conversation", "nul\0", "\ud800"):
        for name, use_case in USE_CASES.items():
            with pytest.raises(NotFound, match="no such conversation"):
                await use_case(room, room.ada, unknown, conversation)
                pytest.fail(f"{name} {unknown!r}")
    assert len(await room.service.conversations(room.ada, 10)) == len(server.requests) == 1


async def test_a_message_of_another_conversation_is_not_found(room: Room) -> None:
    mine = await room.ask()
    theirs = await room.service.send(room.people.bob, None, "Hello", expected_version=0)
    reply_id = (await room.ended(theirs)).head_id
    with pytest.raises(NotFound):
        await room.rate(mine, reply_id, value="like")
    with pytest.raises(NotFound):
        await room.retry(mine, reply_id)
    assert (await room.now(mine)).ratings == {}


async def test_three_people_talk_at_the_same_time_and_each_sees_only_their_own(room: Room) -> None:
    talks = {who: await room.service.send(who, None, f"I am {who}", expected_version=0) for who in room.people}
    for who, talk in talks.items():
        ended = await room.ended(talk)
        await room.service.feedback.rate(who, talk.conversation_id, ended.head_id, value="dislike")
    for who, talk in talks.items():
        assert [line.conversation_id for line in await room.service.conversations(who, 10)] == [talk.conversation_id]
        own = await room.service.conversation(who, talk.conversation_id)
        assert own.shown()[0].text == f"I am {who}"
        assert list(own.ratings) == [(own.head_id, who)]

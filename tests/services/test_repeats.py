"""Repeated prompts are stored once: at once, after a restart, and in another process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from chatfeedback.domain import prompts
from chatfeedback.domain.conversation.decide import ThreadMessage
from chatfeedback.domain.conversation.events import Generation
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import Conflict, NotAllowed, NotFound, ReplyRunning, ServerEnding, TooMany
from chatfeedback.inference.client import Endpoint
from chatfeedback.services.chat import NEW_CONVERSATION
from chatfeedback.services.rate_limits import RateLimiter
from chatfeedback.store.erasure.erasure import erase_conversation
from openai_server import ScriptedServer
from services.service_harness import Room, last, open_room, texts, until

ONCE = ["conversation_started", "message_sent", "reply_started"]


async def send(
    room: Room,
    prompt_id: str | None,
    to: Conversation | None = None,
    text: str = "Hello",
    annotator_id: str | None = None,
) -> Conversation:
    """Send a prompt as a page does that shows `to`, or no conversation yet."""
    return await room.service.send(
        annotator_id or room.ada,
        to.conversation_id if to else None,
        text,
        expected_version=to.tree_version if to else NEW_CONVERSATION,
        prompt_id=prompt_id,
    )


async def ended(room: Room, conversation: Conversation) -> Conversation:
    """Wait for the end of the reply, and return the conversation."""

    async def is_ended() -> Conversation | None:
        now = await room.now(conversation)
        return None if now.writing_id else now

    after = await until(is_ended)
    assert after is not None
    return after


async def begun(room: Room, is_new: bool) -> Conversation | None:
    """Return a conversation to continue, or None for a new one."""
    return None if is_new else await room.ask("Before")


def count(room: Room, conversation: Conversation, kind: str = "message_sent") -> int:
    return room.kinds(conversation).count(kind)


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "begun"])
async def test_send_returns_first_result_when_repeated(room: Room, is_new: bool) -> None:
    to = await begun(room, is_new)
    prompt_id = prompts.new_page_id()
    first = await send(room, prompt_id, to)
    again = await send(room, prompt_id, to)
    assert (again.conversation_id, again.head_id) == (first.conversation_id, first.head_id)
    after = await ended(room, first)
    for page_state in (to, first, after):  # the page may have seen the first result by now
        assert (await send(room, prompt_id, page_state)).version == after.version
    assert count(room, first) == (1 if is_new else 2)


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "begun"])
async def test_send_returns_first_result_when_repeats_race(room: Room, is_new: bool) -> None:
    to = await begun(room, is_new)
    for _ in range(5):
        prompt_id = prompts.new_page_id()
        results = await asyncio.gather(*(send(room, prompt_id, to) for _ in range(5)))
        assert len({one.head_id for one in results}) == 1
        to = await ended(room, results[0])
        to = None if is_new else to
        assert room.kinds(results[0])[-3:] == ["message_sent", "reply_started", "reply_finished"]


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "begun"])
async def test_send_returns_first_result_of_another_process(room: Room, neighbour: Room, is_new: bool) -> None:
    to = await begun(room, is_new)
    prompt_id = prompts.new_page_id()
    first = await send(room, prompt_id, to)
    again = await send(neighbour, prompt_id, to)
    assert again.head_id == first.head_id
    await ended(neighbour, again)
    assert count(room, first, "reply_finished") == count(room, first)


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "begun"])
async def test_send_returns_first_result_when_repeats_race_in_two_processes(
    room: Room, neighbour: Room, is_new: bool
) -> None:
    to = await begun(room, is_new)
    for _ in range(10):
        prompt_id = prompts.new_page_id()
        results = await asyncio.gather(*(send(at, prompt_id, to) for at in (room, neighbour, neighbour, room)))
        assert len({one.head_id for one in results}) == 1
        to = await ended(room, results[0])
        to = None if is_new else to
        assert (
            count(room, results[0], "reply_started")
            == count(room, results[0])
            == count(room, results[0], "reply_finished")
        )


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_send_returns_first_result_when_it_loses_race_for_new_conversation(
    room: Room, neighbour: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_decide = threading.Barrier(2)
    plan = type(room.service.model(None)).plan

    def planned(self: object, thread: Sequence[ThreadMessage]) -> Generation:
        both_decide.wait(timeout=30)  # neither has stored anything
        return plan(self, thread)  # type: ignore[arg-type]

    monkeypatch.setattr(type(room.service.model(None)), "plan", planned)
    prompt_id = prompts.new_page_id()
    one, other = await asyncio.gather(send(room, prompt_id), send(neighbour, prompt_id))
    assert one.head_id == other.head_id
    await ended(room, one)
    assert room.kinds(one) == [*ONCE, "reply_finished"]


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "begun"])
async def test_send_returns_first_result_after_restart(
    room: Room, database_url: str, endpoint: Endpoint, is_new: bool
) -> None:
    async with open_room(database_url, room.people, [endpoint]) as before:
        to = await begun(before, is_new)
        prompt_id = prompts.new_page_id()
        first = await ended(before, await send(before, prompt_id, to))
    again = await send(room, prompt_id, to)
    assert (again.version, texts(again)) == (first.version, texts(first))


async def test_send_stores_same_text_again_with_another_id(room: Room) -> None:
    first = await ended(room, await send(room, prompts.new_page_id()))
    again = await ended(room, await send(room, prompts.new_page_id(), first))
    assert texts(again)[::2] == ["Hello", "Hello"]
    assert (await send(room, prompts.new_page_id())).conversation_id != first.conversation_id


async def test_send_stores_each_prompt_without_id(room: Room) -> None:
    first, second = await send(room, None), await send(room, None)
    assert first.conversation_id != second.conversation_id
    third = await send(room, None, await ended(room, first))
    assert count(room, third) == 2


async def test_send_stores_prompt_that_was_refused_before(room: Room, server: ScriptedServer) -> None:
    script = server.reply("one two", hold_after=1)
    writing = await room.send()
    prompt_id = prompts.new_page_id()
    with pytest.raises(ReplyRunning):
        await send(room, prompt_id, writing, "And?")
    script.release()
    after = await ended(room, writing)
    with pytest.raises(Conflict):
        await room.service.send(
            room.ada, after.conversation_id, "And?", expected_version=after.tree_version - 1, prompt_id=prompt_id
        )
    assert texts(await send(room, prompt_id, after, "And?"))[-2:] == ["And?", ""]


async def test_send_of_repeat_ignores_rate_limits(room: Room, server: ScriptedServer) -> None:
    room.service._limits = RateLimiter(messages_per_minute=2, streams_at_once=1)
    script = server.reply("one two", hold_after=1)
    prompt_id = prompts.new_page_id()
    first = await send(room, prompt_id)
    for _ in range(5):
        assert (await send(room, prompt_id)).head_id == first.head_id
    with pytest.raises(TooMany):
        await send(room, prompts.new_page_id())
    script.release()
    second = await ended(room, await send(room, prompts.new_page_id(), await ended(room, first)))
    refused = prompts.new_page_id()
    with pytest.raises(TooMany):
        await send(room, refused, second)
    assert (await send(room, prompt_id, second)).version == second.version
    room.service._limits = RateLimiter()
    assert last(await send(room, refused, second)).status == "writing"


async def test_send_of_repeat_is_answered_during_shutdown(room: Room) -> None:
    prompt_id = prompts.new_page_id()
    first = await ended(room, await send(room, prompt_id))
    room.service.ending = True
    assert (await send(room, prompt_id)).version == first.version
    with pytest.raises(ServerEnding):
        await send(room, prompts.new_page_id(), first)


async def test_send_treats_same_id_of_another_annotator_as_another_prompt(room: Room) -> None:
    prompt_id = prompts.new_page_id()
    mine = await send(room, prompt_id)
    theirs = await send(room, prompt_id, annotator_id=room.people.bob)
    assert theirs.conversation_id != mine.conversation_id
    with pytest.raises(NotAllowed):
        await send(room, prompt_id, mine, annotator_id=room.people.bob)


async def test_send_of_repeat_raises_not_found_when_conversation_is_erased(room: Room) -> None:
    prompt_id = prompts.new_page_id()
    first = await ended(room, await send(room, prompt_id))
    await asyncio.to_thread(erase_conversation, room.store.engine, first.conversation_id, None)
    for to in (None, first):
        with pytest.raises(NotFound):
            await send(room, prompt_id, to)

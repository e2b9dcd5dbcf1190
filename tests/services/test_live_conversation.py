"""A conversation that a page looks at many times a second, and the database seldom."""

from __future__ import annotations

import pytest

from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import StoreUnavailable
from chatfeedback.generation import manager
from chatfeedback.generation.running_reply import NOT_READ_YET
from chatfeedback.ui.chat import live_conversation
from chatfeedback.ui.chat.live_conversation import LiveConversation
from openai_server import ScriptedServer
from services.service_harness import Room, last, until

pytestmark = pytest.mark.sqlite


def rated(conversation: Conversation) -> str | None:
    """What the only rating says."""
    return next((rating.value for rating in conversation.ratings.values()), None)


async def test_what_this_process_does_is_seen_at_once_and_what_others_do_when_it_asks(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await room.ended(await room.send("Hello"))
    reply_id = last(conversation).message_id
    monkeypatch.setattr(live_conversation, "REFRESH_SECONDS", 3600)
    seen = LiveConversation(room.service, room.ada, conversation)

    await room.service.feedback.rate(room.ada, conversation.conversation_id, reply_id, value="like")
    state = await seen.refresh()
    assert rated(state) == "like"
    await neighbour.service.feedback.rate(room.ada, conversation.conversation_id, reply_id, value="dislike")
    state = await seen.refresh()
    assert rated(state) == "like", "nobody has asked the database"
    monkeypatch.setattr(live_conversation, "REFRESH_SECONDS", 0)
    state = await seen.refresh()
    assert (rated(state), seen.notice) == ("dislike", "")


async def test_while_this_process_writes_a_reply_it_asks_only_when_it_has_heard_of_something_new(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await room.ended(await room.send("Hello"))
    script = server.reply("one two three", hold_after=1)
    conversation = await room.send("Go on", first)
    await room.draft_says(conversation, "one ")
    monkeypatch.setattr(live_conversation, "REFRESH_SECONDS", 0)
    asked: list[Conversation] = []
    ask = room.service.conversation

    async def noted(annotator_id: str, conversation_id: str) -> Conversation:
        asked.append(await ask(annotator_id, conversation_id))
        return asked[-1]

    monkeypatch.setattr(room.service, "conversation", noted)
    seen = LiveConversation(room.service, room.ada, conversation)
    assert [await seen.refresh() for _ in range(3)] == [conversation] * 3
    assert asked == []
    reply_id = last(first).message_id
    await neighbour.service.feedback.rate(room.ada, first.conversation_id, reply_id, value="like")

    async def heard() -> bool:
        return rated(await seen.refresh()) == "like"

    await until(heard)
    assert len(asked) == 1
    monkeypatch.setattr(manager, "VERSION_TTL_SECONDS", -1)
    await seen.refresh()
    assert len(asked) == 2, "what was heard too long ago does not count"
    script.release()
    await room.ended(conversation)


async def test_trouble_is_over_when_the_database_answers_again_though_there_is_nothing_new(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = server.reply("one two three", hold_after=1)
    conversation = await room.send()
    await room.draft_says(conversation, "one ")
    monkeypatch.setattr(live_conversation, "REFRESH_SECONDS", 0)

    async def refused(_annotator_id: str, _conversation_id: str) -> Conversation:
        raise StoreUnavailable("The database is busy.")

    seen = LiveConversation(room.service, room.ada, conversation)
    with monkeypatch.context() as patched:
        patched.setattr(manager, "VERSION_TTL_SECONDS", -1)
        patched.setattr(room.service, "conversation", refused)
        await seen.refresh()
    assert seen.notice == NOT_READ_YET
    await seen.refresh()
    assert seen.notice == ""
    script.release()
    await room.ended(conversation)

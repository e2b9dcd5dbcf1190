"""Live conversation: refreshed many times a second, with few reads of the database."""

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
    """Return the value of the only rating."""
    return next((rating.value for rating in conversation.ratings.values()), None)


async def test_live_conversation_shows_own_changes_at_once_and_others_after_interval(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await room.ended(await room.send("Hello"))
    reply_id = last(conversation).message_id
    monkeypatch.setattr(live_conversation, "REFRESH_SECONDS", 3600)
    live = LiveConversation(room.service, room.ada, conversation)

    await room.service.feedback.rate(room.ada, conversation.conversation_id, reply_id, value="like")
    state = await live.refresh()
    assert rated(state) == "like"
    await neighbour.service.feedback.rate(room.ada, conversation.conversation_id, reply_id, value="dislike")
    state = await live.refresh()
    assert rated(state) == "like", "nobody has asked the database"
    monkeypatch.setattr(live_conversation, "REFRESH_SECONDS", 0)
    state = await live.refresh()
    assert (rated(state), live.notice) == ("dislike", "")


async def test_live_conversation_reads_store_only_for_new_version_while_reply_runs(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await room.ended(await room.send("Hello"))
    script = server.reply("one two three", hold_after=1)
    conversation = await room.send("Go on", first)
    await room.draft_says(conversation, "one ")
    monkeypatch.setattr(live_conversation, "REFRESH_SECONDS", 0)
    reads: list[Conversation] = []
    read = room.service.conversation

    async def noted(annotator_id: str, conversation_id: str) -> Conversation:
        reads.append(await read(annotator_id, conversation_id))
        return reads[-1]

    monkeypatch.setattr(room.service, "conversation", noted)
    live = LiveConversation(room.service, room.ada, conversation)
    assert [await live.refresh() for _ in range(3)] == [conversation] * 3
    assert reads == []
    reply_id = last(first).message_id
    await neighbour.service.feedback.rate(room.ada, first.conversation_id, reply_id, value="like")

    async def heard() -> bool:
        return rated(await live.refresh()) == "like"

    await until(heard)
    assert len(reads) == 1
    monkeypatch.setattr(manager, "VERSION_TTL_SECONDS", -1)
    await live.refresh()
    assert len(reads) == 2, "what was heard too long ago does not count"
    script.release()
    await room.ended(conversation)


async def test_live_conversation_clears_notice_when_store_answers_again(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = server.reply("one two three", hold_after=1)
    conversation = await room.send()
    await room.draft_says(conversation, "one ")
    monkeypatch.setattr(live_conversation, "REFRESH_SECONDS", 0)

    async def refused(_annotator_id: str, _conversation_id: str) -> Conversation:
        raise StoreUnavailable("The database is busy.")

    live = LiveConversation(room.service, room.ada, conversation)
    with monkeypatch.context() as patched:
        patched.setattr(manager, "VERSION_TTL_SECONDS", -1)
        patched.setattr(room.service, "conversation", refused)
        await live.refresh()
    assert live.notice == NOT_READ_YET
    await live.refresh()
    assert live.notice == ""
    script.release()
    await room.ended(conversation)

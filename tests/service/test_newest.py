"""A conversation that a page looks at many times a second: its own process is not asked for, the others seldom."""

from __future__ import annotations

import pytest

from chatfeedback.web import newest
from chatfeedback.web.newest import Newest
from openai_server import ScriptedServer
from service.room import Room, last


async def test_what_this_process_does_is_seen_at_once_and_what_others_do_when_it_asks(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await room.ended(await room.send("Hello"))
    reply_id = last(conversation).message_id
    monkeypatch.setattr(newest, "ASKED_EVERY_SECONDS", 3600)
    seen = Newest(room.service, room.ada, conversation)

    def rating() -> str | None:
        found = state.ratings.get((reply_id, room.ada))
        return found.value if found else None

    await room.service.rate(room.ada, conversation.conversation_id, reply_id, value="like")
    state = await seen.look()
    assert rating() == "like"
    await neighbour.service.rate(room.ada, conversation.conversation_id, reply_id, value="dislike")
    state = await seen.look()
    assert rating() == "like", "nobody has asked the database"
    monkeypatch.setattr(newest, "ASKED_EVERY_SECONDS", 0)
    state = await seen.look()
    assert (rating(), seen.trouble) == ("dislike", "")

"""Erasure of a conversation that a page shows, or whose reply is running."""

from __future__ import annotations

import asyncio
import logging

import pytest

from chatfeedback.domain.conversation.events import ConversationErased
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import NotFound
from chatfeedback.generation import checkpoints
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.erasure import erasure
from chatfeedback.store.log.event_store import now
from chatfeedback.store.maintenance import check
from leak_scan import traces
from openai_server import ScriptedServer
from services.service_harness import Room, held, pass_time, until

STORY = "Zanzibar quinces are the best there are"
MARKED = ("Tell me of quinces", "Zanzibar qui", STORY)
"""Texts of no other test, because tests share a database on Postgres."""
GONE = r"^There is no such conversation\.$"


async def erase(database_url: str, conversation: Conversation) -> None:
    """Erase the conversation as another process does."""

    def elsewhere() -> None:
        engine = open_engine(database_url)
        try:
            assert erasure.erase_conversation(engine, conversation.conversation_id, None).conversations == 1
        finally:
            engine.dispose()

    await asyncio.to_thread(elsewhere)


async def assert_erased(room: Room, conversation: Conversation, database_url: str) -> None:
    """Assert that no reply is running, and that only the receipt is left."""
    await until(lambda: not room.service._replies._tasks)
    (receipt,) = room.log(conversation)
    assert isinstance(receipt, ConversationErased)
    assert room.draft(conversation) is None
    assert traces(database_url, MARKED) == set()
    assert check(database_url) == []


async def test_commands_raise_not_found_when_conversation_is_erased(room: Room, database_url: str) -> None:
    conversation = await room.ask("Hello")
    reply = conversation.shown()[-1].message_id
    await erase(database_url, conversation)
    for action in (
        room.now(conversation),
        room.send("More", to=conversation),
        room.retry(conversation, reply),
        room.rate(conversation, reply, value="like"),
        room.stop(conversation),
        room.service.edit(room.ada, conversation.conversation_id, reply, "Else", expected_version=None),
        room.service.undo(room.ada, conversation.conversation_id, expected_version=None),
        room.service.clear(room.ada, conversation.conversation_id),
    ):
        with pytest.raises(NotFound, match=GONE):
            await action
    assert await room.service.conversations(room.ada, 5) == []


async def test_reply_ends_without_trace_when_its_conversation_is_erased(
    room: Room, server: ScriptedServer, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    script = server.reply(STORY, hold_after=[3, 6])
    conversation = await room.send("Tell me of quinces")
    watching = asyncio.create_task(room.watched(conversation))
    await room.draft_says(conversation, STORY[:12])
    assert traces(database_url, MARKED) == {*MARKED[:2]}, "or the test proves nothing"
    with caplog.at_level(logging.WARNING):
        await erase(database_url, conversation)
        with pytest.raises(NotFound, match=GONE):
            await watching
        script.release()
        await assert_erased(room, conversation, database_url)
    assert [record.message for record in caplog.records if "is not stored yet" in record.message] == []


async def test_reply_is_not_stored_when_it_ends_after_erasure(
    room: Room, server: ScriptedServer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 60)  # no checkpoint meanwhile
    script = server.reply(STORY, hold_after=[3])
    conversation = await room.send("Tell me of quinces")
    await held(script)
    await erase(database_url, conversation)
    script.release()
    await assert_erased(room, conversation, database_url)


async def test_stop_returns_when_conversation_is_erased(
    room: Room, server: ScriptedServer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 60)
    script = server.reply(STORY, hold_after=[3])
    conversation = await room.send("Tell me of quinces")
    await held(script)
    await erase(database_url, conversation)
    assert conversation.writing_id is not None
    async with asyncio.timeout(30):
        await room.service._replies.stop(conversation.writing_id)
    await assert_erased(room, conversation, database_url)


async def test_watch_in_another_process_raises_not_found_when_conversation_is_erased(
    room: Room, neighbour: Room, server: ScriptedServer, database_url: str
) -> None:
    script = server.reply(STORY, hold_after=[3])
    conversation = await room.send("Tell me of quinces")
    await room.draft_says(conversation, STORY[:12])
    watching = asyncio.create_task(neighbour.watched(conversation))
    await neighbour.shows(conversation, STORY[:12])
    await erase(database_url, conversation)
    with pytest.raises(NotFound, match=GONE):
        await watching
    script.release()
    await assert_erased(room, conversation, database_url)


async def abandoned_reply(room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Conversation:
    """Start a reply, save a part of it, and let its lease expire."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 60)
    script = server.reply(STORY, hold_after=[3])
    conversation = await room.send("Tell me of quinces")
    await held(script)
    message_id, owner = str(conversation.writing_id), room.store.lease_owner
    saved = room.store.writer.submit(lambda tx: reply_leases.save(tx, owner, {message_id: STORY[:12]}, now()))
    assert await asyncio.wrap_future(saved)
    pass_time(monkeypatch, reply_leases.LEASE.total_seconds() + 1)
    return conversation


async def test_close_does_not_store_longer_text_of_recovered_reply_after_erasure(
    room: Room, neighbour: Room, server: ScriptedServer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await abandoned_reply(room, server, monkeypatch)
    await neighbour.takes_over(conversation)
    assert room.finished(conversation).status == "interrupted"
    await erase(database_url, conversation)
    await room.service.close()
    await assert_erased(room, conversation, database_url)


async def test_recovery_continues_when_conversation_is_erased_after_draft_was_read(
    room: Room, neighbour: Room, server: ScriptedServer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery has read the text already; it must neither store it nor stop."""
    conversation = await abandoned_reply(room, server, monkeypatch)
    orphans = neighbour.service._replies.orphans
    really, swept = orphans.interrupt, list[str]()

    async def erased_meanwhile(orphan: Conversation, message_id: str, text: str) -> None:
        await erase(database_url, orphan)
        await really(orphan, message_id, text)
        swept.append(text)

    monkeypatch.setattr(orphans, "interrupt", erased_meanwhile)

    async def is_swept() -> bool:
        await neighbour.service.start()
        return STORY[:12] in swept

    await until(is_swept)
    await room.service.close()
    await assert_erased(room, conversation, database_url)

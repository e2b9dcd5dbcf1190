"""A conversation is erased while a page has it open, or while a reply is being written in it."""

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
"""In no other test: on Postgres they share a database."""
GONE = r"^There is no such conversation\.$"


async def erase(database_url: str, conversation: Conversation) -> None:
    """As another process does it."""

    def elsewhere() -> None:
        engine = open_engine(database_url)
        try:
            assert erasure.erase_conversation(engine, conversation.conversation_id, None).conversations == 1
        finally:
            engine.dispose()

    await asyncio.to_thread(elsewhere)


async def nothing_is_written(room: Room, conversation: Conversation, database_url: str) -> None:
    """No reply is under way any more, and nothing came after the receipt."""
    await until(lambda: not room.service._replies._tasks)
    (receipt,) = room.log(conversation)
    assert isinstance(receipt, ConversationErased)
    assert room.draft(conversation) is None
    assert traces(database_url, MARKED) == set()
    assert check(database_url) == []


async def test_a_page_that_is_open_on_an_erased_conversation_is_told_so(room: Room, database_url: str) -> None:
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


async def test_a_reply_whose_conversation_is_erased_ends_without_a_trace(
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
        await nothing_is_written(room, conversation, database_url)
    assert [record.message for record in caplog.records if "is not stored yet" in record.message] == []


async def test_a_reply_that_ends_just_after_its_conversation_was_erased_is_not_stored(
    room: Room, server: ScriptedServer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 60)  # nobody looks after the draft meanwhile
    script = server.reply(STORY, hold_after=[3])
    conversation = await room.send("Tell me of quinces")
    await held(script)
    await erase(database_url, conversation)
    script.release()
    await nothing_is_written(room, conversation, database_url)


async def test_stop_after_an_erasure_does_not_wait_for_ever(
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
    await nothing_is_written(room, conversation, database_url)


async def test_another_process_that_watches_is_told_that_it_is_gone(
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
    await nothing_is_written(room, conversation, database_url)


async def taken_for_dead(room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Conversation:
    """A reply whose process has saved a part of it, and then not for so long that others will end it."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 60)
    script = server.reply(STORY, hold_after=[3])
    conversation = await room.send("Tell me of quinces")
    await held(script)
    message_id, owner = str(conversation.writing_id), room.store.owner
    saved = room.store.writer.submit(lambda tx: reply_leases.save(tx, owner, {message_id: STORY[:12]}, now()))
    assert await asyncio.wrap_future(saved)
    pass_time(monkeypatch, reply_leases.LEASE.total_seconds() + 1)
    return conversation


async def test_who_comes_back_with_more_of_a_reply_than_was_saved_does_not_store_it_after_an_erasure(
    room: Room, neighbour: Room, server: ScriptedServer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await taken_for_dead(room, server, monkeypatch)
    await neighbour.takes_over(conversation)
    assert room.finished(conversation).status == "interrupted"
    await erase(database_url, conversation)
    await room.service.close()
    await nothing_is_written(room, conversation, database_url)


async def test_a_sweep_that_has_read_a_draft_before_its_conversation_is_erased_goes_on(
    room: Room, neighbour: Room, server: ScriptedServer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the text in its hands, and must neither store it nor stop at it."""
    conversation = await taken_for_dead(room, server, monkeypatch)
    orphans = neighbour.service._replies.orphans
    really, swept = orphans.interrupt, list[str]()

    async def erased_meanwhile(found: Conversation, message_id: str, text: str) -> None:
        await erase(database_url, found)
        await really(found, message_id, text)
        swept.append(text)

    monkeypatch.setattr(orphans, "interrupt", erased_meanwhile)

    async def is_swept() -> bool:
        await neighbour.service.start()
        return STORY[:12] in swept

    await until(is_swept)
    await room.service.close()
    await nothing_is_written(room, conversation, database_url)

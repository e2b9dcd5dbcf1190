"""Cancelled callers and outages of the store: no partial writes, no false success, no lost text."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import pytest

from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import StoreError, StoreUnavailable
from chatfeedback.generation import manager
from chatfeedback.generation.running_reply import NOT_READ_YET, NOT_STORED_YET
from chatfeedback.inference.client import Endpoint
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.log.writer import Work
from conversation_builder import People
from openai_server import ScriptedServer
from services.outage import TERMINATE, Outage, on_server
from services.reply_watcher import next_of, stuck_writes
from services.service_harness import PATIENCE_SECONDS, Room, held, last, open_room, pass_time, texts, until

T = TypeVar("T")
STORY = "Once upon a time"


@pytest.fixture
def outage(room: Room) -> Iterator[Outage]:
    created = Outage(room)
    yield created
    created.end()


# Cancelled callers


async def test_send_leaves_no_orphaned_reply_when_caller_is_cancelled_at_any_step(
    room: Room, server: ScriptedServer
) -> None:
    first = await room.ask("Still there?")
    for steps in range(40):
        sending = asyncio.create_task(room.send(f"After {steps} steps"))
        for _ in range(steps):
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])
    with stuck_writes(room):
        sending = asyncio.create_task(room.send("While it is committed"))
        await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.wait([sending])
        assert sending.cancelled()
    await room.ask("And now?", first)  # all earlier work in the queue is stored by now
    for line in await room.service.conversations(room.ada, 100):
        conversation = await room.service.conversation(room.ada, line.conversation_id)
        if conversation.writing_id is not None:
            conversation = await room.ended(conversation)
        assert last(conversation).status == "complete"
        assert room.kinds(conversation).count("reply_finished") == len(conversation.shown()) / 2
    titles = [line.title for line in await room.service.conversations(room.ada, 100)]
    assert "While it is committed" in titles and "After 39 steps" in titles
    assert len(server.requests) == len(titles) + 1


async def test_rate_is_stored_when_caller_is_cancelled(room: Room) -> None:
    conversation = await room.ask()
    reply_id = conversation.head_id
    with stuck_writes(room):
        voting = [asyncio.create_task(room.rate(conversation, reply_id, value=value)) for value in ("like", "dislike")]
        await asyncio.sleep(0)
        for vote in voting:
            vote.cancel()
        await asyncio.wait(voting)
    await room.rate(conversation, reply_id, comment="And this one waited")
    rated = [(body.value, body.comment) for body in room.log(conversation)[4:]]
    assert rated == [("like", None), ("dislike", None), ("dislike", "And this one waited")]


async def test_close_waits_for_commands_of_cancelled_callers(
    database_url: str, people: People, endpoint: Endpoint, server: ScriptedServer
) -> None:
    async with open_room(database_url, people, [endpoint]) as room:
        conversation = await room.ask()
        with stuck_writes(room):
            voting = asyncio.create_task(room.rate(conversation, conversation.head_id, value="like"))
            sending = asyncio.create_task(room.send("Just in time"))
            await asyncio.sleep(0)
            for page in (voting, sending):
                page.cancel()
            closing = asyncio.create_task(room.service.close())
            await asyncio.sleep(0)
        await closing
        assert (await room.now(conversation)).ratings
        (newest, _) = await room.service.conversations(room.ada, 10)
        assert newest.title == "Just in time"
        assert (await room.service.conversation(room.ada, newest.conversation_id)).writing_id is None


# Outages of the store


def commands(room: Room, conversation: Conversation) -> dict[str, Callable[[], Awaitable[object]]]:
    of = (room.ada, conversation.conversation_id)
    prompt, reply = (message.message_id for message in conversation.shown())
    return {
        "send": lambda: room.service.send(*of, "Two", expected_version=None),
        "send the first": lambda: room.service.send(room.ada, None, "One", expected_version=0),
        "retry": lambda: room.service.retry(*of, reply, expected_version=None),
        "edit a prompt": lambda: room.service.edit(*of, prompt, "Uno", expected_version=None),
        "edit a reply": lambda: room.service.edit(*of, reply, "Better", expected_version=None),
        "undo": lambda: room.service.undo(*of, expected_version=None),
        "clear": lambda: room.service.clear(*of),
        "rate": lambda: room.service.feedback.rate(
            *of, reply, value="like", reasons={"accurate": True}, comment="Nice"
        ),
    }


async def test_commands_are_refused_without_partial_writes_during_outage(
    room: Room, server: ScriptedServer, outage: Outage
) -> None:
    conversation = await room.ask("One")
    outage.begin()
    for name, command in commands(room, conversation).items():
        with pytest.raises(StoreUnavailable, match="nothing was stored"):
            await command()
            pytest.fail(name)
    outage.end()
    assert await room.now(conversation) == conversation
    assert len(await room.service.conversations(room.ada, 10)) == len(server.requests) == 1
    assert texts(await room.ask("Two", conversation))[-1] == "Answer 2 to: Two"


async def test_commands_are_refused_when_store_is_closed(
    database_url: str, people: People, endpoint: Endpoint, server: ScriptedServer
) -> None:
    async with open_room(database_url, people, [endpoint]) as room:
        conversation = await room.ask("One")
        room.store.writer.close()
        for name, command in commands(room, conversation).items():
            with pytest.raises(StoreUnavailable, match="closed"):
                await command()
                pytest.fail(name)
        assert await room.now(conversation) == conversation
        assert len(server.requests) == 1


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_connections_are_replaced_when_server_terminates_them(room: Room, server: ScriptedServer) -> None:
    first = await room.ask("One")
    script = server.reply(STORY, hold_after=1)
    running = await room.send("Two", first)
    await room.shows(running, "Once")
    for _ in range(3):
        on_server(room, TERMINATE)
        await room.rate(running, first.head_id, value="like")
        await room.rate(running, first.head_id, value="")
    script.release()
    assert last(await room.ended(running)).text == STORY
    assert len(room.log(running)) == 7 + 6


async def test_reply_end_is_stored_after_outage(
    room: Room, server: ScriptedServer, outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="chatfeedback")
    script = server.reply(STORY, hold_after=1)
    conversation = await room.send()
    watching = room.service.watch(conversation.conversation_id, conversation.writing_id)
    await next_of(watching, lambda update: update.text == "Once")
    outage.begin()
    script.release()
    warning = await next_of(watching, lambda update: update.text == STORY and update.notice)
    assert warning.notice == NOT_STORED_YET
    await until(lambda: caplog.text.count("is not stored yet") > 20)
    outage.end()
    *_, update = [progress async for progress in watching]
    assert (update.text, update.notice) == (STORY, None)
    assert (last(update.conversation).text, last(update.conversation).status) == (STORY, "complete")
    assert await room.now(conversation) == update.conversation
    assert room.kinds(conversation).count("reply_finished") == 1
    log_lines = [str(record.msg) for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    first, *others = log_lines
    assert "the database cannot be used" in first
    # The check of the database logs the end of the outage, perhaps just now.
    assert [message for message in others if "can be used again" not in message] == [], "one line, not thousands"


@pytest.mark.parametrize(
    "error",
    [
        UnicodeEncodeError("latin-1", "\u2026", 0, 1, "ordinal not in range(256)"),
        RuntimeError("anything"),
        StoreError("The database refused this."),
        MemoryError(),
    ],
    ids=repr,
)
async def test_reply_text_is_kept_and_stored_whatever_store_raises(
    room: Room, server: ScriptedServer, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = server.reply(STORY, hold_after=1)
    conversation = await room.send()
    watching = room.service.watch(conversation.conversation_id, conversation.writing_id)
    await next_of(watching, lambda update: update.text == "Once")

    def refuse(*_: object) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(error)
        return future

    with monkeypatch.context() as patch:
        patch.setattr(room.store, "execute", refuse)
        script.release()
        warning = await next_of(watching, lambda update: update.text == STORY and update.notice)
        assert warning.notice == NOT_STORED_YET
    *_, update = [progress async for progress in watching]
    assert (last(update.conversation).text, last(update.conversation).status) == (STORY, "complete")
    assert room.kinds(conversation).count("reply_finished") == 1


async def test_watch_reports_outage_and_its_end_during_reply(
    room: Room, server: ScriptedServer, outage: Outage
) -> None:
    script = server.reply(STORY, hold_after=1)
    conversation = await room.send()
    watching = room.service.watch(conversation.conversation_id, conversation.writing_id)
    await next_of(watching, lambda update: update.text == "Once")
    outage.begin()
    warning = await next_of(watching, lambda update: update.notice)
    assert (warning.text, warning.notice) == ("Once", NOT_STORED_YET), "not that nothing was: the prompt is"
    outage.end()
    assert (await next_of(watching, lambda update: not update.notice)).text == "Once"
    script.release()
    *_, update = [progress async for progress in watching]
    assert (last(update.conversation).text, last(update.conversation).status) == (STORY, "complete")


async def test_watch_of_reply_in_another_process_continues_after_outage(
    room: Room, neighbour: Room, server: ScriptedServer
) -> None:
    script = server.reply(STORY, hold_after=[1, 2])
    conversation = await room.send()
    watching = neighbour.service.watch(conversation.conversation_id, conversation.writing_id)
    await held(script)
    await next_of(watching, lambda update: update.text == "Once")
    outage = Outage(neighbour)
    outage.begin()
    warning = await next_of(watching, lambda update: update.notice)
    assert (warning.text, warning.notice) == ("Once", NOT_READ_YET)
    outage.end()
    assert (await next_of(watching, lambda update: not update.notice)).text == "Once"
    script.release()
    await held(script)
    await next_of(watching, lambda update: update.text == "Once upo")
    script.release()
    *_, update = [progress async for progress in watching]
    assert (last(update.conversation).text, last(update.conversation).status) == (STORY, "complete")


async def test_stop_reports_outage_and_is_stored_afterwards(room: Room, server: ScriptedServer, outage: Outage) -> None:
    script = server.reply(STORY, hold_after=1)
    conversation = await room.send()
    await room.shows(conversation, "Once")
    outage.begin()
    # On Postgres, the owner of the conversation cannot be read either.
    with pytest.raises(StoreUnavailable, match=f"{re.escape(NOT_STORED_YET)}|cannot be reached"):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await room.stop(conversation)
    outage.end()
    stopped = await room.stop(conversation)
    assert (last(stopped).text, last(stopped).status) == ("Once", "stopped")
    assert await asyncio.to_thread(script.left.wait, 10)


async def test_stop_disconnects_from_model_while_store_hangs(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = server.reply(STORY, hold_after=1)
    conversation = await room.send()
    await room.shows(conversation, "Once")
    waiting, submit = asyncio.Event(), room.store.submit

    def noticed(work: Work[T]) -> Future[T]:
        waiting.set()
        return submit(work)

    with stuck_writes(room):
        monkeypatch.setattr(room.store, "submit", noticed)
        await waiting.wait()  # for a checkpoint
        stopping = asyncio.create_task(room.stop(conversation))
        assert await asyncio.to_thread(script.left.wait, 10)
        assert not stopping.done()
    stopped = await stopping
    assert (last(stopped).text, last(stopped).status) == ("Once", "stopped")


async def test_close_does_not_wait_for_outage_and_recovery_ends_reply_later(
    room: Room,
    neighbour: Room,
    server: ScriptedServer,
    outage: Outage,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", logger="chatfeedback")
    monkeypatch.setattr(manager, "STORE_RETRY_SECONDS", (3600,))
    script = server.reply(STORY, hold_after=1)
    writing = await room.send()
    await room.draft_says(writing, "Once")
    outage.begin()
    script.release()
    await until(lambda: "is not stored yet" in caplog.text)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await room.service.close()
    outage.end()
    assert room.kinds(writing)[-1] == "reply_started"
    pass_time(monkeypatch, reply_leases.LEASE.total_seconds() + 1)
    await neighbour.takes_over(writing)
    assert room.finished(writing).status == "interrupted"
    # STORY where the checkpoint that was begun in the outage was stored just after it.
    assert room.finished(writing).text in ("Once", STORY)

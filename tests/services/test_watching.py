"""Watch: the progress of a reply for many watchers, in its own process and in others."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta

import pytest

from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.types import new_id
from chatfeedback.errors import NotFound
from chatfeedback.generation import checkpoints, throttle
from chatfeedback.generation.running_reply import Progress
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.log.statements import Transaction
from chatfeedback.store.log.writer import Work
from openai_server import ScriptedServer, delta
from services.service_harness import (
    LINGER_SECONDS,
    PATIENCE_SECONDS,
    Room,
    advance_watch_clock,
    escaped,
    held,
    last,
    pass_time,
    until,
)

pytestmark = pytest.mark.sqlite

FAST = "A model that writes much faster than anybody reads. " * 200


class Watcher:
    """Watcher in the background; `seen` is the progress that it has received."""

    def __init__(self, room: Room, conversation: Conversation) -> None:
        self.seen: list[Progress] = []
        self._room, self._conversation = room, conversation
        self.task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        conversation = self._conversation
        assert conversation.writing_id is not None
        async for progress in self._room.service.watch(conversation.conversation_id, conversation.writing_id):
            self.seen.append(progress)

    @property
    def text(self) -> str:
        return self.seen[-1].text if self.seen else ""

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def test_watch_yields_growing_text_and_finally_conversation(room: Room, server: ScriptedServer) -> None:
    script = server.reply("one two three", chunk=4, hold_after=[0, 1, 2, 3])
    conversation = await room.send()
    watcher = Watcher(room, conversation)
    for text in ("", "one ", "one two ", "one two thre"):
        await held(script)
        await until(lambda text=text: watcher.seen and watcher.text == text)
        script.release()
    await watcher.task
    different = list(dict.fromkeys(progress.text for progress in watcher.seen))
    assert different == ["", "one ", "one two ", "one two thre", "one two three"]
    assert all(progress.conversation is None for progress in watcher.seen[:-1])
    assert watcher.seen[-1].conversation == await room.now(conversation)
    assert last(watcher.seen[-1].conversation).text == "one two three"


async def test_watch_yields_first_word_at_once(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "UPDATE_SECONDS", 3600)
    script = server.reply("one two three", chunk=4, hold_after=[0, 1])
    watcher = Watcher(room, await room.send())
    await held(script)
    await until(lambda: len(watcher.seen) == 1)
    script.release()
    await held(script)
    await until(lambda: watcher.text == "one ")
    script.release()
    await watcher.leave()


async def test_watch_yields_end_at_once_in_pause_of_throttle(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "UPDATE_SECONDS", 3600)
    script = server.reply("one two three", hold_after=1)
    watcher = Watcher(room, await room.send())
    await until(lambda: watcher.text == "one ")
    script.release()
    await asyncio.wait_for(watcher.task, PATIENCE_SECONDS)
    assert last(watcher.seen[-1].conversation).text == "one two three"


async def test_watch_yields_text_so_far_to_new_watcher(room: Room, server: ScriptedServer) -> None:
    script = server.reply("one two three", hold_after=2)
    conversation = await room.send()
    await room.shows(conversation, "one two ")
    watching = room.service.watch(conversation.conversation_id, conversation.writing_id)
    assert await anext(watching) == Progress("one two ")
    await watching.aclose()
    script.release()
    assert last(await room.ended(conversation)).status == "complete"


async def test_watch_throttles_updates_of_fast_reply(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert 1 / throttle.UPDATE_SECONDS <= 5
    server.reply(FAST)
    conversation = await room.send()
    started = time.monotonic()
    updates = await room.watched(conversation)
    elapsed = time.monotonic() - started
    assert updates[-1].text == FAST
    at_once = 3  # the begin, the first words and the end
    assert len(updates) <= elapsed / throttle.UPDATE_SECONDS + at_once


async def test_checkpoint_saves_once_per_interval_when_model_is_fast(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = []
    save = reply_leases.save

    def counted(*args: object, **kwargs: object) -> object:
        saves.append(time.monotonic())
        return save(*args, **kwargs)

    monkeypatch.setattr(reply_leases, "save", counted)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.1)
    script = server.reply(FAST, hold_after=2000)
    conversation = await room.send()
    started = time.monotonic()
    await held(script)
    await until(lambda: len(saves) > 2)
    script.release()
    assert last(await room.ended(conversation)).text == FAST
    assert len(saves) <= (time.monotonic() - started) / 0.1
    assert room.kinds(conversation) == ["conversation_started", "message_sent", "reply_started", "reply_finished"]


async def test_watch_gives_slow_watcher_same_text_as_fast_one(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = server.reply("one two three", hold_after=[1, 2])
    conversation = await room.send()
    attentive = Watcher(room, conversation)
    await until(lambda: attentive.text == "one ")
    monkeypatch.setattr(throttle, "UPDATE_SECONDS", 0.3)
    other = Watcher(room, conversation)
    await until(lambda: other.text == "one ")  # and now it pauses before its next update
    script.release()
    await until(lambda: attentive.text == "one two ")
    await until(lambda: other.text == "one two ")
    script.release()
    await asyncio.gather(attentive.task, other.task)
    assert attentive.seen[-1] == other.seen[-1]


async def test_watch_continues_for_others_when_one_watcher_leaves(room: Room, server: ScriptedServer) -> None:
    script = server.reply("one two three", hold_after=[1, 2])
    conversation = await room.send()
    stays, goes = Watcher(room, conversation), Watcher(room, conversation)
    await until(lambda: stays.text == goes.text == "one ")
    await goes.leave()
    script.release()
    await until(lambda: stays.text == "one two ")
    watching = room.service.watch(conversation.conversation_id, conversation.writing_id)
    assert (await anext(watching)).text == "one two "
    await watching.aclose()
    script.release()
    await stays.task
    assert (stays.text, last(stays.seen[-1].conversation).status) == ("one two three", "complete")
    assert len(goes.seen) <= 2


async def test_watch_yields_altered_text_when_characters_cannot_be_stored(room: Room, server: ScriptedServer) -> None:
    script = server.stream(
        escaped("nul \0, half \ud83d"), None, escaped("\ude00"), None, delta("", finish_reason="stop"), "[DONE]"
    )
    conversation = await room.send()
    watcher = Watcher(room, conversation)
    await until(lambda: watcher.text == "nul \ufffd, half \ufffd")
    script.release()
    await until(lambda: watcher.text == "nul \ufffd, half 😀")
    script.release()
    await watcher.task
    assert watcher.seen[-1].text == last(watcher.seen[-1].conversation).text == "nul \ufffd, half 😀"


async def test_watch_of_ended_reply_yields_its_text_and_conversation(room: Room) -> None:
    conversation = await room.send()
    await room.ended(conversation)
    (progress,) = await room.watched(conversation)
    assert progress == Progress("Answer 1 to: Hello", await room.now(conversation))


async def test_watch_raises_not_found_for_unknown_reply(room: Room) -> None:
    conversation = await room.ask()
    for conversation_id, message_id in ((new_id(), new_id()), (conversation.conversation_id, new_id())):
        with pytest.raises(NotFound):
            await anext(room.service.watch(conversation_id, message_id))


async def test_reply_continues_while_its_annotator_uses_another_conversation(
    room: Room, server: ScriptedServer
) -> None:
    script = server.reply("one two three", hold_after=1)
    conversation = await room.send("First")
    await room.shows(conversation, "one ")
    elsewhere = await room.ask("Second")
    assert last(elsewhere).text == "Answer 2 to: Second"
    script.release()
    assert last(await room.ended(conversation)).text == "one two three"


# Replies of another process


async def test_watch_follows_reply_of_another_process_to_its_end(
    room: Room, neighbour: Room, server: ScriptedServer
) -> None:
    script = server.reply("one two three", hold_after=[1, 2])
    conversation = await room.send()
    watcher = Watcher(neighbour, conversation)
    for text in ("one ", "one two "):
        await until(lambda text=text: watcher.text == text)
        script.release()
    await watcher.task
    assert watcher.seen[-1] == Progress("one two three", await room.now(conversation))
    assert watcher.seen[-1].conversation == await neighbour.now(conversation)


async def test_stop_ends_reply_of_another_process(room: Room, neighbour: Room, server: ScriptedServer) -> None:
    script = server.reply("one two three", hold_after=2)
    conversation = await room.send()
    here, there = Watcher(room, conversation), Watcher(neighbour, conversation)
    await until(lambda: there.text == "one two ")
    await neighbour.stop(conversation)
    await asyncio.gather(here.task, there.task)
    for watcher in (here, there):
        reply = last(watcher.seen[-1].conversation)
        assert (watcher.text, reply.text, reply.status) == ("one two ", "one two ", "stopped")
    assert await asyncio.to_thread(script.left.wait, 10)


async def test_reply_is_left_only_when_unwatched_in_another_process_too(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = server.reply("one two three", hold_after=1)
    conversation = await room.send()
    watcher = Watcher(neighbour, conversation)
    await until(lambda: watcher.text == "one ")
    advance_watch_clock(monkeypatch, 2 * LINGER_SECONDS)
    before = room.draft(conversation).lease_until
    await until(lambda: room.draft(conversation).lease_until > before + timedelta(seconds=0.2))
    await watcher.leave()
    assert room.kinds(conversation)[-1] == "reply_started"
    pass_time(monkeypatch, 2 * LINGER_SECONDS)
    await until(lambda: "reply_finished" in room.kinds(conversation))
    assert (room.finished(conversation).text, room.finished(conversation).status) == ("one ", "left")
    assert await asyncio.to_thread(script.left.wait, 10)


async def test_watch_note_keeps_time_of_watching_when_stored_late(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply("one two three", hold_after=1)
    conversation = await room.send()
    watcher = Watcher(neighbour, conversation)
    await until(lambda: watcher.text == "one ")
    writer, busy, looked = neighbour.store.writer, threading.Event(), asyncio.Event()
    submit = writer.submit
    blocked = submit(lambda tx: busy.wait(PATIENCE_SECONDS))

    def noticed(work: Work[object]) -> Future[object]:
        looked.set()
        return submit(work)

    monkeypatch.setattr(writer, "submit", noticed)
    await looked.wait()
    await watcher.leave()
    pass_time(monkeypatch, 2 * LINGER_SECONDS)
    busy.set()
    assert await asyncio.wrap_future(blocked)
    await until(lambda: "reply_finished" in room.kinds(conversation))
    assert room.finished(conversation).status == "left"


async def test_recovery_spares_live_reply_of_another_process(
    room: Room, neighbour: Room, server: ScriptedServer
) -> None:
    script = server.reply("one two three", hold_after=1)
    conversation = await room.send()
    await room.draft_says(conversation, "one ")
    assert await neighbour.service.start() == 0
    assert await room.service.start() == 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await neighbour.ended(conversation)
    assert room.kinds(conversation)[-1] == "reply_started"
    script.release()
    assert last(await room.ended(conversation)).text == "one two three"


async def test_reply_stops_when_another_process_has_taken_it_over(
    room: Room, neighbour: Room, server: ScriptedServer
) -> None:
    script = server.reply("one two three", hold_after=1)
    conversation = await room.send()
    await room.draft_says(conversation, "one ")
    owner, later = neighbour.store.lease_owner, datetime.now(UTC) + timedelta(minutes=1)

    def take_over(tx: Transaction) -> reply_leases.Draft | None:
        draft = reply_leases.find(tx, conversation.writing_id)
        return reply_leases.claim(tx, draft, owner, later) if draft else None

    assert neighbour.store.writer.submit(take_over).result(10) is not None
    ended = await room.ended(conversation)
    assert (last(ended).text, last(ended).status) == ("one ", "interrupted")
    assert await asyncio.to_thread(script.left.wait, 10)
    assert room.kinds(conversation).count("reply_finished") == 1

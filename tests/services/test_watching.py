"""Watching a reply: from this process or another one, by many, for as long as each of them likes."""

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
    escaped,
    held,
    last,
    nobody_watches_for,
    pass_time,
    until,
)

pytestmark = pytest.mark.sqlite

FAST = "A model that writes much faster than anybody reads. " * 200


class Watcher:
    """Watches in the background; `seen` is what it has seen."""

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


async def test_a_watcher_sees_the_text_grow_and_at_last_where_the_conversation_stands(
    room: Room, server: ScriptedServer
) -> None:
    script = server.reply("one two three", chunk=4, hold_after=[0, 1, 2, 3])
    conversation = await room.send()
    watcher = Watcher(room, conversation)
    for text in ("", "one ", "one two ", "one two thre"):
        await held(script)
        await until(lambda text=text: watcher.seen and watcher.text == text)
        script.release()
    await watcher.task
    different = list(dict.fromkeys(seen.text for seen in watcher.seen))
    assert different == ["", "one ", "one two ", "one two thre", "one two three"]
    assert all(seen.conversation is None for seen in watcher.seen[:-1])
    assert watcher.seen[-1].conversation == await room.now(conversation)
    assert last(watcher.seen[-1].conversation).text == "one two three"


async def test_the_first_word_is_seen_as_soon_as_it_comes(
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


async def test_the_end_is_seen_at_once_however_long_the_pause_between_two_paintings(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "UPDATE_SECONDS", 3600)
    script = server.reply("one two three", hold_after=1)
    watcher = Watcher(room, await room.send())
    await until(lambda: watcher.text == "one ")
    script.release()
    await asyncio.wait_for(watcher.task, PATIENCE_SECONDS)
    assert last(watcher.seen[-1].conversation).text == "one two three"


async def test_a_reload_sees_all_the_text_so_far_at_once(room: Room, server: ScriptedServer) -> None:
    script = server.reply("one two three", hold_after=2)
    conversation = await room.send()
    await room.shows(conversation, "one two ")
    watching = room.service.watch(conversation.conversation_id, conversation.writing_id)
    assert await anext(watching) == Progress("one two ")
    await watching.aclose()
    script.release()
    assert last(await room.ended(conversation)).status == "complete"


async def test_the_screen_is_updated_a_few_times_a_second_however_fast_the_model_is(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert 1 / throttle.UPDATE_SECONDS <= 5
    server.reply(FAST)
    conversation = await room.send()
    started = time.monotonic()
    seen = await room.watched(conversation)
    elapsed = time.monotonic() - started
    assert seen[-1].text == FAST
    at_once = 3  # that it has begun, its first words, and its end
    assert len(seen) <= elapsed / throttle.UPDATE_SECONDS + at_once


async def test_the_text_is_stored_about_once_a_second_however_fast_the_model_is(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = []
    save = reply_leases.save

    def counted(*arguments: object, **named: object) -> object:
        saves.append(time.monotonic())
        return save(*arguments, **named)

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


async def test_a_watcher_who_looks_away_for_a_moment_misses_nothing_that_another_one_sees(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = server.reply("one two three", hold_after=[1, 2])
    conversation = await room.send()
    attentive = Watcher(room, conversation)
    await until(lambda: attentive.text == "one ")
    monkeypatch.setattr(throttle, "UPDATE_SECONDS", 0.3)
    other = Watcher(room, conversation)
    await until(lambda: other.text == "one ")  # and now it waits before it looks again
    script.release()
    await until(lambda: attentive.text == "one two ")
    await until(lambda: other.text == "one two ")
    script.release()
    await asyncio.gather(attentive.task, other.task)
    assert attentive.seen[-1] == other.seen[-1]


async def test_a_watcher_that_goes_away_disturbs_nobody(room: Room, server: ScriptedServer) -> None:
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


async def test_what_is_seen_can_be_shown_and_stored_whatever_the_model_sends(
    room: Room, server: ScriptedServer
) -> None:
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


async def test_watching_a_reply_that_has_ended_gives_its_text_and_the_conversation(room: Room) -> None:
    conversation = await room.send()
    await room.ended(conversation)
    (seen,) = await room.watched(conversation)
    assert seen == Progress("Answer 1 to: Hello", await room.now(conversation))


async def test_watching_what_does_not_exist_is_not_found(room: Room) -> None:
    conversation = await room.ask()
    for conversation_id, message_id in ((new_id(), new_id()), (conversation.conversation_id, new_id())):
        with pytest.raises(NotFound):
            await anext(room.service.watch(conversation_id, message_id))


async def test_a_reply_goes_on_while_the_person_looks_at_another_conversation(
    room: Room, server: ScriptedServer
) -> None:
    script = server.reply("one two three", hold_after=1)
    conversation = await room.send("First")
    await room.shows(conversation, "one ")
    elsewhere = await room.ask("Second")
    assert last(elsewhere).text == "Answer 2 to: Second"
    script.release()
    assert last(await room.ended(conversation)).text == "one two three"


# A reply that another process writes


async def test_a_reply_of_another_process_is_followed_to_its_end(
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


async def test_stop_works_from_another_process(room: Room, neighbour: Room, server: ScriptedServer) -> None:
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


async def test_a_reply_lives_as_long_as_somebody_watches_it_from_another_process(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = server.reply("one two three", hold_after=1)
    conversation = await room.send()
    watcher = Watcher(neighbour, conversation)
    await until(lambda: watcher.text == "one ")
    nobody_watches_for(monkeypatch, 2 * LINGER_SECONDS)
    before = room.draft(conversation).lease_until
    await until(lambda: room.draft(conversation).lease_until > before + timedelta(seconds=0.2))
    await watcher.leave()
    assert room.kinds(conversation)[-1] == "reply_started"
    pass_time(monkeypatch, 2 * LINGER_SECONDS)
    await until(lambda: "reply_finished" in room.kinds(conversation))
    assert (room.finished(conversation).text, room.finished(conversation).status) == ("one ", "left")
    assert await asyncio.to_thread(script.left.wait, 10)


async def test_a_note_of_somebody_watching_says_when_that_was_however_late_it_is_stored(
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


async def test_a_process_that_starts_never_touches_the_live_reply_of_a_neighbour(
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


async def test_a_process_whose_reply_was_taken_over_stops_writing_it(
    room: Room, neighbour: Room, server: ScriptedServer
) -> None:
    script = server.reply("one two three", hold_after=1)
    conversation = await room.send()
    await room.draft_says(conversation, "one ")
    owner, later = neighbour.store.owner, datetime.now(UTC) + timedelta(minutes=1)

    def take_over(tx: Transaction) -> reply_leases.Draft | None:
        found = reply_leases.find(tx, conversation.writing_id)
        return reply_leases.claim(tx, found, owner, later) if found else None

    assert neighbour.store.writer.submit(take_over).result(10) is not None
    ended = await room.ended(conversation)
    assert (last(ended).text, last(ended).status) == ("one ", "interrupted")
    assert await asyncio.to_thread(script.left.wait, 10)
    assert room.kinds(conversation).count("reply_finished") == 1

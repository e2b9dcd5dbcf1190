"""Recovery of replies whose process died, by a start and by watchers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.types import new_id
from chatfeedback.generation import checkpoints
from chatfeedback.generation.shielded import await_commit
from chatfeedback.inference.client import Endpoint
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.log.event_store import now
from conversation_builder import People
from openai_server import ScriptedServer
from services.service_harness import Room, held, last, open_room, pass_time, texts, until

TESTS = Path(__file__).parent.parent
STORY = "Once upon a time there was a story"


@pytest.fixture
async def survivor(database_url: str, people: People, endpoint: Endpoint) -> AsyncIterator[Room]:
    """Another process on the same database, which goes on."""
    async with open_room(database_url, people, [endpoint]) as opened:
        yield opened


@contextmanager
def process(database_url: str, people: People, server: ScriptedServer) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, str(TESTS / "services" / "dying_process.py"), database_url, server.url, people.ada]
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
    ) as started:
        try:
            yield started
        finally:
            started.kill()


async def begun(child: subprocess.Popen[str], survivor: Room) -> Conversation:
    """Return the conversation that the process has begun."""
    assert child.stdout is not None
    conversation_id = (await asyncio.to_thread(child.stdout.readline)).strip()
    return await survivor.service.conversation(survivor.ada, conversation_id)


async def kill(child: subprocess.Popen[str]) -> None:
    child.kill()  # SIGKILL: it cannot be handled
    assert await asyncio.to_thread(child.wait) == -9


@pytest.mark.process
async def test_recovery_at_start_ends_reply_of_killed_process_with_last_checkpoint(
    database_url: str, people: People, server: ScriptedServer, survivor: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = server.reply(STORY, hold_after=[3, 6])
    with process(database_url, people, server) as child:
        conversation = await begun(child, survivor)
        await survivor.draft_says(conversation, STORY[:12])
        script.release()
        await held(script)
        assert await survivor.service.start() == 0, "it is alive"
        await kill(child)
    assert await survivor.service.start() == 0, "its lease has not expired"
    assert (await survivor.now(conversation)).writing_id is not None
    pass_time(monkeypatch, reply_leases.LEASE.total_seconds() + 1)
    await survivor.takes_over(conversation)
    after = await survivor.now(conversation)
    assert (last(after).status, after.writing_id) == ("interrupted", None)
    assert last(after).text in (STORY[:12], STORY[:24]), "whether the second was over or not"
    assert await survivor.service.start() == 0
    assert survivor.kinds(after).count("reply_finished") == 1
    assert survivor.draft(conversation) is None
    again = await survivor.ended(await survivor.retry(after))
    assert texts(again) == ["Tell me a story", "Answer 2 to: Tell me a story"]


@pytest.mark.process
async def test_recovery_by_watcher_ends_reply_of_killed_process(
    database_url: str, people: People, server: ScriptedServer, survivor: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply(STORY, hold_after=3)
    with process(database_url, people, server) as child:
        conversation = await begun(child, survivor)
        watching = asyncio.create_task(survivor.watched(conversation))
        await survivor.draft_says(conversation, STORY[:12])
        await kill(child)
    pass_time(monkeypatch, reply_leases.LEASE.total_seconds() + 1)
    updates = await watching
    assert (updates[-1].text, last(updates[-1].conversation).status) == (STORY[:12], "interrupted")
    assert updates[-1].conversation == await survivor.now(conversation)


async def held_reply(room: Room, server: ScriptedServer) -> Conversation:
    """Start a reply that then pauses, and return its conversation."""
    script = server.reply(STORY, hold_after=3)
    conversation = await room.send("Tell me a story")
    await held(script)
    return conversation


async def test_recovery_ends_reply_once_when_starts_and_watchers_race(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 3600)  # it hangs, and does not renew its lease
    script = server.reply(STORY, hold_after=3)
    conversation = await room.send("Tell me a story")
    await held(script)
    pass_time(monkeypatch, reply_leases.LEASE.total_seconds() + 1)
    finding = [neighbour.service.start() for _ in range(5)]
    watching = [neighbour.ended(conversation) for _ in range(5)]
    await asyncio.gather(*finding, *watching)
    assert neighbour.kinds(conversation).count("reply_finished") == 1
    assert neighbour.finished(conversation).status == "interrupted"
    assert last(await room.stop(conversation)).status == "interrupted", "there is nothing left to stop"
    script.release()

    async def came_back() -> bool:
        return last(await room.now(conversation)).text == STORY

    await until(came_back)
    assert last(await room.now(conversation)).status == "complete", "who was taken for dead loses nothing"


async def test_recovery_by_watcher_ends_reply_when_its_draft_is_missing(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 3600)
    conversation = await held_reply(room, server)
    writing_id = conversation.writing_id
    assert writing_id is not None
    room.store.writer.submit(lambda tx: reply_leases.end(tx, writing_id)).result(10)
    ended = await neighbour.ended(conversation)
    assert (last(ended).text, last(ended).status, ended.writing_id) == ("", "interrupted", None)


async def test_recovery_spares_own_reply_when_its_lease_has_expired(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 3600)
    script = server.reply(STORY, hold_after=3)
    conversation = await room.send("Tell me a story")
    await room.shows(conversation, STORY[:12])
    pass_time(monkeypatch, reply_leases.LEASE.total_seconds() + 1)
    assert await room.service.start() == 0
    script.release()
    ended = await room.ended(conversation)
    assert (last(ended).text, last(ended).status) == (STORY, "complete")


async def test_recovery_repeats_after_start(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_leases, "LEASE", reply_leases.LEASE / 300)  # which sets the interval of recovery, too
    assert await neighbour.service.start() == 0
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 3600)
    server.reply(STORY, hold_after=0)
    conversation = await room.send("Tell me a story")
    await until(lambda: "reply_finished" in room.kinds(conversation))
    assert room.finished(conversation).status == "interrupted"


async def test_recovery_drops_draft_without_reply(survivor: Room) -> None:
    begun_at = now() - 2 * reply_leases.LEASE
    nowhere = new_id()
    future = survivor.store.writer.submit(lambda tx: reply_leases.begin(tx, nowhere, nowhere, "dead", begun_at))
    await await_commit(future)

    async def is_dropped() -> bool:
        await survivor.service.start()
        with survivor.store.reading() as tx:
            return reply_leases.find(tx, nowhere) is None

    await until(is_dropped)

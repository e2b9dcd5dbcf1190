"""A process that dies in the middle of a reply, and whoever finds what it left."""

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
    """The conversation that the process talks in."""
    assert child.stdout is not None
    conversation_id = (await asyncio.to_thread(child.stdout.readline)).strip()
    return await survivor.service.conversation(survivor.ada, conversation_id)


async def kill(child: subprocess.Popen[str]) -> None:
    child.kill()  # SIGKILL: it has no say in it
    assert await asyncio.to_thread(child.wait) == -9


@pytest.mark.process
async def test_the_reply_of_a_killed_process_is_ended_by_the_next_start_with_all_but_its_last_second(
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
async def test_the_reply_of_a_killed_process_is_ended_by_whoever_watches_it(
    database_url: str, people: People, server: ScriptedServer, survivor: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply(STORY, hold_after=3)
    with process(database_url, people, server) as child:
        conversation = await begun(child, survivor)
        watching = asyncio.create_task(survivor.watched(conversation))
        await survivor.draft_says(conversation, STORY[:12])
        await kill(child)
    pass_time(monkeypatch, reply_leases.LEASE.total_seconds() + 1)
    seen = await watching
    assert (seen[-1].text, last(seen[-1].conversation).status) == (STORY[:12], "interrupted")
    assert seen[-1].conversation == await survivor.now(conversation)


async def held_reply(room: Room, server: ScriptedServer) -> Conversation:
    """A conversation whose reply has begun and does not go on."""
    script = server.reply(STORY, hold_after=3)
    conversation = await room.send("Tell me a story")
    await held(script)
    return conversation


async def test_many_who_find_the_same_dead_reply_end_it_once(
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


async def test_a_reply_whose_draft_did_not_come_along_with_the_log_is_ended_by_who_opens_it(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 3600)
    conversation = await held_reply(room, server)
    writing_id = conversation.writing_id
    assert writing_id is not None
    room.store.writer.submit(lambda tx: reply_leases.end(tx, writing_id)).result(10)
    ended = await neighbour.ended(conversation)
    assert (last(ended).text, last(ended).status, ended.writing_id) == ("", "interrupted", None)


async def test_a_process_never_takes_its_own_reply_for_dead_however_long_it_slept(
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


async def test_a_service_looks_for_dead_replies_again_and_again(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_leases, "LEASE", reply_leases.LEASE / 300)  # and that often it looks
    assert await neighbour.service.start() == 0
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 3600)
    server.reply(STORY, hold_after=0)
    conversation = await room.send("Tell me a story")
    await until(lambda: "reply_finished" in room.kinds(conversation))
    assert room.finished(conversation).status == "interrupted"


async def test_a_draft_that_belongs_to_no_reply_is_dropped(survivor: Room) -> None:
    begun_at = now() - 2 * reply_leases.LEASE
    nowhere = new_id()
    future = survivor.store.writer.submit(lambda tx: reply_leases.begin(tx, nowhere, nowhere, "dead", begun_at))
    await await_commit(future)

    async def is_dropped() -> bool:
        await survivor.service.start()
        with survivor.store.reading() as tx:
            return reply_leases.find(tx, nowhere) is None

    await until(is_dropped)

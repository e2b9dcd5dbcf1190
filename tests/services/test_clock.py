"""A clock that is set back: order and leases stay correct, and no wait lasts until it catches up."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest

from chatfeedback.generation import checkpoints, manager, recovery
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database.clock import now
from chatfeedback.store.log import event_store
from openai_server import ScriptedServer
from services.service_harness import Room, held, last, texts

HOUR = timedelta(hours=1)
STORY = "Once upon a time there was a story"


def set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the clock back by an hour for all code that stores events or writes and watches replies."""
    for module in (checkpoints, recovery, manager, event_store):
        monkeypatch.setattr(module, "now", lambda: now() - HOUR)


async def test_conversation_keeps_order_of_events_when_clock_is_set_back(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = server.reply(STORY, hold_after=1)
    before = await room.send("Tell me a story")
    await room.draft_says(before, "Once")
    set_back(monkeypatch)
    script.release()
    first = await room.ended(before)
    assert (last(first).text, last(first).status) == (STORY, "complete"), "nobody took it for abandoned"
    second = await room.ended(await room.send("Another one", first))
    assert texts(second)[::2] == ["Tell me a story", "Another one"]
    log = room.store.events_of(second.conversation_id)
    assert [event.version for event in log] == list(range(1, len(log) + 1))
    assert [event.position for event in log] == sorted(event.position or 0 for event in log)
    recorded = [event.recorded_at for event in log if event.recorded_at]
    assert recorded != sorted(recorded), "the instants are those of the clock as it was"
    assert await room.now(second) == second


async def test_recovery_ends_dead_reply_when_its_lease_is_in_future(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 3600)  # it hangs, and does not renew its lease
    script = server.reply(STORY, hold_after=3)
    conversation = await room.send("Tell me a story")
    await held(script)
    set_back(monkeypatch)
    assert await neighbour.service.start() == 0, "its owner may only not have renewed it yet"
    await neighbour.takes_over(conversation)
    assert last(await neighbour.now(conversation)).status == "interrupted"
    script.release()


async def test_recovery_spares_live_reply_when_clock_of_its_process_is_ahead(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "LEASE_GRACE_SECONDS", 3600)
    script = server.reply(STORY, hold_after=1)
    conversation = await room.send("Tell me a story")
    await room.draft_says(conversation, "Once")
    ahead = now() + reply_leases.LEASE + HOUR

    async def renewed() -> None:
        nonlocal ahead
        ahead += timedelta(seconds=1)
        save = lambda tx: reply_leases.save(tx, room.store.lease_owner, {conversation.writing_id: "Once"}, ahead)  # noqa: E731
        await asyncio.wrap_future(room.store.submit(save))

    for hours in range(3):
        await renewed()
        later = SimpleNamespace(monotonic=lambda hours=hours: time.monotonic() + 3600 * hours)
        monkeypatch.setattr(recovery, "time", later)
        assert await neighbour.service.start() == 0
    script.release()
    assert last(await room.ended(conversation)).text == STORY

"""Recovery: proof that a process is dead, and failures that do not spread to other replies."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import StoreError
from chatfeedback.generation import checkpoints, recovery
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.log.statements import Transaction
from openai_server import ScriptedServer
from services.outage import Outage
from services.service_harness import Room, held, last, pass_time, until

STORY = "Once upon a time there was a story"


async def hanging(room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Conversation:
    """Start a reply and let its lease expire."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 3600)
    script = server.reply(STORY, hold_after=3)
    conversation = await room.send("Tell me a story")
    await held(script)
    pass_time(monkeypatch, reply_leases.LEASE.total_seconds() + 1)
    return conversation


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(recovery, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + seconds))


async def is_being_written(room: Room, conversation: Conversation) -> bool:
    return (await room.now(conversation)).writing_id is not None


async def test_recovery_waits_for_grace_period_when_lease_has_expired(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "LEASE_GRACE_SECONDS", 3600)
    conversation = await hanging(room, server, monkeypatch)
    watching = neighbour.service.watch(conversation.conversation_id, str(conversation.writing_id))
    await anext(watching)
    assert await neighbour.service.start() == 0, "the database may have been away"
    assert await is_being_written(room, conversation)
    later(monkeypatch, 3601)
    *_, end = [progress async for progress in watching]
    assert last(end.conversation).status == "interrupted"


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_recovery_restarts_grace_period_after_outage(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "LEASE_GRACE_SECONDS", 3600)
    conversation = await hanging(room, server, monkeypatch)
    outage = Outage(neighbour)
    assert await neighbour.service.start() == 0
    outage.begin()
    assert await neighbour.service.start() == 0, "a start does not wait for it"
    outage.end()
    later(monkeypatch, 3601)
    assert await neighbour.service.start() == 0
    assert await is_being_written(room, conversation)
    later(monkeypatch, 7202)
    assert await neighbour.service.start() == 1


async def test_recovery_spares_reply_when_lease_is_renewed_just_before_claim(
    room: Room, neighbour: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await hanging(room, server, monkeypatch)
    claims = []

    def claim(tx: Transaction, draft: reply_leases.Draft, *args: Any) -> reply_leases.Draft | None:
        claims.append(draft)
        reply_leases.save(tx, room.store.lease_owner, {draft.message_id: draft.text}, checkpoints.now())
        return really(tx, draft, *args)

    really = reply_leases.claim
    monkeypatch.setattr(reply_leases, "claim", claim)
    ended = []

    async def is_tried() -> bool:
        ended.append(await neighbour.service.start())
        return bool(claims)

    await until(is_tried)
    assert sum(ended) == 0
    assert await is_being_written(room, conversation)


async def test_recovery_ends_other_replies_when_one_cannot_be_ended(
    room: Room,
    neighbour: Room,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused, *others = [await hanging(room, server, monkeypatch) for _ in range(3)]

    def claim(tx: Transaction, draft: reply_leases.Draft, *args: Any) -> reply_leases.Draft | None:
        if draft.message_id == refused.writing_id:
            raise StoreError("This cannot be stored.")
        return really(tx, draft, *args)

    really = reply_leases.claim
    monkeypatch.setattr(reply_leases, "claim", claim)
    for other in others:
        await neighbour.takes_over(other)
    assert await is_being_written(room, refused)
    assert f"reply {refused.writing_id}, which a dead process left behind, is not ended yet" in caplog.text
    monkeypatch.setattr(reply_leases, "claim", really)
    await neighbour.takes_over(refused)


async def test_recovery_logs_unexpected_error_and_runs_again(
    room: Room,
    neighbour: Room,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    conversation = await hanging(room, server, monkeypatch)
    with monkeypatch.context() as broken:
        broken.delattr(reply_leases, "expired")
        monkeypatch.setattr(reply_leases, "LEASE", reply_leases.LEASE / 300)  # which sets the interval of recovery, too
        assert await neighbour.service.start() == 0
        await until(lambda: len([record for record in caplog.records if record.exc_info]) > 1)
    await until(lambda: "reply_finished" in room.kinds(conversation))

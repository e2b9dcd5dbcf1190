"""Checkpoints store the texts of all running replies together; one failure does not affect the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
from asgi_correlation_id import correlation_id

from chatfeedback.errors import ChatFeedbackError, StoreError
from chatfeedback.generation import checkpoints
from chatfeedback.generation.running_reply import NOT_STORED_YET, RunningReply
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.log.statements import Transaction
from openai_server import ScriptedServer
from services.reply_watcher import next_of, stuck_writes
from services.service_harness import Room, held, last, until

STORY = "Once upon a time"


async def test_checkpoint_reports_hung_save_and_stores_text_later(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.05)
    script = server.reply(STORY, hold_after=1)
    conversation = await room.send()
    watching = room.service.watch(conversation.conversation_id, conversation.writing_id)
    await next_of(watching, lambda update: update.text == "Once")
    with stuck_writes(room):
        warning = await next_of(watching, lambda update: update.notice)
        assert warning.notice == NOT_STORED_YET
    assert (await next_of(watching, lambda update: not update.notice)).text == "Once"
    await room.draft_says(conversation, "Once")
    script.release()
    *_, update = [progress async for progress in watching]
    assert (last(update.conversation).text, last(update.conversation).status) == (STORY, "complete")


async def test_checkpoint_stores_text_when_all_saves_complete_late(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.05)
    given_up, note = asyncio.Event(), checkpoints._report_error

    def noticed(replies: Sequence[RunningReply], error: ChatFeedbackError) -> None:
        note(replies, error)
        given_up.set()

    monkeypatch.setattr(checkpoints, "_report_error", noticed)
    script = server.reply(STORY, hold_after=[1, 2])
    conversation = await room.send()
    watching = room.service.watch(conversation.conversation_id, conversation.writing_id)
    await held(script)
    await room.draft_says(conversation, "Once")
    with stuck_writes(room):
        script.release()
        await next_of(watching, lambda update: update.text == "Once upo")
        for _ in range(3):  # the last one at least was begun with this text
            given_up.clear()
            await given_up.wait()
        monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 3600)
        given_up.clear()
        with contextlib.suppress(TimeoutError):  # one more, where it was about to begin
            await asyncio.wait_for(given_up.wait(), 1)
    await room.draft_says(conversation, "Once upo")
    script.release()


async def test_checkpoint_runs_without_correlation_id_of_request(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = server.reply(STORY, hold_after=1)
    correlation_id.set("of the first request")
    conversation = await room.send()
    correlation_ids: list[str | None] = []
    apply_signals = room.service._replies._checkpointer._apply_signals

    def noticed(*args: Any) -> None:
        correlation_ids.append(correlation_id.get())
        apply_signals(*args)

    monkeypatch.setattr(room.service._replies._checkpointer, "_apply_signals", noticed)
    await until(lambda: correlation_ids)
    assert set(correlation_ids) == {None}
    script.release()
    assert last(await room.ended(conversation)).text == STORY


async def test_checkpoint_stores_other_replies_when_one_is_refused(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refusing(
        tx: Transaction, owner: str, texts: Mapping[str, str], now: datetime
    ) -> dict[str, reply_leases.LeaseSignals]:
        if any("Refused" in text for text in texts.values()):
            raise StoreError("This cannot be stored.")
        return save(tx, owner, texts, now)

    save = reply_leases.save
    monkeypatch.setattr(reply_leases, "save", refusing)
    scripts = server.reply("Refused it is", hold_after=2), server.reply(STORY, hold_after=1)
    refused = await room.send("One")
    await held(scripts[0])
    stored = await room.send("Two")
    await room.draft_says(stored, "Once")
    watching = room.service.watch(refused.conversation_id, refused.writing_id)
    assert (await next_of(watching, lambda update: update.notice)).notice == NOT_STORED_YET
    assert f"the text so far of reply {refused.writing_id} is refused" in caplog.text
    for script in scripts:
        script.release()
    assert last(await room.ended(stored)).text == STORY
    assert last(await room.ended(refused)).text == "Refused it is"


async def test_checkpoint_interrupts_reply_with_full_text_and_logs_error_when_save_raises(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("a mistake")

    script = server.reply(STORY, hold_after=1)
    conversation = await room.send()
    await room.shows(conversation, "Once")
    with monkeypatch.context() as patched:
        patched.setattr(reply_leases, "save", broken)
        ended = await room.ended(conversation)
    assert (last(ended).text, last(ended).status) == ("Once", "interrupted")
    record = next(one for one in caplog.records if one.levelname == "ERROR")
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "a mistake"
    assert await asyncio.to_thread(script.left.wait, 10)
    server.reply("Another one")
    assert last(await room.ask("Go on", ended)).text == "Another one", "the next one is kept"

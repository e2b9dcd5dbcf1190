"""Replies that were running when a backup was made, in the restored database."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatfeedback.inference.client import Endpoint
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database import backup
from chatfeedback.store.maintenance import check
from openai_server import ScriptedServer
from services.service_harness import Room, held, last, open_room, pass_time, texts

STORY = "Once upon a time there was a story"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_recovery_ends_restored_reply_with_text_of_backup_when_lease_expires(
    database_url: str,
    room: Room,
    server: ScriptedServer,
    endpoint: Endpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = server.reply(STORY, hold_after=3)
    conversation = await room.send("Tell me a story")
    await held(script)
    await room.draft_says(conversation, STORY[:12])
    file, restored_url = tmp_path / "monday.db", f"sqlite:///{tmp_path}/new.db"
    backup.back_up(database_url, file, False, lambda done, total: None)
    script.release()
    assert last(await room.ended(conversation)).text == STORY
    backup.restore(restored_url, file, False, lambda done, total: None)
    async with open_room(restored_url, room.people, [endpoint]) as restored:
        assert await restored.service.start() == 0, "its lease has not expired"
        pass_time(monkeypatch, reply_leases.LEASE.total_seconds() + 1)
        await restored.takes_over(conversation)
        after = await restored.now(conversation)
        assert (last(after).text, last(after).status) == (STORY[:12], "interrupted")
        again = await restored.ended(await restored.retry(after))
        assert texts(again)[0] == "Tell me a story"
    assert check(restored_url) == []

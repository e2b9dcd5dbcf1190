"""Helpers that block writes and watch a reply in trouble."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator

from sqlalchemy import text

from chatfeedback.generation.running_reply import Progress
from services.service_harness import PATIENCE_SECONDS, Room


@contextlib.contextmanager
def stuck_writes(room: Room) -> Iterator[None]:
    """Block writes of drafts, so that they neither succeed nor fail."""
    if room.store.engine.dialect.name == "sqlite":
        go_on = threading.Event()
        room.store.writer.submit(lambda _tx: go_on.wait(PATIENCE_SECONDS))
        try:
            yield
        finally:
            go_on.set()
    else:
        with room.store.engine.begin() as connection:
            connection.execute(text("LOCK TABLE reply_drafts IN EXCLUSIVE MODE"))
            yield


async def next_of(watching: AsyncIterator[Progress], condition: Callable[[Progress], object]) -> Progress:
    """Return the next progress that fulfils the condition."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for progress in watching:
            if condition(progress):
                return progress
    raise AssertionError("the reply ended before that")

"""Pacing: limit the share of the event loop that one stream takes.

A server may send as fast as the network carries. Then the socket always has data, and reading it never waits. Without
a limit, the requests of all users share the event loop with one stream that is always ready.
"""

from __future__ import annotations

import asyncio
import time

SLICE_SECONDS = 0.001
"""Work of a stream after which it rests."""
MAX_REST_SECONDS = 0.05
"""Longest rest, also after a consumer that took long."""


class Pacer:
    """Pacer of one stream: it rests as long as it has worked, so it takes half of the event loop at most.

    Waiting for the server counts as rest, so a stream at the pace of a model never rests.
    """

    def __init__(self) -> None:
        self._work = 0.0
        self._since = time.perf_counter()

    def resume(self) -> None:
        """Note that the stream has waited for data, and that its work begins."""
        now = time.perf_counter()
        self._work = max(0.0, self._work - (now - self._since))
        self._since = now

    async def pause(self) -> None:
        """Note that a slice of work is done; rest if the stream has worked for long."""
        self._work += time.perf_counter() - self._since
        if self._work >= SLICE_SECONDS:
            await asyncio.sleep(min(self._work, MAX_REST_SECONDS))
            self._work = 0.0
        self._since = time.perf_counter()

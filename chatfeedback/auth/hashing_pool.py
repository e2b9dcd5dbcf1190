"""Hashing pool: threads of their own for work that hashes passwords, and a bounded queue for them.

A hash occupies all cores for a tenth of a second, so a flood of sign-ins makes a long queue. In the thread pool that
looks up sessions, this queue would stop everybody who is signed in.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from chatfeedback.errors import TooMany

P = ParamSpec("P")
T = TypeVar("T")

MAX_CONCURRENT_HASHES = 2
"""Limit for memory: each hash takes 64 MiB for a moment."""
MAX_WAITING = 100
"""Pieces of work that wait at most: about ten seconds on two cores."""
RETRY_SECONDS = 5
NICENESS = 10
"""Priority of the threads on Linux, so that hashes use only the time that nobody else needs."""


class HashingPool:
    """Pool for work that hashes passwords. To be used from one event loop."""

    def __init__(self, *, threads: int = MAX_CONCURRENT_HASHES, max_waiting: int = MAX_WAITING) -> None:
        self._executor = ThreadPoolExecutor(threads, "chatfeedback-hashing", initializer=_lower_priority)
        self._capacity = threads + max_waiting
        self._size = 0

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a thread of the pool. What is cancelled while it waits is not run.

        Raises TooMany, before anything is done, if too much waits already.
        """
        if self._size >= self._capacity:
            raise TooMany("Too many people sign in at the moment; try again in a few seconds.", RETRY_SECONDS)
        self._size += 1
        try:
            return await asyncio.wrap_future(self._executor.submit(work, *args, **kwargs))
        finally:
            self._size -= 1

    def close(self) -> None:
        """End the threads after the work that is being done; drop what waits."""
        self._executor.shutdown(wait=True, cancel_futures=True)


def _lower_priority() -> None:
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)

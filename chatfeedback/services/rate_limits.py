"""Rate limits of one person: replies per minute and concurrent replies.

They count per process: with several processes, each has its own counts.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from chatfeedback.errors import TooMany

MINUTE = 60.0


class RateLimiter:
    """Rate limiter for replies, by annotator. None for a limit disables it."""

    def __init__(self, *, messages_per_minute: int | None = None, streams_at_once: int | None = None) -> None:
        self._max_per_minute = messages_per_minute
        self._max_concurrent = streams_at_once
        self._request_times: dict[str, deque[float]] = {}
        """Monotonic times of the requests of the last minute by annotator, oldest first."""
        self._pending: defaultdict[str, int] = defaultdict(int)
        """Replies by annotator that are requested and not yet running."""

    @contextmanager
    def slot(self, annotator_id: str, running: int) -> Iterator[None]:
        """Reserve a slot for a reply that is requested in the block; `running` replies count too.

        Raises TooMany before the block, beyond a limit. A reply that the block refuses still counts in its minute.
        """
        if self._max_concurrent is not None and running + self._pending[annotator_id] >= self._max_concurrent:
            raise TooMany(
                f"{_pluralize(self._max_concurrent, 'reply is', 'replies are')} being written for you at once already; "
                "wait for one to end, or stop it.",
                1.0,
            )
        self._count_request(annotator_id)
        self._pending[annotator_id] += 1
        try:
            yield
        finally:
            self._pending[annotator_id] -= 1
            if not self._pending[annotator_id]:
                del self._pending[annotator_id]

    def _count_request(self, annotator_id: str) -> None:
        if self._max_per_minute is None:
            return
        now = time.monotonic()
        for key in [key for key, times in self._request_times.items() if times[-1] <= now - MINUTE]:
            del self._request_times[key]
        times = self._request_times.setdefault(annotator_id, deque())
        while times and times[0] <= now - MINUTE:
            times.popleft()
        if len(times) >= self._max_per_minute:
            wait = times[0] + MINUTE - now
            raise TooMany(
                f"You have asked for {_pluralize(self._max_per_minute, 'reply', 'replies')} in the last minute, "
                f"which is the most; go on in {max(1, round(wait))} s.",
                wait,
            )
        times.append(now)


def _pluralize(count: int, singular: str, plural: str) -> str:
    return f"{count} {singular if count == 1 else plural}"

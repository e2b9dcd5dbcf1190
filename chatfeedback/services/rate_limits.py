"""How much one person may ask of the models: replies in a minute, and replies that are written at once.

Counted in this process: where several serve the same people, each has counts of its own.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from chatfeedback.errors import TooMany

MINUTE = 60.0


class Limits:
    """None: there is no such limit."""

    def __init__(self, *, messages_per_minute: int | None = None, streams_at_once: int | None = None) -> None:
        self._per_minute = messages_per_minute
        self._at_once = streams_at_once
        self._asked: dict[str, deque[float]] = {}
        """When somebody's replies of the last minute were asked for, oldest first."""
        self._asking: defaultdict[str, int] = defaultdict(int)
        """Replies that are being asked for, and not yet written."""

    @contextmanager
    def slot(self, annotator_id: str, written: int) -> Iterator[None]:
        """Counts a reply that is asked for in the block, beside the `written` that are being written.

        Raises TooMany before the block for one too many; a reply that is refused for another reason counts all the
        same in its minute.
        """
        if self._at_once is not None and written + self._asking[annotator_id] >= self._at_once:
            raise TooMany(
                f"{_counted(self._at_once, 'reply is', 'replies are')} being written for you at once already; wait for "
                "one to end, or stop it.",
                1.0,
            )
        self._count(annotator_id)
        self._asking[annotator_id] += 1
        try:
            yield
        finally:
            self._asking[annotator_id] -= 1
            if not self._asking[annotator_id]:
                del self._asking[annotator_id]

    def _count(self, annotator_id: str) -> None:
        if self._per_minute is None:
            return
        now = time.monotonic()
        for someone in [key for key, asked in self._asked.items() if asked[-1] <= now - MINUTE]:
            del self._asked[someone]
        asked = self._asked.setdefault(annotator_id, deque())
        while asked and asked[0] <= now - MINUTE:
            asked.popleft()
        if len(asked) >= self._per_minute:
            wait = asked[0] + MINUTE - now
            raise TooMany(
                f"You have asked for {_counted(self._per_minute, 'reply', 'replies')} in the last minute, which is the "
                f"most; go on in {max(1, round(wait))} s.",
                wait,
            )
        asked.append(now)


def _counted(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"

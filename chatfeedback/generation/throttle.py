"""How often a reply is painted while it is written: as often as this process can bear.

To paint a reply costs far more than to read a token of it. When more is painted than the event loop has time for,
everything in it is late, the first word of the next reply by many seconds. So the pauses between two paintings, of all
replies alike, grow while the loop wakes later than it was asked to, and shrink again when it does not. Nothing about
the machine has to be known for that: the lateness itself is what is kept small, whatever it comes from.
"""

from __future__ import annotations

import asyncio
import time

SCREEN_SECONDS = 0.22
"""Between two paintings of a reply when there is time for it: four to five a second, however fast the model is."""
MAX_FACTOR = 8.0
"""How many times as long a pause becomes at most."""
MAX_LAG_SECONDS = 0.02
"""How late the loop may wake on average before the pauses grow."""
STEP_SECONDS = 0.25
"""Between two changes, so that each is felt before the next."""
_GROW, _SHRINK = 1.5, 0.9
_NEWEST = 0.2
"""The weight of one pause in the average."""


class UpdateThrottle:
    """Of all replies that are painted in one event loop."""

    def __init__(self) -> None:
        self._factor = 1.0
        self._late = 0.0
        self._changed = time.monotonic()

    @property
    def seconds(self) -> float:
        """Between two paintings of a reply, now."""
        return SCREEN_SECONDS * self._factor

    async def pause(self, over: asyncio.Future[None]) -> None:
        """Waits between two paintings, and no longer than until the reply is `over`."""
        due = time.monotonic() + self.seconds
        ended, _ = await asyncio.wait([over], timeout=self.seconds)
        if not ended:
            self._note(time.monotonic() - due)

    def _note(self, late: float) -> None:
        self._late += (late - self._late) * _NEWEST
        if time.monotonic() - self._changed >= STEP_SECONDS:
            self._changed = time.monotonic()
            stretch = self._factor * (_GROW if self._late > MAX_LAG_SECONDS else _SHRINK)
            self._factor = min(max(stretch, 1.0), MAX_FACTOR)

"""Update throttle: adapt the interval between updates of a reply to the lag of the event loop.

Rendering an update costs far more than reading a token. If updates take more time than the event loop has, everything
in it is late, the first word of the next reply by many seconds. So the interval, one for all replies, grows while the
loop wakes late and shrinks again when it does not. The controller needs no knowledge of the machine: it keeps the lag
small, whatever its cause.
"""

from __future__ import annotations

import asyncio
import time

UPDATE_SECONDS = 0.22
"""Shortest interval between two updates of a reply: four to five a second, however fast the model is."""
MAX_FACTOR = 8.0
"""Largest factor on the interval."""
MAX_LAG_SECONDS = 0.02
"""Mean lag of the event loop above which the interval grows."""
STEP_SECONDS = 0.25
"""Time between two changes of the factor, so that each takes effect before the next."""
DRAWING_REST = 4.0
"""Pause after an update as a multiple of the time that it took: drawing takes a fifth of the event loop at most."""
_GROWTH, _DECAY = 1.5, 0.9
_LAG_WEIGHT = 0.2
"""Weight of the newest lag in the exponential moving average."""


class UpdateThrottle:
    """Throttle shared by the updates of all replies in one event loop."""

    def __init__(self) -> None:
        self._factor = 1.0
        self._mean_lag = 0.0
        self._changed = time.monotonic()

    @property
    def seconds(self) -> float:
        """Current interval between two updates of a reply."""
        return UPDATE_SECONDS * self._factor

    def seconds_after(self, drawing_seconds: float) -> float:
        """Return the interval after an update that took this time to draw."""
        return max(self.seconds, min(drawing_seconds * DRAWING_REST, UPDATE_SECONDS * MAX_FACTOR))

    async def pause(self, finished: asyncio.Future[None], drawing_seconds: float = 0.0) -> None:
        """Wait one interval, or until the reply is `finished`; longer after an update that took long to draw."""
        seconds = self.seconds_after(drawing_seconds)
        due = time.monotonic() + seconds
        done, _ = await asyncio.wait([finished], timeout=seconds)
        if not done:
            self._record_lag(time.monotonic() - due)

    def _record_lag(self, lag: float) -> None:
        self._mean_lag += (lag - self._mean_lag) * _LAG_WEIGHT
        if time.monotonic() - self._changed >= STEP_SECONDS:
            self._changed = time.monotonic()
            factor = self._factor * (_GROWTH if self._mean_lag > MAX_LAG_SECONDS else _DECAY)
            self._factor = min(max(factor, 1.0), MAX_FACTOR)

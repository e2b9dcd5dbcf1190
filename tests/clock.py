"""Clock that stands still until a test moves it on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    """Call it for the time; add a timedelta to move it on."""

    def __init__(self) -> None:
        self._now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self._now

    def __iadd__(self, more: timedelta) -> Clock:
        self._now += more
        return self

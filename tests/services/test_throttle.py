"""Update throttle: pauses grow while the event loop lags, and shrink afterwards."""

from __future__ import annotations

import asyncio

import pytest

from chatfeedback.generation import throttle
from chatfeedback.generation.throttle import UpdateThrottle


class LateLoop:
    """Event loop that lags on demand, and the clock of the throttle."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = 0.0
        monkeypatch.setattr(throttle, "time", self)
        self.pace = UpdateThrottle()
        self._reply: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def monotonic(self) -> float:
        return self._now

    async def paused(self, *, late: float) -> float:
        """Wait for one pause, and return the seconds of the next."""
        asyncio.get_running_loop().call_soon(self._pass, self.pace.seconds + late)
        await self.pace.pause(self._reply)
        return self.pace.seconds

    def _pass(self, seconds: float) -> None:
        self._now += seconds


@pytest.fixture
async def loop(monkeypatch: pytest.MonkeyPatch) -> LateLoop:
    monkeypatch.setattr(throttle, "STEP_SECONDS", throttle.UPDATE_SECONDS)
    return LateLoop(monkeypatch)


async def test_throttle_lengthens_pauses_while_loop_lags_and_shortens_them_afterwards(loop: LateLoop) -> None:
    shortest = loop.pace.seconds
    pauses = [await loop.paused(late=5 * throttle.MAX_LAG_SECONDS) for _ in range(20)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == throttle.MAX_FACTOR * shortest, "there is an end to it"
    pauses = [await loop.paused(late=0) for _ in range(60)]
    assert pauses[-1] == shortest


async def test_throttle_ignores_single_lag(loop: LateLoop) -> None:
    shortest = loop.pace.seconds
    assert await loop.paused(late=4 * throttle.MAX_LAG_SECONDS) == shortest


async def test_throttle_changes_pauses_at_most_once_per_step(loop: LateLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "STEP_SECONDS", 3600)
    shortest = loop.pace.seconds
    assert {await loop.paused(late=5 * throttle.MAX_LAG_SECONDS) for _ in range(20)} == {shortest}


async def test_throttle_lengthens_pause_after_slow_update_up_to_a_limit(loop: LateLoop) -> None:
    shortest = loop.pace.seconds
    assert loop.pace.seconds_after(0.0) == loop.pace.seconds_after(shortest / throttle.DRAWING_REST) == shortest
    assert loop.pace.seconds_after(shortest) == throttle.DRAWING_REST * shortest
    assert loop.pace.seconds_after(3600) == throttle.MAX_FACTOR * shortest
    assert loop.pace.seconds == shortest, "the next pause depends on the next update"

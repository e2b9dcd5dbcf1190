"""How often replies are painted: less often while the event loop is late, and as ever when it is not any more."""

from __future__ import annotations

import asyncio

import pytest

from chatfeedback.generation import throttle
from chatfeedback.generation.throttle import UpdateThrottle


class LateLoop:
    """Pauses of a reply that goes on, in a loop that wakes as late as is wanted; it is the clock for that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = 0.0
        monkeypatch.setattr(throttle, "time", self)
        self.pace = UpdateThrottle()
        self._reply: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def monotonic(self) -> float:
        return self._now

    async def paused(self, *, late: float) -> float:
        """One pause; how long the next one is."""
        asyncio.get_running_loop().call_soon(self._pass, self.pace.seconds + late)
        await self.pace.pause(self._reply)
        return self.pace.seconds

    def _pass(self, seconds: float) -> None:
        self._now += seconds


@pytest.fixture
async def loop(monkeypatch: pytest.MonkeyPatch) -> LateLoop:
    monkeypatch.setattr(throttle, "STEP_SECONDS", throttle.UPDATE_SECONDS)
    return LateLoop(monkeypatch)


async def test_pauses_grow_while_the_loop_is_late_and_shrink_again(loop: LateLoop) -> None:
    shortest = loop.pace.seconds
    seen = [await loop.paused(late=5 * throttle.MAX_LAG_SECONDS) for _ in range(20)]
    assert seen == sorted(seen)
    assert seen[-1] == throttle.MAX_FACTOR * shortest, "there is an end to it"
    seen = [await loop.paused(late=0) for _ in range(60)]
    assert seen[-1] == shortest


async def test_a_loop_that_is_late_once_is_no_reason(loop: LateLoop) -> None:
    shortest = loop.pace.seconds
    assert await loop.paused(late=4 * throttle.MAX_LAG_SECONDS) == shortest


async def test_the_pauses_change_step_by_step_however_many_replies_there_are(
    loop: LateLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "STEP_SECONDS", 3600)
    shortest = loop.pace.seconds
    assert {await loop.paused(late=5 * throttle.MAX_LAG_SECONDS) for _ in range(20)} == {shortest}

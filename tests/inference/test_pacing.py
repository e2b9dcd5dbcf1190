"""Pacing: other work of the event loop goes on while a stream is always ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from chatfeedback.inference import pacing
from chatfeedback.inference.event_stream import SLICE_BYTES, event_batches
from chatfeedback.inference.pacing import Pacer


class Clock:
    """Clock that moves only by hand, and by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rests: list[float] = []

    def perf_counter(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    monkeypatch.setattr(pacing, "asyncio", clock)
    monkeypatch.setattr(pacing, "SLICE_SECONDS", 1.0)
    monkeypatch.setattr(pacing, "MAX_REST_SECONDS", 8.0)
    return clock


async def test_pacer_rests_as_long_as_it_has_worked(clock: Clock) -> None:
    pacer = Pacer()
    for _ in range(40):
        clock.now += 0.25
        await pacer.pause()
    assert clock.rests == [1.0] * 10
    assert clock.now == 20.0


async def test_pacer_counts_waiting_for_the_server_as_rest(clock: Clock) -> None:
    pacer = Pacer()
    for _ in range(30):
        clock.now += 0.5
        await pacer.pause()
        clock.now += 1.0
        pacer.resume()
    assert clock.rests == []


async def test_pacer_limits_rest_after_slow_consumer(clock: Clock) -> None:
    pacer = Pacer()
    clock.now += 60
    await pacer.pause()
    assert clock.rests == [pacing.MAX_REST_SECONDS]


class EndlessStream(httpx2.AsyncByteStream):
    """Body that is always ready: reading it never waits."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b'data: {"choices": []}\n\n' * 3_000


async def test_event_batches_let_other_tasks_run_while_data_is_always_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "SLICE_SECONDS", 0.0)  # a rest after each slice, however fast the machine is
    turns = slices = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async for _batch in event_batches(httpx2.Response(200, stream=EndlessStream())):
        slices += 1
    task.cancel()
    assert slices >= 20 * 3_000 * 23 / SLICE_BYTES
    assert turns >= slices

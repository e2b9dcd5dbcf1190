"""Hashing pool: how much runs at once, what waits, and what is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from chatfeedback.auth.hashing_pool import HashingPool
from chatfeedback.errors import TooMany


class Work:
    """Work that begins at once and ends when it may."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.has_begun = threading.Semaphore(0)
        self.may_end = threading.Event()

    def do(self, name: str) -> str:
        self.began.append(name)
        self.has_begun.release()
        assert self.may_end.wait(60)
        return name


@pytest.fixture
async def pool() -> AsyncIterator[HashingPool]:
    """Return a pool of two threads in which three pieces of work may wait."""
    opened = HashingPool(threads=2, max_waiting=3)
    yield opened
    await asyncio.to_thread(opened.close)


async def begun(pool: HashingPool, work: Work, names: str) -> list[asyncio.Task[str]]:
    """Give the pool work under these names; return when both of its threads are busy."""
    tasks = [asyncio.create_task(pool.run(work.do, name)) for name in names]
    for _ in range(2):
        assert await asyncio.to_thread(work.has_begun.acquire, timeout=60)
    return tasks


async def test_run_does_two_at_once_and_others_in_order(pool: HashingPool) -> None:
    work = Work()
    tasks = await begun(pool, work, "abcde")
    assert sorted(work.began) == ["a", "b"]
    work.may_end.set()
    assert await asyncio.gather(*tasks) == ["a", "b", "c", "d", "e"]
    assert sorted(work.began) == ["a", "b", "c", "d", "e"]


async def test_run_refuses_work_beyond_capacity_until_some_has_ended(pool: HashingPool) -> None:
    work = Work()
    tasks = await begun(pool, work, "abcde")
    with pytest.raises(
        TooMany, match=r"Too many people sign in at the moment; try again in a few seconds\."
    ) as refused:
        await pool.run(work.do, "refused")
    assert refused.value.retry_after == 5
    work.may_end.set()
    await asyncio.gather(*tasks)
    assert await pool.run(work.do, "later") == "later"
    assert "refused" not in work.began


async def test_run_gives_place_of_cancelled_work_to_other_work(pool: HashingPool) -> None:
    work = Work()
    tasks = await begun(pool, work, "abcde")
    tasks[4].cancel()
    await asyncio.wait([tasks[4]])
    tasks.append(asyncio.create_task(pool.run(work.do, "f")))
    work.may_end.set()
    assert await asyncio.gather(*tasks[:4], tasks[5]) == ["a", "b", "c", "d", "f"]
    assert "e" not in work.began


async def test_run_raises_what_work_raises_and_goes_on(pool: HashingPool) -> None:
    for _ in range(10):
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)
    assert await pool.run(lambda: "well") == "well"

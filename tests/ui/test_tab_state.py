"""Tab state: one render turn at a time, and isolation of annotators."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from chatfeedback.ui.chat.tab_state import TabState, TabStates, until_cancelled


async def test_a_new_turn_ends_the_old_one_and_waits_for_its_last_stroke() -> None:
    page, strokes = TabState(), []
    began = asyncio.Event()

    async def old() -> None:
        async with page.render_turn() as painting:
            began.set()
            await painting.cancelled.wait()
            strokes.append("old")

    painting = asyncio.create_task(old())
    await began.wait()
    async with page.render_turn():
        strokes.append("new")
    await painting
    assert strokes == ["old", "new"]


async def test_items_end_when_the_turn_is_over_even_while_none_come() -> None:
    cancelled, seen, closed = asyncio.Event(), [], asyncio.Event()

    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            cancelled.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async for item in until_cancelled(cancelled, items()):
        seen.append(item)
    assert seen == [1]
    assert closed.is_set()


async def test_items_that_end_by_themselves_end_the_iteration() -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        yield 2

    assert [item async for item in until_cancelled(asyncio.Event(), items())] == [1, 2]


def test_the_page_of_one_annotator_is_out_of_reach_for_another_with_the_same_session() -> None:
    pages = TabStates()
    assert pages.get_or_create("alice", "session") is pages.get_or_create("alice", "session")
    assert pages.get_or_create("alice", "session") is not pages.get_or_create("bob", "session")


def test_tell_keeps_the_newest_of_each_field_and_counts() -> None:
    tab = TabState()
    first, second = json.loads(tab.tell(address="a", version="a 1")), json.loads(tab.tell(version="a 2"))
    assert first == {"page": first["page"], "number": 1, "address": "a", "version": "a 1"}
    assert second == {"page": first["page"], "number": 2, "address": "a", "version": "a 2"}
    assert json.loads(TabState().tell())["page"] != first["page"]

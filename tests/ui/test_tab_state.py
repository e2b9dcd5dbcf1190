"""Tab state: one render turn at a time, and isolation of annotators."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from chatfeedback.ui.chat.tab_state import TabState, TabStates, until_cancelled


async def test_render_turn_cancels_old_turn_and_waits_for_its_end() -> None:
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


async def test_until_cancelled_ends_when_cancelled_while_no_item_comes() -> None:
    cancelled, received, closed = asyncio.Event(), [], asyncio.Event()

    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            cancelled.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async for item in until_cancelled(cancelled, items()):
        received.append(item)
    assert received == [1]
    assert closed.is_set()


async def test_until_cancelled_ends_when_items_end() -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        yield 2

    assert [item async for item in until_cancelled(asyncio.Event(), items())] == [1, 2]


def test_tab_states_are_separate_for_annotators_with_same_session_hash() -> None:
    pages = TabStates()
    assert pages.get_or_create("alice", "session") is pages.get_or_create("alice", "session")
    assert pages.get_or_create("alice", "session") is not pages.get_or_create("bob", "session")


def test_tell_keeps_newest_value_of_each_field_and_counts() -> None:
    tab = TabState()
    first, second = json.loads(tab.tell(address="a", version="a 1")), json.loads(tab.tell(version="a 2"))
    assert first == {"page": first["page"], "number": 1, "address": "a", "version": "a 1"}
    assert second == {"page": first["page"], "number": 2, "address": "a", "version": "a 2"}
    assert json.loads(TabState().tell())["page"] != first["page"]

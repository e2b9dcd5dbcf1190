"""Chats in Gradio's own protocol, as from browsers, run by this process; with the times of their updates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from benchmarks._model import TOKENS
from benchmarks._premises import require
from tests.gradio_pages import EventMessage, Page, Site

PROMPT = "What do you make of the weather on the other side of the hill?"
FIRST, LAST = TOKENS[0].strip().encode(), TOKENS[-1].strip().encode()


@dataclass(frozen=True, slots=True)
class Chat:
    """Times of a prompt and its reply, in seconds: sent, first text received, all received."""

    sent: float
    first_token: float
    ended: float


async def open_pages(sites: Sequence[Site]) -> list[Page]:
    """Open a page of each site, and wait until it has loaded."""
    pages = [site.page() for site in sites]
    await asyncio.gather(*(page.done("", "load") for page in pages))
    return pages


async def run_ramped(pages: Sequence[Page], pace: str, ramp: float) -> list[Chat]:
    """Run one chat on each page; they start evenly over `ramp` seconds. `pace` is the name of the model."""

    async def run_one(order: int, page: Page) -> Chat:
        await asyncio.sleep(ramp * order / len(pages))
        return await run_chat(page, pace)

    return await asyncio.gather(*(run_one(order, page) for order, page in enumerate(pages)))


async def run_chat(page: Page, pace: str) -> Chat:
    """Send a prompt and read the reply to its end. Ends the benchmark if the reply is not complete."""
    sent, first_token, last = time.perf_counter(), 0.0, b""
    async for event in page.call("prompt", "submit", [PROMPT, None, pace, ""], painting=False):
        # Only updates before the first token are parsed, so that the driver is not the bottleneck.
        if event.is_last or not first_token:
            last = _chatbot_update(event)
            first_token = first_token or (time.perf_counter() if FIRST in last else 0.0)
    require(first_token > 0 and LAST in last, "a reply did not come whole")
    return Chat(sent, first_token, time.perf_counter())


def _chatbot_update(event: EventMessage) -> bytes:
    """Return the update of the chatbot in a message, as JSON."""
    index = event.function.outputs.index("chatbot")
    return orjson.dumps(event.data[index]) if event.data else b""

"""Chats as browsers hold them, from this process alone: Gradio's own protocol, and when what was seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from benchmarks._model import TOKENS
from benchmarks._premises import require
from tests.gradio_pages import EventSchema, Page, Site

PROMPT = "What do you make of the weather on the other side of the hill?"
FIRST, LAST = TOKENS[0].strip().encode(), TOKENS[-1].strip().encode()


@dataclass(frozen=True, slots=True)
class Chat:
    """A prompt and its reply: when it was sent, and when some of the reply, and all of it, was there (seconds)."""

    sent: float
    first_token: float
    ended: float


async def opened(sites: Sequence[Site]) -> list[Page]:
    """A page of each, which has drawn what it begins with."""
    pages = [site.page() for site in sites]
    await asyncio.gather(*(page.done("", "load") for page in pages))
    return pages


async def ramped(pages: Sequence[Page], pace: str, ramp: float) -> list[Chat]:
    """One chat on each page; they begin one after the other, evenly over `ramp` seconds. `pace`: the model's name."""

    async def one(order: int, page: Page) -> Chat:
        await asyncio.sleep(ramp * order / len(pages))
        return await chat(page, pace)

    return await asyncio.gather(*(one(order, page) for order, page in enumerate(pages)))


async def chat(page: Page, pace: str) -> Chat:
    """Sends a prompt and reads the reply to its end. Ends the benchmark when that is not the whole reply."""
    sent, first_token, last = time.perf_counter(), 0.0, b""
    async for told in page.call("prompt", "submit", [PROMPT, None, pace, ""], painting=False):
        # Only the updates before the first token are looked through: the driver must not be what is measured.
        if told.is_last or not first_token:
            last = _chatbot(told)
            first_token = first_token or (time.perf_counter() if FIRST in last else 0.0)
    require(first_token > 0 and LAST in last, "a reply did not come whole")
    return Chat(sent, first_token, time.perf_counter())


def _chatbot(told: EventSchema) -> bytes:
    """What a message says of the chatbot, as JSON."""
    place = told.function.outputs.index("chatbot")
    return orjson.dumps(told.data[place]) if told.data else b""

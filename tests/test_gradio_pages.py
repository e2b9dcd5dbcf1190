"""`gradio_pages`: a call gets its answer, whenever it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import orjson

from gradio_pages import HandlerSpec, Site

SLOW, FAST = HandlerSpec(1, 11, ()), HandlerSpec(2, 12, ())


def completed(event_id: str) -> bytes:
    """Return the last message about an event, as the server sends it."""
    message = {"msg": "process_completed", "event_id": event_id, "success": True, "output": {"data": []}}
    return b"data: " + orjson.dumps(message) + b"\n\n"


class AnswerFirst:
    """Server that answers the second call over the open stream before it confirms that call."""

    def __init__(self) -> None:
        self._called = asyncio.Event()
        self._read = asyncio.Event()

    async def handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/queue/data"):
            if self._read.is_set():
                return httpx.Response(404)  # everything is answered
            return httpx.Response(200, stream=Stream(self._messages()))
        function = orjson.loads(request.content)["fn_index"]
        if function == FAST.index:
            self._called.set()
            await self._read.wait()
        return httpx.Response(200, json={"event_id": f"event {function}"})

    async def _messages(self) -> AsyncIterator[bytes]:
        await self._called.wait()
        yield completed("event 2")
        # The reader asks for more only after it has handed on the message.
        self._read.set()
        yield completed("event 1")


class Stream(httpx.AsyncByteStream):
    """Body of a response."""

    def __init__(self, messages: AsyncIterator[bytes]) -> None:
        self._messages = messages

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for message in self._messages:
            yield message


async def test_call_gets_its_answer_when_answered_before_it_is_confirmed() -> None:
    server = AnswerFirst()
    site = Site("http://server.test")
    site.http = httpx.AsyncClient(base_url="http://server.test", transport=httpx.MockTransport(server.handle))
    site.functions = {("slow", "click"): SLOW, ("fast", "click"): FAST}
    page = site.page()
    async with site.http, asyncio.timeout(10):
        answers = await asyncio.gather(page.done("slow", "click"), page.done("fast", "click"))
    assert [answer.kind for answer in answers] == ["process_completed"] * 2

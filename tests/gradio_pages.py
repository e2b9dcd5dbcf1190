"""Pages of a running server, as a browser has them: Gradio's protocol, spoken over HTTP alone.

Nothing of the application is imported. Which function a click calls is found in `/config`, by the `elem_id` of what is
clicked and the name of the event; what comes back are Gradio's messages, in which an update is told as the difference
to the one before. Any number of pages live in one event loop.

async with Site(address, cookies) as site:
    page = site.page()
    async for told in page.call("prompt", "submit", ["Hello", None, None, ""]):
        print(told.painted)
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx
import orjson
from gradio_client.utils import apply_diff

ENDED = {"process_completed", "unexpected_error", "server_stopped"}


class Gone(Exception):
    """Exception: the server is gone, or does not know this page, which has to be loaded again."""


class RequestRejected(Exception):
    """Exception: a call was answered with a status that is no success; `args` are the status and the sentence."""


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """Handler of the page, as `/config` tells it: its index, what sets it off, and the `elem_id` of each output."""

    index: int
    trigger_id: int
    outputs: tuple[str, ...]


@dataclass(slots=True)
class EventMessage:
    """Message about a call. `data`: as it came, in the order of the outputs, whole or as differences."""

    kind: str
    success: bool
    data: list[Any]
    function: HandlerSpec
    painted: dict[str, Any] = field(default_factory=dict)
    """Painted values of the call so far, by `elem_id`; outputs without one are left out."""

    @property
    def is_last(self) -> bool:
        return self.kind in ENDED


class Site:
    """Server, and the cookies of one person. `verify`: whose certificate is trusted. Raises Gone when it is away."""

    def __init__(
        self,
        address: str,
        cookies: Mapping[str, str] | None = None,
        *,
        patience: float = 60,
        verify: ssl.SSLContext | None = None,
    ) -> None:
        self.http = httpx.AsyncClient(
            base_url=address,
            cookies=dict(cookies or {}),
            timeout=patience,
            # Without one only plain HTTP is spoken: to read the certificates of the world would cost 60 ms.
            verify=verify or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            # Given up well before the server closes an idle one, which it may do just when a call goes out on it.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2),
        )
        self.functions: dict[tuple[str, str], HandlerSpec] = {}

    async def __aenter__(self) -> Site:
        try:
            answer = await self.http.get("/config")
        except httpx.TransportError as error:
            await self.http.aclose()
            raise Gone(str(error)) from error
        if answer.status_code != 200:
            await self.http.aclose()
            raise RequestRejected(answer.status_code, answer.text)
        self.functions = functions_in(answer.json())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.http.aclose()

    def page(self, conversation_id: str | None = None) -> Page:
        """Return a newly opened page; its address may name a conversation."""
        return Page(self, conversation_id)


def told_to_scripts(painted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the server has told the scripts of the page; {} if nothing yet."""
    value = painted.get("bridge")
    return orjson.loads(value) if isinstance(value, str) and value else {}


def functions_in(config: Mapping[str, Any]) -> dict[tuple[str, str], HandlerSpec]:
    """Return every function that a click or a key can call, by `elem_id` and event.

    `("", "load")` is the first one, of the page itself.
    """
    names = {one["id"]: one["props"].get("elem_id") or "" for one in config["components"]}
    functions: dict[tuple[str, str], HandlerSpec] = {}
    for position, one in enumerate(config["dependencies"]):
        if not one.get("backend_fn", True):
            continue
        outputs = tuple(names.get(output, "") for output in one["outputs"])
        for target, event in one["targets"]:
            functions.setdefault((names.get(target, ""), event), HandlerSpec(one.get("id", position), target, outputs))
    return functions


class Inbox(asyncio.Queue[dict[str, Any] | Gone]):
    """Messages about one call. `is_complete`: the last one is in it."""

    is_complete = False


class Page:
    """Open page. Its calls may overlap; their answers come over one stream, as in a browser."""

    def __init__(self, site: Site, conversation_id: str | None) -> None:
        self._site = site
        self.goes_to(conversation_id or "")
        self.session_hash = secrets.token_hex(6)
        self._waiting: dict[str, Inbox] = {}
        self._early: dict[str, Inbox] = {}
        """Inboxes of calls that are answered before they are confirmed: the two come over different connections."""
        self._reader: asyncio.Task[None] | None = None

    def goes_to(self, conversation_id: str) -> None:
        """Set the conversation that the address names, "" for none; in a browser a script of the page does it."""
        self._query = f"?conversation={conversation_id}" if conversation_id else ""

    async def call(
        self, elem_id: str, event: str, data: Sequence[Any] = (), event_data: Any = None, *, painting: bool = True
    ) -> AsyncIterator[EventMessage]:
        """Call the function behind an event; yield the messages about it, to its end.

        Without `painting` updates are passed on as they come, which costs next to nothing.

        Raises Gone and RequestRejected.
        """
        function = self._site.functions[elem_id, event]
        inbox = await self._join(function, list(data), event_data)
        values: list[Any] | None = None
        while True:
            message = await inbox.get()
            if isinstance(message, Gone):
                raise message
            update = _told(message, function)
            if painting and update.data:
                values = _whole(values, update)
                update.painted = {name: value for name, value in zip(function.outputs, values, strict=True) if name}
            if update.kind.startswith("process_") or update.is_last:
                yield update
            if update.is_last:
                return

    async def done(self, elem_id: str, event: str, data: Sequence[Any] = (), event_data: Any = None) -> EventMessage:
        """Call a function and wait for its end; return the last message."""
        async for update in self.call(elem_id, event, data, event_data):
            last = update
        return last

    async def _join(self, function: HandlerSpec, data: list[Any], event_data: Any) -> Inbox:
        body = {
            "data": data,
            "fn_index": function.index,
            "trigger_id": function.trigger_id,
            "session_hash": self.session_hash,
            "event_data": event_data,
        }
        try:
            answer = await self._site.http.post(f"/gradio_api/queue/join{self._query}", json=body)
        except httpx.TransportError as error:
            raise Gone(str(error)) from error
        if answer.status_code != 200:
            raise RequestRejected(answer.status_code, answer.text)
        event_id = answer.json()["event_id"]
        inbox = self._early.pop(event_id, None) or Inbox()
        if inbox.is_complete:
            return inbox
        self._waiting[event_id] = inbox
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read())
        return inbox

    async def _read(self) -> None:
        """Hand each message to the call that it is about, until the server says that there is nothing to come."""
        try:
            query = {"session_hash": self.session_hash}
            async with self._site.http.stream("GET", "/gradio_api/queue/data", params=query) as stream:
                if stream.status_code != 200:
                    raise Gone(f"the stream of the page was answered with {stream.status_code}")
                async for line in stream.aiter_lines():
                    if line.startswith("data:"):
                        self._hand_on(orjson.loads(line[5:]))
        except (httpx.TransportError, Gone) as error:
            gone = Gone(str(error) or type(error).__name__)
            for inbox in self._waiting.values():
                inbox.put_nowait(gone)
            self._waiting.clear()
            return
        # The server ended the stream while a call joined: it waits in the next one.
        if self._waiting:
            self._reader = asyncio.create_task(self._read())

    def _hand_on(self, message: dict[str, Any]) -> None:
        event_id = message.get("event_id")
        if event_id is None:
            return
        inbox = self._waiting.get(event_id) or self._early.setdefault(event_id, Inbox())
        inbox.put_nowait(message)
        if message["msg"] in ENDED:
            inbox.is_complete = True
            self._waiting.pop(event_id, None)


def _told(message: dict[str, Any], function: HandlerSpec) -> EventMessage:
    output = message.get("output") or {}
    data = output.get("data") if isinstance(output, dict) else None
    return EventMessage(message["msg"], message.get("success", True), data if isinstance(data, list) else [], function)


def _whole(before: list[Any] | None, update: EventMessage) -> list[Any]:
    if before is None or update.kind != "process_generating":
        return update.data
    return [apply_diff(value, difference) for value, difference in zip(before, update.data, strict=True)]

"""Strict parser of server-sent events (WHATWG HTML, section 9.2), and of what servers send in their place.

Browsers ignore unknown lines. But some servers report a failure in the middle of a reply on such lines: llama.cpp of
2025 sends a field `error:`, and then `[DONE]` as after a complete reply. So an unknown line is an error here.

The content decides, not its declared type: servers and proxies stream as text/plain, or answer with one JSON document,
which counts as one event. So does each line of JSON lines.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import aclosing
from typing import Any, Literal

import httpx2

from chatfeedback.inference.chunks import CHUNK_KEYS
from chatfeedback.inference.error_body import is_error
from chatfeedback.inference.errors import StreamedError
from chatfeedback.inference.json_text import parse_json
from chatfeedback.inference.pacing import Pacer

MAX_EVENT_CHARS = 2**20
"""Maximum size of one event, far above any piece of a reply."""
SLICE_BYTES = 2**11
"""Bytes that are parsed at once: about a hundred of the shortest chunks."""
_LINE_END = re.compile(r"\r\n|\n|\r")
_FIELD = re.compile(r"(data|event|id|retry|error)?(:|$)")


async def event_batches(response: httpx2.Response) -> AsyncGenerator[list[str], None]:
    """Yield the data of the events that have arrived, never an empty list.

    Raises StreamedError for an error that the server sent in any form. Raises httpx2.SSEError for a response that is
    neither an event stream nor JSON, an unknown line, and an event that is too long.
    """
    parser = EventParser()
    async with aclosing(_slices(response.aiter_bytes())) as pieces:
        async for piece in pieces:
            events, error = parser.feed(piece)
            if events:
                yield events
            if error is not None:
                raise error
    if events := parser.finish():
        yield events


async def _slices(pieces: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the pieces in slices of bounded size, at a bounded share of the event loop."""
    pacer = Pacer()
    async for piece in pieces:
        pacer.resume()
        for start in range(0, len(piece), SLICE_BYTES):
            yield piece[start : start + SLICE_BYTES]
            await pacer.pause()


class EventParser:
    """Incremental parser of the body of a response."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._partial: list[str] = []
        self._partial_chars = 0
        self._content: Literal["unknown", "events", "document"] = "unknown"
        self._event_type = ""
        self._data: list[str] = []
        self._data_chars = 0

    def feed(self, piece: bytes) -> tuple[list[str], Exception | None]:
        """Return the data of the events that end in this piece, and the error that ends the stream, if there is one."""
        events: list[str] = []
        try:
            for line in self._lines(self._decoder.decode(piece)):
                if (data := self._read_line(line)) is not None:
                    events.append(data)
        except (StreamedError, httpx2.SSEError) as error:
            return events, error
        return events, None

    def finish(self) -> list[str]:
        """Return the data of the last event, if the end of the response ends it. Raises httpx2.SSEError.

        An unterminated line of an event stream is dropped as truncated, a JSON document is complete.
        """
        rest = "".join(self._partial)
        if rest.endswith("\r"):
            events, error = self.feed(b"\n")
            if error is not None:
                raise error
            return events or self.finish()
        if self._content == "document" or rest.lstrip()[:1] in ("{", "["):
            return ["\n".join([*self._data, rest])]
        if self._content == "unknown" and rest.strip() and not _FIELD.match(rest):
            raise httpx2.SSEError("the response is not an event stream")
        return []

    def _lines(self, text: str) -> Iterator[str]:
        """Yield complete lines; a carriage return at the end may be the first half of CRLF."""
        if "\n" not in text and "\r" not in text and not self._partial_ends_with_return():
            self._keep(text)
            return
        text, self._partial, self._partial_chars = "".join([*self._partial, text]), [], 0
        ending = "\r" if text.endswith("\r") else ""
        *lines, rest = _LINE_END.split(text.removesuffix("\r"))
        self._keep(rest + ending)
        yield from lines

    def _partial_ends_with_return(self) -> bool:
        return bool(self._partial) and self._partial[-1].endswith("\r")

    def _keep(self, text: str) -> None:
        if text:
            self._partial.append(text)
            self._partial_chars += len(text)
        if self._partial_chars > MAX_EVENT_CHARS:
            raise httpx2.SSEError("a line is too long")

    def _read_line(self, line: str) -> str | None:
        """Read a line; return the data of the event that it ends, if it ends one."""
        if self._content == "unknown" and line.strip():
            self._content = _content(line)
        if self._content == "document":
            self._add_data(line)
            return None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "" if line:
                return None  # a comment: servers send them as keep-alives
            case "":
                return self._end_event()
            case "data":
                self._add_data(value)
            case "event":
                self._event_type = value
            case "id" | "retry":
                pass
            case "error":
                raise StreamedError(_json_or_text(value))
            case _:
                return _bare_json(line)
        return None

    def _add_data(self, value: str) -> None:
        self._data.append(value)
        self._data_chars += len(value) + 1
        if self._data_chars > MAX_EVENT_CHARS:
            raise httpx2.SSEError("an event is too long")

    def _end_event(self) -> str | None:
        data, event_type = self._data, self._event_type
        self._event_type, self._data, self._data_chars = "", [], 0
        if data and event_type == "error":
            raise StreamedError(_json_or_text("\n".join(data)))
        return "\n".join(data) if data else None


def _content(line: str) -> Literal["events", "document"]:
    """Return what a response is that begins with this line: lines of events or JSON, or one JSON document."""
    if line.lstrip()[0] not in "{[":
        return "events"
    return "events" if isinstance(_json_or_text(line), dict) else "document"


def _bare_json(line: str) -> str:
    """Return a line that is a chunk without the field `data:`. Raises StreamedError or httpx2.SSEError for others."""
    payload = _json_or_text(line)
    if isinstance(payload, dict) and any(payload.get(key) for key in CHUNK_KEYS):
        return line
    if is_error(payload):
        raise StreamedError(payload)
    raise httpx2.SSEError("a line is not part of an event stream")


def _json_or_text(value: str) -> Any:
    try:
        return parse_json(value)
    except ValueError:
        return value

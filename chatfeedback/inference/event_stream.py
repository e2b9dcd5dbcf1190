"""Strict parser of server-sent events (WHATWG HTML, section 9.2).

Browsers ignore unknown lines. But some servers report a failure in the middle of a reply on such lines: llama.cpp of
2025 sends a field `error:`, and then `[DONE]` as after a complete reply. So an unknown line is an error here.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from typing import Any

import httpx2

from chatfeedback.inference.errors import StreamedError

MAX_EVENT_CHARS = 2**20
"""Maximum size of one event, far above any piece of a reply."""
_LINE_END = re.compile(r"\r\n|\n|\r")
_CHUNK_KEYS = ("choices", "usage")
_ERROR_KEYS = ("error", "detail", "message", "errors")


async def event_data(response: httpx2.Response) -> AsyncGenerator[str, None]:
    """Yield the data of each event.

    Raises StreamedError for an error that the server sent in any form. Raises httpx2.SSEError for a response that is
    no event stream, an unknown line, and an event that is too long.
    """
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "text/event-stream":
        raise httpx2.SSEError(f"the response is {content_type or 'of no type'}, not an event stream")
    event_type, data, length = "", list[str](), 0
    async for line in _lines(response.aiter_bytes()):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "" if line:
                pass  # a comment: servers send them as keep-alives
            case "":
                if data and event_type == "error":
                    raise StreamedError(_parse_json("\n".join(data)))
                if data:
                    yield "\n".join(data)
                event_type, data, length = "", [], 0
            case "data":
                data.append(value)
                length += len(line)
                if length > MAX_EVENT_CHARS:
                    raise httpx2.SSEError("an event is too long")
            case "event":
                event_type = value
            case "id" | "retry":
                pass
            case "error":
                raise StreamedError(_parse_json(value))
            case _:
                raise _unknown_line(line)


def check_chunk(payload: Any) -> None:
    """Check that the data of an event is a chat completion chunk.

    A payload with a key `error` is left to huggingface_hub, which knows the error types of its own servers. Raises
    StreamedError for another error of the server, TypeError for any other payload.
    """
    if not isinstance(payload, dict):
        raise TypeError(f"a chunk is an object, not a {type(payload).__name__}")
    if payload.get("error") is not None:
        return
    if "error" in (payload.get("object"), payload.get("type")):
        raise StreamedError(payload)
    if not any(key in payload for key in _CHUNK_KEYS):
        if any(payload.get(key) for key in _ERROR_KEYS):
            raise StreamedError(payload)
        raise TypeError("a chunk has no choices")


def _unknown_line(line: str) -> Exception:
    """Return the exception for an unknown line: an error as bare JSON, or anything else."""
    payload = _parse_json(line)
    if isinstance(payload, dict) and any(payload.get(key) for key in _ERROR_KEYS):
        return StreamedError(payload)
    return httpx2.SSEError("a line is not part of an event stream")


def _parse_json(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


async def _lines(pieces: AsyncIterable[bytes]) -> AsyncGenerator[str, None]:
    """Yield complete lines, without a byte order mark; an unterminated last line is dropped as truncated."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    buffer = ""
    async for piece in pieces:
        buffer += decoder.decode(piece)
        # A carriage return at the end may be the first half of CRLF.
        lines, buffer = _split(buffer)
        for line in lines:
            yield line
        if len(buffer) > MAX_EVENT_CHARS:
            raise httpx2.SSEError("a line is too long")
    for line in _split(buffer + "\n")[0] if buffer.endswith("\r") else ():
        yield line


def _split(text: str) -> tuple[Iterator[str], str]:
    carriage_return = "\r" if text.endswith("\r") else ""
    *lines, rest = _LINE_END.split(text.removesuffix("\r"))
    return iter(lines), rest + carriage_return

"""The lines of a streamed reply: server-sent events (WHATWG HTML, section 9.2), read strictly.

Readers for browsers pass over lines that they do not know. A server that fails in the middle of a reply says so on
such lines at times: llama.cpp of 2025 sends a field `error:`, and then `[DONE]` as after a whole reply. So every line
must be known here.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from typing import Any

import httpx2

from chatfeedback.inference.errors import StreamedError

MAX_EVENT_CHARACTERS = 2**20
"""Of one event; no piece of a reply comes near it."""
_LINE_END = re.compile(r"\r\n|\n|\r")
_CHUNK_KEYS = ("choices", "usage")
_ERROR_KEYS = ("error", "detail", "message", "errors")


async def events(response: httpx2.Response) -> AsyncGenerator[str, None]:
    """Yield the data of each event.

    Raises StreamedError for an error in any form, httpx2.SSEError for an answer that is no stream, a line that is none
    of a stream, and an event that is too long.
    """
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        raise httpx2.SSEError(f"the answer is {kind or 'of no type'}, not a stream of events")
    name, data, length = "", list[str](), 0
    async for line in _lines(response.aiter_bytes()):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "" if line:
                pass  # a comment, by which servers keep a connection alive
            case "":
                if data and name == "error":
                    raise StreamedError(_read("\n".join(data)))
                if data:
                    yield "\n".join(data)
                name, data, length = "", [], 0
            case "data":
                data.append(value)
                length += len(line)
                if length > MAX_EVENT_CHARACTERS:
                    raise httpx2.SSEError("an event is too long")
            case "event":
                name = value
            case "id" | "retry":
                pass
            case "error":
                raise StreamedError(_read(value))
            case _:
                raise _unknown(line)


def check(payload: Any) -> None:
    """Check that the data of an event is part of a chat completion. Raises StreamedError and TypeError.

    What has a key `error` is left to huggingface_hub, which knows the kinds of errors of its own servers.
    """
    if not isinstance(payload, dict):
        raise TypeError(f"a chunk is a {type(payload).__name__}")
    if payload.get("error") is not None:
        return
    if "error" in (payload.get("object"), payload.get("type")):
        raise StreamedError(payload)
    if not any(key in payload for key in _CHUNK_KEYS):
        if any(payload.get(key) for key in _ERROR_KEYS):
            raise StreamedError(payload)
        raise TypeError("a chunk has no choices")


def _unknown(line: str) -> Exception:
    """Return the error for a line that is no field: an error as bare JSON, or something else."""
    said = _read(line)
    if isinstance(said, dict) and any(said.get(key) for key in _ERROR_KEYS):
        return StreamedError(said)
    return httpx2.SSEError("a line is none of a stream of events")


def _read(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


async def _lines(pieces: AsyncIterable[bytes]) -> AsyncGenerator[str, None]:
    """Yield whole lines; what comes after the last line end was cut off. A byte order mark is taken off."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    rest = ""
    async for piece in pieces:
        rest += decoder.decode(piece)
        # A carriage return at the end may be the first half of a line end.
        whole, rest = _split(rest)
        for line in whole:
            yield line
        if len(rest) > MAX_EVENT_CHARACTERS:
            raise httpx2.SSEError("a line is too long")
    for line in _split(rest + "\n")[0] if rest.endswith("\r") else ():
        yield line


def _split(text: str) -> tuple[Iterator[str], str]:
    held = "\r" if text.endswith("\r") else ""
    *lines, rest = _LINE_END.split(text.removesuffix("\r"))
    return iter(lines), rest + held

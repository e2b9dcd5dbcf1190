"""Event stream: its lines, and errors for content that is no part of a whole reply."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.inference import event_stream
from chatfeedback.inference.errors import StreamedError

CHUNK = '{"choices": [{"delta": {"content": "x"}}]}'


class Pieces(httpx2.AsyncByteStream):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


async def event_data(sent: bytes, size: int = 2**16, kind: str = "text/event-stream") -> list[str]:
    """Return the data of the events that these bytes are, sent in pieces."""
    pieces = (sent[start : start + size] for start in range(0, len(sent), size))
    response = httpx2.Response(200, headers={"content-type": kind}, stream=Pieces(pieces))
    return [data async for data in event_stream.event_data(response)]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_event_data_accepts_all_line_ends_in_chunks_of_any_size(end: str, size: int) -> None:
    sent = f": alive{end}{end}data: one{end}{end}data:two{end}data:  three{end}id: 7{end}retry: 5{end}{end}{end}"
    assert await event_data(sent.encode(), size) == ["one", "two\n three"]


async def test_event_data_removes_byte_order_mark() -> None:
    assert await event_data(b"\xef\xbb\xbfdata: one\n\n", 1) == ["one"]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 5))
def test_event_data_keeps_characters_that_end_no_line(text: str, size: int) -> None:
    sent = json.dumps(text, ensure_ascii=False)
    assert asyncio.run(event_data(f"data: {sent}\n\n".encode(), size)) == [sent]


@pytest.mark.parametrize(
    "line",
    [
        'error: {"code": 500, "message": "out of memory"}',
        "error: out of memory",
        'event: error\ndata: {"message": "out of memory"}',
        "event: error\ndata: out of memory",
        '{"error": {"message": "out of memory"}}',
        '{"detail": "out of memory"}',
    ],
)
async def test_event_data_raises_for_error_in_any_form(line: str) -> None:
    with pytest.raises(StreamedError) as caught:
        await event_data(f"data: {CHUNK}\n\n{line}\n\ndata: [DONE]\n\n".encode())
    assert "out of memory" in str(caught.value.args[0])


@pytest.mark.parametrize("line", ["<html>", "hello", "datum: x", '{"x": 1}', "Internal Server Error"])
async def test_event_data_raises_for_invalid_line(line: str) -> None:
    with pytest.raises(httpx2.SSEError):
        await event_data(f"data: {CHUNK}\n\n{line}\n\ndata: [DONE]\n\n".encode())


@pytest.mark.parametrize("kind", ["text/html", "application/json", ""])
async def test_event_data_raises_for_response_other_than_stream(kind: str) -> None:
    with pytest.raises(httpx2.SSEError):
        await event_data(b"data: x\n\n", kind=kind)


@pytest.mark.parametrize("sent", [b"data: " + b"x" * 2**21, b"data: x\n" * 2**21])
async def test_event_data_raises_for_event_that_is_too_long(sent: bytes) -> None:
    with pytest.raises(httpx2.SSEError):
        await event_data(sent)


async def test_event_data_omits_event_that_is_cut_off() -> None:
    assert await event_data(b"data: one\n\ndata: tw") == ["one"]
    assert await event_data(b"data: one\n\ndata: two\n") == ["one"]


@pytest.mark.parametrize("payload", [{"choices": []}, {"choices": None}, {"usage": {}}, {"error": "left to the Hub"}])
def test_check_chunk_accepts_parts_of_chat_completion(payload: dict[str, object]) -> None:
    event_stream.check_chunk(payload)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"object": "error", "message": "x"}, StreamedError),
        ({"type": "error"}, StreamedError),
        ({"message": "x", "code": 500}, StreamedError),
        ({"detail": "x"}, StreamedError),
        ({"text": "x"}, TypeError),
        ({}, TypeError),
        ([], TypeError),
        (None, TypeError),
    ],
)
def test_check_chunk_raises_for_other_payload(payload: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        event_stream.check_chunk(payload)

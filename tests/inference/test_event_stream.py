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
    return [data async for batch in event_stream.event_batches(response) for data in batch]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_event_batches_accepts_all_line_ends_in_chunks_of_any_size(end: str, size: int) -> None:
    sent = f": alive{end}{end}data: one{end}{end}data:two{end}data:  three{end}id: 7{end}retry: 5{end}{end}{end}"
    assert await event_data(sent.encode(), size) == ["one", "two\n three"]


async def test_event_batches_removes_byte_order_mark() -> None:
    assert await event_data(b"\xef\xbb\xbfdata: one\n\n", 1) == ["one"]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 5))
def test_event_batches_keeps_characters_that_end_no_line(text: str, size: int) -> None:
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
async def test_event_batches_raises_for_error_in_any_form(line: str) -> None:
    with pytest.raises(StreamedError) as caught:
        await event_data(f"data: {CHUNK}\n\n{line}\n\ndata: [DONE]\n\n".encode())
    assert "out of memory" in str(caught.value.args[0])


@pytest.mark.parametrize("line", ["<html>", "hello", "datum: x", '{"x": 1}', "Internal Server Error"])
async def test_event_batches_raises_for_invalid_line(line: str) -> None:
    with pytest.raises(httpx2.SSEError):
        await event_data(f"data: {CHUNK}\n\n{line}\n\ndata: [DONE]\n\n".encode())


KINDS = ["text/event-stream", "text/plain; charset=utf-8", "application/json", "text/html", ""]


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("kind", KINDS)
async def test_event_batches_reads_content_whatever_its_declared_type(kind: str, size: int) -> None:
    document = json.dumps({"choices": [{"message": {"content": "whole"}}]}, indent=1)
    assert await event_data(b": alive\n\ndata: x\n\n", size, kind) == ["x"]
    assert await event_data(f"{CHUNK}\n{CHUNK}\r\n\n".encode(), size, kind) == [CHUNK, CHUNK]
    for sent in (document, f"\n{document}\n", "[]", CHUNK):
        (data,) = await event_data(sent.encode(), size, kind)
        assert json.loads(data) == json.loads(sent)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sent", ["<html>", "<html>\n<p>x</p>\n", "ready", "Internal Server Error\n"])
async def test_event_batches_raises_for_content_other_than_events_or_json(sent: str, kind: str) -> None:
    with pytest.raises(httpx2.SSEError):
        await event_data(sent.encode(), kind=kind)


@given(
    st.lists(st.sampled_from(["data: one", ": alive", "", "data:", "id: 7", CHUNK, "{", "x", "é\u2028"]), max_size=12)
)
def test_event_parser_reads_the_same_from_pieces_of_any_size(lines: list[str]) -> None:
    sent = "\r\n".join(lines).encode()
    assert len({str(parsed(sent, size)) for size in (1, 2, 3, 1000)}) == 1


def parsed(sent: bytes, size: int) -> tuple[list[str], str]:
    """Return the data of the events, and the error."""
    parser, data = event_stream.EventParser(), list[str]()
    for start in range(0, len(sent), size):
        events, error = parser.feed(sent[start : start + size])
        data += events
        if error is not None:
            return data, repr(error)
    try:
        return data + parser.finish(), ""
    except httpx2.SSEError as error:
        return data, repr(error)


async def test_event_batches_yields_events_before_error_of_the_same_piece() -> None:
    response = httpx2.Response(200, stream=Pieces(iter([b"data: one\n\nhello\n\n"])))
    batches = event_stream.event_batches(response)
    assert await anext(batches) == ["one"]
    with pytest.raises(httpx2.SSEError):
        await anext(batches)


async def test_event_batches_bounds_events_of_one_batch() -> None:
    response = httpx2.Response(200, stream=Pieces(iter([b"data: x\n\n" * 10_000])))
    lengths = [len(batch) async for batch in event_stream.event_batches(response)]
    assert sum(lengths) == 10_000
    assert max(lengths) <= event_stream.SLICE_BYTES // 9 + 1


@pytest.mark.parametrize("sent", [b"data: " + b"x" * 2**21, b"data: x\n" * 2**21])
async def test_event_batches_raises_for_event_that_is_too_long(sent: bytes) -> None:
    with pytest.raises(httpx2.SSEError):
        await event_data(sent)


async def test_event_batches_omits_event_that_is_cut_off() -> None:
    assert await event_data(b"data: one\n\ndata: tw") == ["one"]
    assert await event_data(b"data: one\n\ndata: two\n") == ["one"]

"""Rows as lines of UTF-8, in CSV and in JSON.

CSV follows RFC 4180 with LF for line ends. Text is always quoted and nothing else ever is, so that a missing value
(nothing) and an empty text (`""`) are two things, and no text can be taken for a number or a missing value by a
reader that respects quotes. In JSON lines a missing value is `null`, and JSON columns are embedded byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from chatfeedback.export.columns import Column, Type
from chatfeedback.export.rows import Row

_CHUNK = 1 << 18
_EPOCH = datetime(1970, 1, 1)  # naive: it stands for UTC

Cells = Mapping[Type, Callable[[Any], Any]]
"""How the values of each type are written; never called with None."""


def instant_text(micros: int) -> str:
    """Microseconds since 1970 as ISO 8601 in UTC, always with six digits: `2026-11-20T08:30:00.000000Z`."""
    minute, rest = divmod(micros, 60_000_000)
    return f"{_minute_text(minute)}:{rest // 1_000_000:02}.{rest % 1_000_000:06}Z"


# Printing instants is the largest part of writing a row, and neighbours in an export are close in time.
@lru_cache(1024)
def _minute_text(minute: int) -> str:
    return (_EPOCH + timedelta(minutes=minute)).isoformat(timespec="minutes")


def quoted(text: str) -> str:
    """The text as a quoted field of CSV."""
    return '"' + text.replace('"', '""') + '"'


FAITHFUL: Cells = {
    "text": quoted,
    "json": quoted,
    "integer": str,
    "number": repr,
    "boolean": lambda value: "true" if value else "false",
    "instant": instant_text,
}
"""Cells of CSV that say exactly what is stored."""

_JSON_CELLS: Cells = {
    "text": str,
    "json": orjson.Fragment,
    "integer": int,
    "number": float,
    "boolean": bool,
    "instant": instant_text,
}


def csv_lines(columns: Sequence[Column], rows: Iterable[Row], cells: Cells = FAITHFUL) -> Iterator[bytes]:
    """A header of the names and a line for each row."""
    written = [cells[column.type] for column in columns]
    yield (",".join(column.name for column in columns) + "\n").encode()
    for row in rows:
        fields = ["" if value is None else cell(value) for cell, value in zip(written, row, strict=True)]
        yield (",".join(fields) + "\n").encode()


def json_lines(columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[bytes]:
    """An object for each row, its keys in the order of the columns, every key in every object."""
    written = [(column.name, _JSON_CELLS[column.type]) for column in columns]
    for row in rows:
        found = {name: None if value is None else cell(value) for (name, cell), value in zip(written, row, strict=True)}
        yield orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE)


class Format(NamedTuple):
    """A way to write rows down."""

    media_type: str
    lines: Callable[[Sequence[Column], Iterable[Row]], Iterator[bytes]]


FORMATS: Mapping[str, Format] = {
    "csv": Format("text/csv; charset=utf-8", csv_lines),
    "jsonl": Format("application/x-ndjson; charset=utf-8", json_lines),
}
"""By name, which is also the suffix of their files."""


def chunked(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines joined into chunks that are worth a system call, about 256 KiB."""
    chunk: list[bytes] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line)
        if size >= _CHUNK:
            yield b"".join(chunk)
            chunk.clear()
            size = 0
    if chunk:
        yield b"".join(chunk)

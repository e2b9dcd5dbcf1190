"""Formats: rows as lines of UTF-8, in CSV and in JSON lines.

CSV follows RFC 4180 with LF line ends. Text is always quoted and nothing else ever is. So a missing value (nothing) and
an empty text (`""`) differ. A reader that respects quotes takes no text for a number or a missing value. In JSON lines
a missing value is `null`, and JSON columns are embedded byte for byte.

Both are faithful: texts are as stored. The CSV for spreadsheets is not, and its suffix says so. It prefixes a text
that a spreadsheet would take for a formula with a single quote (OWASP, "CSV Injection"), reversibly. Everything else is
as in the faithful CSV, after a byte order mark, without which Excel guesses another encoding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from chatfeedback.export.columns import Column, Type
from chatfeedback.query.streaming import Row
from chatfeedback.store.accounts.pseudonyms import DisplayNames

_CHUNK = 1 << 18
_EPOCH = datetime(1970, 1, 1)  # naive, in UTC

CellWriter = Callable[[Any], Any]
"""Function that writes a value; never called with None."""
CellWriters = Mapping[Type, CellWriter]
"""Cell writer of each type. Annotator columns have none: their display names are written as text."""

_CACHED_NAMES = 4096

# Leading spaces and a byte order mark count too, because spreadsheets may strip them before they parse a field.
# Leading quotes match as well: so the first quote is always the one that was added here.
_FORMULA = re.compile("'*(?:[\t\r\n]|[\\s\ufeff]*[=+\\-@\uff1d\uff0b\uff0d\uff20])")
_BYTE_ORDER_MARK = "\ufeff".encode()


def instant_text(micros: int) -> str:
    """Return microseconds since 1970 as ISO 8601 in UTC, always with six digits: `2026-11-20T08:30:00.000000Z`."""
    minute, rest = divmod(micros, 60_000_000)
    return f"{_minute_text(minute)}:{rest // 1_000_000:02}.{rest % 1_000_000:06}Z"


# Formatting instants is the largest cost of a row, and adjacent rows are close in time.
@lru_cache(1024)
def _minute_text(minute: int) -> str:
    return (_EPOCH + timedelta(minutes=minute)).isoformat(timespec="minutes")


def quote(text: str) -> str:
    """Return the text as a quoted CSV field."""
    return '"' + text.replace('"', '""') + '"'


def escape_formula(text: str) -> str:
    """Return the text, with a single quote before it if a spreadsheet would take it for a formula.

    If such a text starts with quotes already, it gets one more: removing one always restores the text.
    """
    return f"'{text}" if _FORMULA.match(text) else text


FAITHFUL: CellWriters = {
    "text": quote,
    "json": quote,
    "integer": str,
    "number": repr,
    "boolean": lambda value: "true" if value else "false",
    "instant": instant_text,
}
"""Cell writers of CSV that write exactly what is stored."""


def _quote_escaped(text: str) -> str:
    return quote(escape_formula(text))


SPREADSHEET: CellWriters = {**FAITHFUL, "text": _quote_escaped, "json": _quote_escaped}
"""Cell writers of CSV that write no formula. Numbers stay numbers, also negative ones."""

_JSON_CELLS: CellWriters = {
    "text": str,
    "json": orjson.Fragment,
    "integer": int,
    "number": float,
    "boolean": bool,
    "instant": instant_text,
}


def csv_lines(
    columns: Sequence[Column], rows: Iterable[Row], display_name: DisplayNames, cells: CellWriters = FAITHFUL
) -> Iterator[bytes]:
    """Yield a header with the names of the columns, and a line for each row."""
    writers = _writers(columns, display_name, cells)
    yield (",".join(column.name for column in columns) + "\n").encode()
    for row in rows:
        fields = ["" if value is None else cell(value) for cell, value in zip(writers, row, strict=True)]
        yield (",".join(fields) + "\n").encode()


def spreadsheet_lines(columns: Sequence[Column], rows: Iterable[Row], display_name: DisplayNames) -> Iterator[bytes]:
    """Yield the lines of a CSV for spreadsheets, after a byte order mark."""
    yield _BYTE_ORDER_MARK
    yield from csv_lines(columns, rows, display_name, SPREADSHEET)


def json_lines(columns: Sequence[Column], rows: Iterable[Row], display_name: DisplayNames) -> Iterator[bytes]:
    """Yield a JSON object for each row, with all keys in the order of the columns."""
    writers = list(zip((column.name for column in columns), _writers(columns, display_name, _JSON_CELLS), strict=True))
    for row in rows:
        record = {
            name: None if value is None else cell(value) for (name, cell), value in zip(writers, row, strict=True)
        }
        yield orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def _writers(columns: Sequence[Column], display_name: DisplayNames, cells: CellWriters) -> list[CellWriter]:
    """Return the writer of each column; display names are cached, because an annotator appears in many rows."""
    text = cells["text"]
    annotator = lru_cache(_CACHED_NAMES)(lambda annotator_id: text(display_name(annotator_id)))
    return [annotator if column.type == "annotator" else cells[column.type] for column in columns]


class Format(NamedTuple):
    """File format of an export."""

    suffix: str
    """Suffix of the files, without the leading dot."""
    media_type: str
    lines: Callable[[Sequence[Column], Iterable[Row], DisplayNames], Iterator[bytes]]


FORMATS: Mapping[str, Format] = {
    "csv": Format("csv", "text/csv; charset=utf-8", csv_lines),
    "spreadsheet": Format("spreadsheet.csv", "text/csv; charset=utf-8", spreadsheet_lines),
    "jsonl": Format("jsonl", "application/x-ndjson; charset=utf-8", json_lines),
}
"""Formats by their name in commands and links."""


def chunked(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines joined into chunks of about 256 KiB, to save system calls."""
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

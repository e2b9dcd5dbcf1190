"""Rows as lines of UTF-8, in CSV and in JSON.

CSV follows RFC 4180 with LF for line ends. Text is always quoted and nothing else ever is, so that a missing value
(nothing) and an empty text (`""`) are two things, and no text can be taken for a number or a missing value by a
reader that respects quotes. In JSON lines a missing value is `null`, and JSON columns are embedded byte for byte.

Both are faithful: texts are what is stored. The CSV for spreadsheets is not, and says so by its suffix. There a text
that a spreadsheet would take for a formula begins with a single quote (OWASP, "CSV Injection"), in a way that can be
undone. All else is as in the faithful CSV, after a byte order mark: without one, Excel guesses another encoding.
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
_EPOCH = datetime(1970, 1, 1)  # naive: it stands for UTC

Cell = Callable[[Any], Any]
"""How a value is written; never called with None."""
CellWriters = Mapping[Type, Cell]
"""The cells of each type. Annotators have none of their own: what they are called is written as text."""

_ANNOTATORS_AT_HAND = 4096

# Spreadsheets trim spaces, some always and some when asked to, and a byte order mark may be cut off before a field is
# looked at. Quotes in front are counted as well: so one more is always the one that was added here.
_FORMULA = re.compile("'*(?:[\t\r\n]|[\\s\ufeff]*[=+\\-@\uff1d\uff0b\uff0d\uff20])")
_BYTE_ORDER_MARK = "\ufeff".encode()


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


def escape_formula(text: str) -> str:
    """The text, with a single quote before it if a spreadsheet would take it for a formula.

    Such a text that has quotes before it already gets one more, so that to take one away always gives back the text.
    """
    return f"'{text}" if _FORMULA.match(text) else text


FAITHFUL: CellWriters = {
    "text": quoted,
    "json": quoted,
    "integer": str,
    "number": repr,
    "boolean": lambda value: "true" if value else "false",
    "instant": instant_text,
}
"""Cells of CSV that say exactly what is stored."""


def _neutralised_cell(text: str) -> str:
    return quoted(escape_formula(text))


SPREADSHEET: CellWriters = {**FAITHFUL, "text": _neutralised_cell, "json": _neutralised_cell}
"""Cells of CSV of which none is a formula. Numbers stay numbers, negative ones too."""

_JSON_CELLS: CellWriters = {
    "text": str,
    "json": orjson.Fragment,
    "integer": int,
    "number": float,
    "boolean": bool,
    "instant": instant_text,
}


def csv_lines(
    columns: Sequence[Column], rows: Iterable[Row], naming: DisplayNames, cells: CellWriters = FAITHFUL
) -> Iterator[bytes]:
    """A header of the names and a line for each row."""
    written = _written(columns, naming, cells)
    yield (",".join(column.name for column in columns) + "\n").encode()
    for row in rows:
        fields = ["" if value is None else cell(value) for cell, value in zip(written, row, strict=True)]
        yield (",".join(fields) + "\n").encode()


def spreadsheet_lines(columns: Sequence[Column], rows: Iterable[Row], naming: DisplayNames) -> Iterator[bytes]:
    """The lines of a CSV for spreadsheets, after a byte order mark."""
    yield _BYTE_ORDER_MARK
    yield from csv_lines(columns, rows, naming, SPREADSHEET)


def json_lines(columns: Sequence[Column], rows: Iterable[Row], naming: DisplayNames) -> Iterator[bytes]:
    """An object for each row, its keys in the order of the columns, every key in every object."""
    written = list(zip((column.name for column in columns), _written(columns, naming, _JSON_CELLS), strict=True))
    for row in rows:
        found = {name: None if value is None else cell(value) for (name, cell), value in zip(written, row, strict=True)}
        yield orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE)


def _written(columns: Sequence[Column], naming: DisplayNames, cells: CellWriters) -> list[Cell]:
    """How each column is written. An annotator comes up in many rows, and is written once."""
    text = cells["text"]
    annotator = lru_cache(_ANNOTATORS_AT_HAND)(lambda annotator_id: text(naming(annotator_id)))
    return [annotator if column.type == "annotator" else cells[column.type] for column in columns]


class Format(NamedTuple):
    """A way to write rows down."""

    suffix: str
    """Of the files, without a dot before it."""
    media_type: str
    lines: Callable[[Sequence[Column], Iterable[Row], DisplayNames], Iterator[bytes]]


FORMATS: Mapping[str, Format] = {
    "csv": Format("csv", "text/csv; charset=utf-8", csv_lines),
    "spreadsheet": Format("spreadsheet.csv", "text/csv; charset=utf-8", spreadsheet_lines),
    "jsonl": Format("jsonl", "application/x-ndjson; charset=utf-8", json_lines),
}
"""By the name that a person asks for."""


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

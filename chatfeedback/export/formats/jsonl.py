"""JSON lines format: an object per line, every text exactly as stored.

A missing value is `null`, and JSON columns are embedded byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import orjson

from chatfeedback.export.cells import CellWriters, cell_writers, instant_text
from chatfeedback.export.columns import Column
from chatfeedback.export.format import Format
from chatfeedback.query.streaming import Row
from chatfeedback.store.accounts.pseudonyms import DisplayNames

_JSON_CELLS: CellWriters = {
    "text": str,
    "json": orjson.Fragment,
    "integer": int,
    "number": float,
    "boolean": bool,
    "instant": instant_text,
}


def json_lines(columns: Sequence[Column], rows: Iterable[Row], display_name: DisplayNames) -> Iterator[bytes]:
    """Yield a JSON object for each row, with all keys in the order of the columns."""
    writers = list(
        zip((column.name for column in columns), cell_writers(columns, display_name, _JSON_CELLS), strict=True)
    )
    for row in rows:
        record = {
            name: None if value is None else cell(value) for (name, cell), value in zip(writers, row, strict=True)
        }
        yield orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


FORMAT = Format("jsonl", "application/x-ndjson; charset=utf-8", json_lines, link="JSON lines")

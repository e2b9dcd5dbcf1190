"""CSV format: RFC 4180 with LF line ends, every text exactly as stored.

Text is always quoted and nothing else ever is. So a missing value (nothing) and an empty text (`""`) differ. A reader
that respects quotes takes no text for a number or a missing value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from chatfeedback.export.cells import CellWriters, cell_writers, instant_text
from chatfeedback.export.columns import Column
from chatfeedback.export.format import Format
from chatfeedback.query.streaming import Row
from chatfeedback.store.accounts.pseudonyms import DisplayNames


def quote(text: str) -> str:
    """Return the text as a quoted CSV field."""
    return '"' + text.replace('"', '""') + '"'


FAITHFUL: CellWriters = {
    "text": quote,
    "json": quote,
    "integer": str,
    "number": repr,
    "boolean": lambda value: "true" if value else "false",
    "instant": instant_text,
}
"""Cell writers of CSV that write exactly what is stored."""


def csv_lines(
    columns: Sequence[Column], rows: Iterable[Row], display_name: DisplayNames, cells: CellWriters = FAITHFUL
) -> Iterator[bytes]:
    """Yield a header with the names of the columns, and a line for each row."""
    writers = cell_writers(columns, display_name, cells)
    yield (",".join(column.name for column in columns) + "\n").encode()
    for row in rows:
        fields = ["" if value is None else cell(value) for cell, value in zip(writers, row, strict=True)]
        yield (",".join(fields) + "\n").encode()


FORMAT = Format("csv", "text/csv; charset=utf-8", csv_lines, link="Download CSV (unchanged)")

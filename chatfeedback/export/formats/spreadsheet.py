"""CSV format for spreadsheets, in which no text is a formula.

It is not faithful, and its suffix says so. It prefixes a text that a spreadsheet would take for a formula with a single
quote (OWASP, "CSV Injection"), reversibly. Everything else is as in the CSV, after a byte order mark, without which
Excel guesses another encoding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from chatfeedback.export.cells import CellWriters
from chatfeedback.export.columns import Column
from chatfeedback.export.format import Format
from chatfeedback.export.formats.csv import FAITHFUL, csv_lines, quote
from chatfeedback.query.streaming import Row
from chatfeedback.store.accounts.pseudonyms import DisplayNames

# Leading spaces and a byte order mark count too, because spreadsheets may strip them before they parse a field.
# Leading quotes match as well: so the first quote is always the one that was added here.
_FORMULA = re.compile("'*(?:[\t\r\n]|[\\s\ufeff]*[=+\\-@\uff1d\uff0b\uff0d\uff20])")
_BYTE_ORDER_MARK = "\ufeff".encode()


def escape_formula(text: str) -> str:
    """Return the text, with a single quote before it if a spreadsheet would take it for a formula.

    If such a text starts with quotes already, it gets one more: removing one always restores the text.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def _quote_escaped(text: str) -> str:
    return quote(escape_formula(text))


SPREADSHEET: CellWriters = {**FAITHFUL, "text": _quote_escaped, "json": _quote_escaped}
"""Cell writers of CSV that write no formula. Numbers stay numbers, also negative ones."""


def spreadsheet_lines(columns: Sequence[Column], rows: Iterable[Row], display_name: DisplayNames) -> Iterator[bytes]:
    """Yield the lines of a CSV for spreadsheets, after a byte order mark."""
    yield _BYTE_ORDER_MARK
    yield from csv_lines(columns, rows, display_name, SPREADSHEET)


FORMAT = Format(
    "spreadsheet.csv",
    "text/csv; charset=utf-8",
    spreadsheet_lines,
    link="Download for spreadsheets",
    is_for_people=True,
)

"""Spreadsheet-safe CSV: no text is a formula, nothing is lost, and all else is as in the faithful CSV."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.export.columns import Column
from chatfeedback.export.formats.csv import csv_lines
from chatfeedback.export.formats.spreadsheet import escape_formula, spreadsheet_lines
from chatfeedback.store.log.event_store import EventStore
from conversation_builder import People
from export.recording import Export, TimedTalk, gather
from export.test_formats import texts

SIGNS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
BREAKS = ("\t", "\r", "\n")
MARK = "\ufeff"
columns = (
    Column("text"),
    Column("data", "json"),
    Column("who", "annotator"),
    Column("seed", "integer"),
    Column("temperature", "number"),
    Column("shown", "boolean"),
    Column("at", "instant"),
)
# Characters of formulas and quotes, and those trimmed before them: few enough to meet often.
tricky = st.text(st.sampled_from("='\ufeff \t\r\n\u00a0\u3000+-@\uff1d\uff0b\uff0d\uff20\",;x"), max_size=6)
fields = tricky | texts
rows = st.tuples(
    st.none() | fields,
    st.none() | fields,
    fields,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.booleans(),
    st.none() | st.integers(0, 2**50),
)
tables = st.lists(rows, max_size=6)
Table = list[tuple[object, ...]]


def faithful(table: Table) -> bytes:
    return b"".join(csv_lines(columns, table, str))


def spreadsheet(table: Table) -> bytes:
    return b"".join(spreadsheet_lines(columns, table, str))


def read(written: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(written.decode("utf-8-sig"), newline=""), strict=True))


def is_formula(text: str) -> bool:
    """Return True if a spreadsheet might compute the text, trimmed or not."""
    inked = (character for character in text if not character.isspace() and character != MARK)
    return text.startswith(BREAKS) or next(inked, "") in SIGNS


@given(tables)
def test_spreadsheet_text_never_begins_like_formula(table: Table) -> None:
    for row in read(spreadsheet(table)):
        assert not any(text.startswith(SIGNS + BREAKS) or is_formula(text) for text in row[:3])


@given(tables)
def test_spreadsheet_equals_csv_except_for_formulas(table: Table) -> None:
    for before, after in zip(read(faithful(table)), read(spreadsheet(table)), strict=True):
        assert after[3:] == before[3:], "numbers are never touched, negative ones neither"
        assert after[:3] == [f"'{text}" if is_formula(text.lstrip("'")) else text for text in before[:3]]


@given(fields)
def test_escape_formula_keeps_distinct_texts_distinct(text: str) -> None:
    bare = text.lstrip("'")
    alike = ["'" * quotes + bare for quotes in range(4)]
    assert len(set(map(escape_formula, alike))) == len(alike)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        *((f"{sign}1+1", True) for sign in (*SIGNS, *BREAKS)),
        ("  =1", True),
        ("\ufeff=1", True),
        ("'=1", True),
        ("''=1", True),
        ("'twas", False),
        ("", False),
        ("1-1", False),
        ('"=1"', False),
        (" x", False),
        ("x\n=1", False),
    ],
)
def test_spreadsheet_puts_single_quote_before_formula(text: str, changed: bool) -> None:
    cell = f"'{text}" if changed else text
    written = b"".join(spreadsheet_lines((Column("text"),), [(text,)], str)).decode()
    assert written == '\ufefftext\n"' + cell.replace('"', '""') + '"\n'


def test_spreadsheet_export_differs_from_csv_by_mark_and_quotes_only(
    store: EventStore, people: People, export: Export
) -> None:
    gather(store, people)
    for kind in ("events", "messages", "feedback"):
        assert export(kind, "spreadsheet") == b"\xef\xbb\xbf" + export(kind, "csv")
    talk = TimedTalk(store, people.ada)
    talk.comment(talk.ask("=1+1", "- one\n- two"), people.bob, "@home")
    for kind, quotes in (("events", 0), ("messages", 2), ("feedback", 3)):
        written = export(kind, "spreadsheet").removeprefix(b"\xef\xbb\xbf")
        assert re.subn(rb"\"'(?=[=@-])", b'"', written) == (export(kind, "csv"), quotes)

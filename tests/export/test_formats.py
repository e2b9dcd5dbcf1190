"""Lines of CSV and JSON: what goes in comes out again, in every reader that we name in the docs."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import csv as arrow_csv

from chatfeedback.export.cells import instant_text
from chatfeedback.export.columns import Column
from chatfeedback.export.formats.csv import csv_lines
from chatfeedback.export.formats.jsonl import json_lines
from chatfeedback.export.stream import chunked
from chatfeedback.store.schema import from_micros, to_micros

NASTY = [
    *(
        '"',
        '""',
        ",",
        "\n",
        "\r",
        "\r\n",
        "a\r\nb\n",
        " x ",
        "\t",
        "NA",
        "null",
        "None",
        "nan",
        "\\N",
        "\\",
        "",
        "\ufeff",
    ),
    *(
        "=1+1",
        "@SUM(A1)",
        "-1",
        "+1",
        "1",
        "1.0",
        "true",
        "2026-01-01",
        "\ufffd",
        "👩‍👩‍👧",
        "\u2028",
        "שלום, עולם",
        "é",
        "\x1a",
    ),
]
# Texts that the store keeps: neither NUL nor lone surrogates.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(NASTY)
columns = (Column("number", "integer"), Column("text"), Column("comment"))
tables = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), texts, st.none() | texts), max_size=8)
Table = list[tuple[int, str, str | None]]


def as_csv(rows: Table) -> bytes:
    return b"".join(csv_lines(columns, rows, str))


@given(tables)
def test_csv_round_trips_through_python(rows: Table) -> None:
    header, *read_rows = csv.reader(io.StringIO(as_csv(rows).decode(), newline=""), strict=True)
    assert header == ["number", "text", "comment"]
    assert read_rows == [[str(number), text, comment or ""] for number, text, comment in rows]


@given(tables)
def test_csv_round_trips_through_pyarrow_with_missing_and_empty_values(rows: Table) -> None:
    table = arrow_csv.read_csv(
        io.BytesIO(as_csv(rows)),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types={"number": pa.int64(), "text": pa.string(), "comment": pa.string()},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    assert list(zip(*table.to_pydict().values(), strict=True)) == rows


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=tables)
def test_csv_round_trips_through_postgres_with_missing_and_empty_values(rows: Table, database_url: str) -> None:
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TEMP TABLE loaded (number bigint, text text, comment text, n serial)")
        with connection.cursor().copy(
            "COPY loaded (number, text, comment) FROM STDIN (FORMAT csv, HEADER match)"
        ) as copy:
            copy.write(as_csv(rows))
        loaded = connection.execute("SELECT number, text, comment FROM loaded ORDER BY n").fetchall()
    assert loaded == rows


@given(tables)
def test_json_lines_round_trip(rows: Table) -> None:
    lines = b"".join(json_lines(columns, rows, str)).split(b"\n")
    assert lines.pop() == b""
    assert [tuple(json.loads(line).items()) for line in lines] == [
        tuple(zip(("number", "text", "comment"), row, strict=True)) for row in rows
    ]


def test_csv_quotes_every_text_and_writes_nothing_for_missing_value() -> None:
    assert as_csv([(1, "a", None), (2, "", ""), (3, 'say "x"', "1")]) == (
        b'number,text,comment\n1,"a",\n2,"",""\n3,"say ""x""","1"\n'
    )


def test_formats_write_every_type_of_column() -> None:
    typed = (
        Column("flag", "boolean"),
        Column("number", "number"),
        Column("at", "instant"),
        Column("data", "json"),
    )
    rows = [(True, 0.1 + 0.2, 0, '{"a":[1,"é"]}'), (False, 1e-07, 1, "[]"), (None, None, None, None)]
    assert b"".join(csv_lines(typed, rows, str)).decode() == (
        "flag,number,at,data\n"
        'true,0.30000000000000004,1970-01-01T00:00:00.000000Z,"{""a"":[1,""é""]}"\n'
        'false,1e-07,1970-01-01T00:00:00.000001Z,"[]"\n'
        ",,,\n"
    )
    assert b"".join(json_lines(typed, rows, str)).decode() == (
        '{"flag":true,"number":0.30000000000000004,"at":"1970-01-01T00:00:00.000000Z","data":{"a":[1,"é"]}}\n'
        '{"flag":false,"number":1e-7,"at":"1970-01-01T00:00:00.000001Z","data":[]}\n'
        '{"flag":null,"number":null,"at":null,"data":null}\n'
    )


def test_json_lines_embed_json_byte_for_byte() -> None:
    written = '{"b": 1.50,  "a":"\\u00e9"}'
    assert b"".join(json_lines((Column("data", "json"),), [(written,)], str)) == f'{{"data":{written}}}\n'.encode()


@given(st.datetimes(timezones=st.just(UTC)))
def test_instant_text_keeps_microseconds(instant: datetime) -> None:
    written = instant_text(to_micros(instant))
    assert len(written) == 27
    assert datetime.fromisoformat(written) == instant == from_micros(to_micros(instant))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_round_trip_exactly(number: float) -> None:
    column = (Column("number", "number"),)
    assert float(b"".join(csv_lines(column, [(number,)], str)).split(b"\n")[1]) == number
    assert json.loads(b"".join(json_lines(column, [(number,)], str)))["number"] == number


def test_chunked_makes_chunks_of_one_size_and_loses_nothing() -> None:
    lines = [b"x" * 1000 + b"\n"] * 1000
    chunks = list(chunked(lines))
    assert b"".join(chunks) == b"".join(lines)
    assert {len(chunk) > 1 << 18 for chunk in chunks[:-1]} == {True}
    assert max(map(len, chunks)) < (1 << 18) + 1001

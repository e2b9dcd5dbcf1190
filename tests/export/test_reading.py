"""The calls of docs/data.md that read files: they lose nothing, whatever the files contain."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatfeedback.export.columns import Column
from chatfeedback.export.registry import DATASETS, FORMATS
from export.data_page import blocks, rows, section
from export.hard_values import HARD_NUMBERS, HARD_TEXTS

Rows = list[dict[str, Any]]
Stored = dict[str, list[tuple[Any, ...]]]
"""Rows as a database has them, by dataset."""

DATE_LIKE = ["2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01 00:00:00", "12:00:00"]
UUID = "01a22e59-71ff-708e-8de0-70acc9c40152"
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20) | st.sampled_from(
    [*HARD_TEXTS, *DATE_LIKE, UUID, ""]
)
NUMBERS = st.floats(0, allow_infinity=False, allow_subnormal=False) | st.sampled_from(list(HARD_NUMBERS))
INTEGERS = st.integers(0, 2**53)
INSTANTS = st.integers(946_684_800_000_000, 4_102_444_800_000_000)  # the years 2000 to 2100


def canonical(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def values(column: Column, texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Return the values of a column that is never missing, as the database has them."""
    if column.name == "thread":
        message = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": texts})
        return st.lists(message, max_size=2).map(canonical)
    by_type = {
        "text": texts,
        "annotator": texts,
        "integer": INTEGERS,
        "number": NUMBERS,
        "boolean": st.booleans(),
        "instant": INSTANTS,
        "json": st.lists(texts, max_size=2).map(canonical),
    }
    return by_type[column.type]


@st.composite
def stored_rows(draw: st.DrawFn) -> Stored:
    """Return rows of messages and feedback; in some examples all texts are the same."""
    texts = draw(st.just(TEXTS) | TEXTS.map(st.just))
    stored = {}
    for kind in ("messages", "feedback"):
        described = rows(section(f"## {kind.capitalize()}"), "Column | Type | Meaning | Missing")
        never = {name.strip("`") for name, _, _, missing in described if missing == "never"}
        columns = [values(column, texts) for column in DATASETS[kind].columns]
        row = st.tuples(
            *(
                column if described.name in never else st.none() | column
                for described, column in zip(DATASETS[kind].columns, columns, strict=True)
            )
        )
        stored[kind] = draw(st.lists(row, min_size=1, max_size=4))
    return stored


def uniform(text: str, number: float = 0.95) -> Stored:
    """Return two rows in which every text and every number is the same."""
    by_type = {"integer": 2**53, "number": number, "boolean": True, "instant": 1_700_000_000_123_456}
    thread = canonical([{"role": "user", "content": text}])

    def value(column: Column) -> Any:
        if column.type == "json":
            return thread if column.name == "thread" else canonical([text])
        return by_type.get(column.type, text)

    return {kind: [tuple(map(value, DATASETS[kind].columns))] * 2 for kind in ("messages", "feedback")}


def write_files(folder: Path, stored: Stored) -> tuple[Rows, Rows]:
    """Write the files that the page reads; return the rows of feedback and messages as they are meant."""
    for kind, kind_rows in stored.items():
        for format in FORMATS.values():
            lines = format.lines(DATASETS[kind].columns, kind_rows, lambda annotator_id: annotator_id)
            (folder / f"{kind}.{format.suffix}").write_bytes(b"".join(lines))
    meant = {kind: (folder / f"{kind}.jsonl").read_bytes().split(b"\n")[:-1] for kind in stored}
    feedback, messages = ([orjson.loads(line) for line in meant[kind]] for kind in ("feedback", "messages"))
    return feedback, messages


def plain(value: Any) -> Any:
    """Return a loaded value as JSON has it: times as text, and None for what the reader calls missing."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return f"{aware.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    if value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    return value


def check(loaded: Sequence[Mapping[str, Any]], meant: Rows, *, is_missing_empty: bool = False) -> None:
    """Compare loaded rows with those that are meant; JSON may have been left as text."""
    assert len(loaded) == len(meant)
    for loaded_row, row in zip(loaded, meant, strict=True):
        assert loaded_row.keys() == row.keys()
        for name, value in row.items():
            got = plain(loaded_row[name])
            if isinstance(value, list) and isinstance(got, str):
                got = json.loads(got)
            assert got == ("" if value is None and is_missing_empty else value), name


@pytest.fixture(autouse=True)
def _field_limit() -> Iterator[None]:
    limit = csv.field_size_limit()
    yield
    csv.field_size_limit(limit)


def check_calls(folder: Path, stored: Stored) -> None:
    feedback, messages = write_files(folder, stored)
    space: dict[str, Any] = {}
    with chdir(folder):
        for block in blocks("python"):
            exec(block, space)
        check([dict(zip(space["feedback_relation"].columns, row, strict=True))
               for row in space["feedback_relation"].fetchall()], feedback)  # fmt: skip
    check(space["feedback"].to_dict("records"), feedback, is_missing_empty=True)
    check(space["messages"].to_dict("records"), messages)
    check(space["feedback_table"].to_pylist(), feedback)
    check(space["messages_table"].to_pylist(), messages)
    check(space["exact"].astype(object).to_dict("records"), messages)
    check(space["feedback_frame"].to_dicts(), feedback)
    check(space["messages_frame"].to_dicts(), messages)
    check(space["feedback_dataset"].to_list(), feedback)
    texts = [{name: str(value).lower() if value is True or value is False else value for name, value in row.items()}
             for row in feedback]  # fmt: skip
    check(space["feedback_dicts"], texts, is_missing_empty=True)
    assert space["disliked"] == [row for row in feedback if row["value"] == "dislike"]
    assert len(space["likes"]) == sum(row["value"] == "like" for row in feedback)
    assert len(space["written_by_people"]) == sum(row["system_prompt"] is None for row in messages)
    assert len(space["asked_without_instruction"]) == sum(row["system_prompt"] == "" for row in messages)
    for name in ("prompt", "reply", "comment", "event_ids", "annotator_id"):
        assert list(space["undone"][name]) == list(space["feedback"][name])


@settings(max_examples=10)
@given(stored=stored_rows())
@example(stored=uniform("2026-01-01"))
@example(stored=uniform("2026-01-01T00:00:00Z"))
@example(stored=uniform(UUID))
@example(stored=uniform("007", 1.7976931348623157e308))
@example(stored=uniform("NA", 0.1 + 0.2))
@example(stored=uniform("=1", 1e-07))
@example(stored=uniform("long " * 40_000))
def test_data_page_calls_for_python_lose_nothing(stored: Stored) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_calls(Path(folder), stored)


@pytest.fixture
def rscript() -> str:
    """Return the program of R; skip the test where R or its package jsonlite is not installed."""
    program = shutil.which("Rscript")
    if program is None or subprocess.run([program, "-e", "library(jsonlite)"], capture_output=True).returncode:
        pytest.skip("R with jsonlite is not installed")
    return program


@pytest.mark.process
def test_data_page_call_for_r_loses_nothing(tmp_path: Path, rscript: str) -> None:
    first, *_ = uniform("")["feedback"]
    columns = [column.name for column in DATASETS["feedback"].columns]
    texts = [None, "", *HARD_TEXTS, *DATE_LIKE, UUID, "x" * 200_000]
    changed = (dict.fromkeys(("prompt", "reply", "value", "comment", "model"), text) for text in texts)
    feedback, _ = write_files(
        tmp_path,
        {
            "messages": uniform("")["messages"],
            "feedback": [
                tuple(row.get(name, value) for name, value in zip(columns, first, strict=True)) for row in changed
            ],
        },
    )
    (script,) = blocks("r")
    script += """
for (name in names(feedback)) write(toJSON(feedback[[name]], na = "null"), paste0(name, ".json"))
"""
    subprocess.run([rscript, "--vanilla", "-"], input=script.encode(), cwd=tmp_path, check=True)
    names = ("prompt", "reply", "value", "comment", "model", "rated_at", "shown")
    for name in names:
        assert json.loads((tmp_path / f"{name}.json").read_bytes()) == [row[name] for row in feedback], name

"""The page docs/data.md: its tables are those of the code, its example happens, its calls read what is exported."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

import clusters
from chatfeedback.domain.conversation.events import Generation, Provenance
from chatfeedback.domain.events import BODIES
from chatfeedback.domain.types import FinalStatus
from chatfeedback.export.registry import DATASETS, FORMATS
from chatfeedback.store.log.event_store import EventStore
from conversation_builder import People
from export.data_page import PAGE, blocks, rows, section
from export.hard_values import HARD_NUMBERS, HARD_TEXTS
from export.recording import Export, Read, TimedTalk, gather


@pytest.mark.parametrize("kind", DATASETS)
def test_data_page_describes_every_column_with_its_type(kind: str) -> None:
    described = rows(section(f"## {kind.capitalize()}"), "Column | Type | Meaning | Missing")
    assert [(name, type_) for name, type_, _, _ in described] == [
        (f"`{column.name}`", column.type) for column in DATASETS[kind].columns
    ]
    assert all(meaning and missing for *_, meaning, missing in described)


@pytest.mark.parametrize("kind", BODIES)
def test_data_page_describes_every_kind_of_event_with_its_fields(kind: str) -> None:
    text = section(f"#### `{kind}`")
    expected = [f"`{field.name}`" for field in fields(BODIES[kind]) if field.name != "message_id"]
    assert [row[0] for row in rows(text, "Field | Type | Meaning")] == expected if expected else "No fields" in text


def test_data_page_describes_only_existing_kinds_of_events() -> None:
    assert re.findall(r"^#### `(\w+)`$", PAGE, re.MULTILINE) == list(BODIES)


def test_data_page_describes_generation() -> None:
    text = section("#### `reply_started`").partition("fields of `generation`")[2]
    assert [row[0] for row in rows(text, "Field | Type | Meaning")] == [
        f"`{field.name}`" for field in fields(Generation)
    ]


def test_data_page_describes_provenance() -> None:
    text = section("#### `reply_finished`").partition("`provenance` is what became of it")[2]
    assert [row[0] for row in rows(text, "Field | Type | Meaning")] == [
        f"`{field.name}`" for field in fields(Provenance)
    ]


@pytest.mark.parametrize("kind", DATASETS)
def test_export_has_value_in_columns_that_data_page_calls_never_missing(
    kind: str, store: EventStore, people: People, read: Read
) -> None:
    gather(store, people)
    talk = TimedTalk(store, people.bob)
    corrected, _ = talk.edit(talk.ask("Hello", "", "failed"), "Good day")
    talk.comment(corrected, people.cyd, "better")
    talk.clear()
    talk.send("Are you there?")
    described = rows(section(f"## {kind.capitalize()}"), "Column | Type | Meaning | Missing")
    never = {name.strip("`") for name, _, _, missing in described if missing == "never"}
    assert {name for row in read(kind) for name, value in row.items() if value is None} & never == set()


def test_data_page_example_agrees_with_export(talk: TimedTalk, people: People, called: People, read: Read) -> None:
    blue = talk.ask("Name a colour", "Blue")
    talk.dislike(blue, people.ada)
    talk.again(blue, "Green")
    prompt = talk.conversation.messages[blue].parent_id
    assert prompt is not None
    _, red = talk.edit(prompt, "Name a warm colour")
    talk.finish(red, "Red")
    talk.edit(red, "Orange")
    exported = read("messages")
    names = {row["message_id"]: f"m{number}" for number, row in enumerate(exported, 1)} | {called.ada: "ada", None: ""}
    header = "message_id | version | role | author_id | parent_id | replaces_id | shown | text"
    ids = {"message_id", "author_id", "parent_id", "replaces_id"}
    happened = [
        [names[row[name]] if name in ids else str(row[name]).replace("True", "true").replace("False", "false")
         for name in header.split(" | ")]
        for row in exported
    ]  # fmt: skip
    assert rows(section("### A worked example"), header) == happened
    (rated,) = read("feedback")
    assert (names[rated["message_id"]], rated["value"], rated["shown"]) == ("m2", "dislike", False)


@pytest.mark.parametrize("status", ["failed", "stopped", "left", "interrupted"])
@pytest.mark.parametrize("text", ["", "Green"])
def test_export_shows_old_reply_after_retry_without_text(
    status: FinalStatus, text: str, talk: TimedTalk, people: People, read: Read
) -> None:
    old = talk.ask("Name a colour", "Blue")
    new = talk.retry(old)
    shown = {row["message_id"]: row["shown"] for row in read("messages")}
    assert (shown[old], shown[new]) == (False, True), "while it is being written"
    talk.finish(new, text, status)
    rows = {row["message_id"]: row for row in read("messages")}
    assert (rows[new]["text"], rows[new]["status"]) == (text, status)
    assert (rows[old]["shown"], rows[new]["shown"]) == (text == "", text != "")


def test_export_shows_empty_reply_after_retry_of_empty_reply(talk: TimedTalk, read: Read) -> None:
    old = talk.ask("Name a colour", "", "failed")
    new = talk.retry(old)
    talk.finish(new, "", "failed")
    shown = {row["message_id"]: row["shown"] for row in read("messages")}
    assert (shown[old], shown[new]) == (False, True)


@pytest.fixture
def hard_to_read(store: EventStore, people: People) -> None:
    gather(store, people)
    talk = TimedTalk(store, people.ada)
    for text in HARD_TEXTS:
        talk.comment(talk.ask(text, text), people.bob, text)
    for number, seed in HARD_NUMBERS.items():
        talk.generation = {"temperature": number, "top_p": number / 3, "seed": seed}
        talk.ask("How much?", "That much.")
    talk.generation = {"system_prompt": ""}
    talk.like(talk.ask("At length, please", "long " * 500_000), people.cyd)


@pytest.fixture
def exported(tmp_path: Path, export: Export, hard_to_read: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the files that the page reads into the working directory."""
    monkeypatch.chdir(tmp_path)
    for kind in DATASETS:
        for format, written in FORMATS.items():
            Path(f"{kind}.{written.suffix}").write_bytes(export(kind, format))


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_data_page_call_for_psql_loses_nothing(postgres_server: Any, read: Read) -> None:
    (script,) = blocks("sql psql")
    database = postgres_server.create_database()
    address = postgres_server.url(database).replace("+psycopg", "")
    psql = clusters.newest() / "psql"
    subprocess.run([psql, "--quiet", "--set=ON_ERROR_STOP=1", address], input=script.encode(), check=True)
    names = ("prompt", "reply", "value", "comment", "model", "author_id", "shown", "thread", "reasons", "event_ids")
    with closing(psycopg.connect(address)) as connection:
        loaded = connection.execute(
            f"SELECT message_id::text, annotator_id, {', '.join(names)}, rated_at FROM feedback"
        )
        assert loaded.description
        by_key = {row[:2]: dict(zip((c.name for c in loaded.description), row, strict=True)) for row in loaded}
    postgres_server.drop_database(database)
    feedback = read("feedback")
    assert len(by_key) == len(feedback)
    for row in feedback:
        loaded_row = by_key[row["message_id"], row["annotator_id"]]
        assert {name: loaded_row[name] for name in names} == {name: row[name] for name in names}
        assert f"{loaded_row['rated_at']:%Y-%m-%dT%H:%M:%S.%f}Z" == row["rated_at"]


@pytest.mark.usefixtures("hard_to_read")
def test_data_page_statements_for_database_agree_with_exports(
    database_url: str, database_kind: str, called: People, read: Read
) -> None:
    def answer(statement: str) -> list[Any]:
        if database_kind == "sqlite":
            with closing(sqlite3.connect(str(make_url(database_url).database))) as connection:
                return connection.execute(statement).fetchall()
        with closing(psycopg.connect(database_url.replace("+psycopg", ""))) as connection:
            return connection.execute(statement).fetchall()

    (of_events,) = blocks(f"sql {database_kind}")
    names = {getattr(called, name): name for name in People._fields}
    answers = answer(of_events)
    assert [row[1:] for row in answers] == [
        (names[row["actor_id"]], row["kind"], row["payload"].get("text")) for row in read("events")
    ]
    digits = 23 if database_kind == "sqlite" else 26  # SQLite's functions know milliseconds
    instants = [str(row[0]).removesuffix("+00:00") for row in answers]
    assert [at[:digits] for at in instants] == [row["occurred_at"].replace("T", " ")[:digits] for row in read("events")]

    (of_ratings,) = blocks("sql")
    feedback = read("feedback")
    assert answer(of_ratings) == [
        (
            model,
            sum(row["model"] == model and row["value"] == "like" for row in feedback),
            sum(row["model"] == model and row["value"] == "dislike" for row in feedback),
        )
        for model in sorted({row["model"] for row in feedback})
    ]

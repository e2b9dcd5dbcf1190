"""Names of annotators in exports: pseudonyms, unless names are asked for."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Engine

from chatfeedback.export.registry import DATASETS, FORMATS
from chatfeedback.store.accounts import annotators
from chatfeedback.store.accounts import pseudonyms as naming
from chatfeedback.store.log.event_store import EventStore
from conversation_builder import People
from export.recording import Export, Read, TimedTalk, gather

# Names that occur by chance in no recorded text and in no pseudonym.
NAMES = People("Ada Countess of Lovelace", "=Robert Tables", "Cydonia!")
WHO = {"annotator_id", "actor_id", "author_id"}


@pytest.fixture
def people(engine: Engine) -> People:
    return People(*(annotators.ensure(engine, name) for name in NAMES))


@pytest.fixture(autouse=True)
def _everything_happens(store: EventStore, people: People) -> None:
    gather(store, people)
    talk = TimedTalk(store, people.ada)
    first = talk.ask("Hello", "Hi")
    talk.like(first, people.bob, "funny")
    corrected, _ = talk.edit(talk.again(first, "Good day"), "Good morning")
    talk.dislike(corrected, people.cyd, "wrong")
    talk.choose(first)
    talk.undo()
    talk.clear()


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize("format", FORMATS)
def test_export_has_no_name_and_no_id_of_annotator(
    kind: str, format: str, export: Export, people: People, called: People
) -> None:
    written = export(kind, format)
    for person in (*people, *(annotator_id.replace("-", "") for annotator_id in people), *NAMES):
        assert person.encode() not in written
    assert set(re.findall(rb"annotator-[a-z2-7]{16}", written)) == {pseudonym.encode() for pseudonym in called}


@pytest.mark.parametrize("kind", DATASETS)
def test_naming_changes_only_columns_of_annotators(
    kind: str, engine: Engine, people: People, called: People, read: Read
) -> None:
    ids, names, pseudonyms = read(kind, naming=str), read(kind, naming=naming.names(engine)), read(kind)
    name, pseudonym = dict(zip(people, NAMES, strict=True)), dict(zip(people, called, strict=True))
    columns = {column.name for column in DATASETS[kind].columns} & WHO
    assert columns == {column.name for column in DATASETS[kind].columns if column.type == "annotator"} != set()
    for row, named, hidden in zip(ids, names, pseudonyms, strict=True):
        ids_by_column = {column: row[column] for column in columns}
        assert named == row | {column: name.get(person) for column, person in ids_by_column.items()}
        assert hidden == row | {column: pseudonym.get(person) for column, person in ids_by_column.items()}


def test_spreadsheet_escapes_name_that_looks_like_formula(engine: Engine, export: Export) -> None:
    called = naming.names(engine)
    assert b'"=Robert Tables"' in export("feedback", "csv", naming=called)
    assert b'"=Robert Tables"' not in export("feedback", "spreadsheet", naming=called)
    assert b'"\'=Robert Tables"' in export("feedback", "spreadsheet", naming=called)

"""Who somebody is, in exports: nobody, unless names are asked for."""

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

# No text that is recorded, and no pseudonym, has one of these in it by chance.
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
def test_no_name_and_no_id_of_a_person_is_anywhere_in_an_export(
    kind: str, format: str, export: Export, people: People, called: People
) -> None:
    written = export(kind, format)
    for person in (*people, *(annotator_id.replace("-", "") for annotator_id in people), *NAMES):
        assert person.encode() not in written
    assert set(re.findall(rb"annotator-[a-z2-7]{16}", written)) == {pseudonym.encode() for pseudonym in called}


@pytest.mark.parametrize("kind", DATASETS)
def test_only_the_columns_that_say_who_somebody_is_depend_on_the_naming(
    kind: str, engine: Engine, people: People, called: People, read: Read
) -> None:
    ids, names, pseudonyms = read(kind, naming=str), read(kind, naming=naming.names(engine)), read(kind)
    name, pseudonym = dict(zip(people, NAMES, strict=True)), dict(zip(people, called, strict=True))
    columns = {column.name for column in DATASETS[kind].columns} & WHO
    assert columns == {column.name for column in DATASETS[kind].columns if column.type == "annotator"} != set()
    for row, named, hidden in zip(ids, names, pseudonyms, strict=True):
        who = {column: row[column] for column in columns}
        assert named == row | {column: name.get(person) for column, person in who.items()}
        assert hidden == row | {column: pseudonym.get(person) for column, person in who.items()}


def test_a_name_that_looks_like_a_formula_is_neutralised_for_spreadsheets(engine: Engine, export: Export) -> None:
    called = naming.names(engine)
    assert b'"=Robert Tables"' in export("feedback", "csv", naming=called)
    assert b'"=Robert Tables"' not in export("feedback", "spreadsheet", naming=called)
    assert b'"\'=Robert Tables"' in export("feedback", "spreadsheet", naming=called)

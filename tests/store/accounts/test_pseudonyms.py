"""Pseudonyms: stable, keyed and unique; and the search by name, id or pseudonym."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, update

from chatfeedback.domain.types import new_id
from chatfeedback.store.accounts import annotators, pseudonyms, secrets
from chatfeedback.store.accounts.annotators import Annotator
from chatfeedback.store.database import migrate
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.schema import annotators as people_table
from conversation_builder import People


@given(key=st.binary(min_size=32, max_size=32), annotator_id=st.uuids().map(str))
def test_pseudonym_is_eighty_bits_of_keyed_hash_of_id(key: bytes, annotator_id: str) -> None:
    pseudonym = pseudonyms.pseudonym(key, annotator_id)
    assert re.fullmatch(r"annotator-[a-z2-7]{16}", pseudonym)
    hashed = base64.b32decode(pseudonym.removeprefix("annotator-").upper())
    assert hashed == hmac.new(key, annotator_id.encode(), hashlib.sha256).digest()[:10]


def test_pseudonyms_are_stable_in_one_database_and_differ_between_databases(
    engine: Engine, people: People, tmp_path: Path
) -> None:
    expected = [pseudonyms.pseudonyms(engine)(one) for one in people]
    assert [pseudonyms.pseudonyms(engine)(one) for one in people] == expected
    assert len(set(expected)) == 3
    with engine.begin() as connection:
        connection.execute(update(people_table).values(name=people_table.c.name + " renamed"))
    assert [pseudonyms.pseudonyms(engine)(one) for one in people] == expected
    migrate.upgrade(f"sqlite:///{tmp_path}/other.db")
    other = open_engine(f"sqlite:///{tmp_path}/other.db")
    assert {pseudonyms.pseudonyms(other)(one) for one in people}.isdisjoint(expected)
    other.dispose()


def test_names_are_current_and_fall_back_to_id(engine: Engine, people: People) -> None:
    name = pseudonyms.names(engine)
    assert [name(one) for one in people] == ["ada", "bob", "cyd"]
    late, unknown = annotators.ensure(engine, "dan"), new_id()
    assert (name(late), name(unknown), name(unknown)) == ("dan", unknown, unknown)
    with engine.begin() as connection:
        connection.execute(update(people_table).where(people_table.c.name == "bob").values(name="Robert"))
    assert pseudonyms.names(engine)(people.bob) == "Robert"


def test_find_accepts_name_id_or_pseudonym(engine: Engine, people: People) -> None:
    assert pseudonyms.find(engine, "annotator-aaaaaaaaaaaaaaaa") is None
    assert secrets.find(engine, pseudonyms.KEY) is None, "who looks for somebody makes no key"
    bob = Annotator(people.bob, "bob")
    for reference in ("bob", people.bob, pseudonyms.pseudonyms(engine)(people.bob)):
        assert pseudonyms.find(engine, reference) == bob
        assert pseudonyms.find(engine, reference, by_name=False) == (None if reference == "bob" else bob)
    assert pseudonyms.find(engine, "annotator-aaaaaaaaaaaaaaaa") is None


@pytest.mark.parametrize("by_name", [True, False])
def test_find_prefers_id_and_pseudonym_to_same_name_of_another_annotator(
    by_name: bool, engine: Engine, people: People
) -> None:
    for taken in (people.bob, pseudonyms.pseudonyms(engine)(people.bob)):
        annotators.ensure(engine, taken)
        assert pseudonyms.find(engine, taken, by_name=by_name) == Annotator(people.bob, "bob")

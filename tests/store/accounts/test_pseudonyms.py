"""Pseudonyms: steady, keyed, nobody else's; and who is meant by a name, an id or a pseudonym."""

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
def test_a_pseudonym_is_eighty_bits_of_a_keyed_hash_of_the_id(key: bytes, annotator_id: str) -> None:
    called = pseudonyms.pseudonym(key, annotator_id)
    assert re.fullmatch(r"annotator-[a-z2-7]{16}", called)
    hashed = base64.b32decode(called.removeprefix("annotator-").upper())
    assert hashed == hmac.new(key, annotator_id.encode(), hashlib.sha256).digest()[:10]


def test_a_pseudonym_stays_in_a_database_and_is_another_one_in_another(
    engine: Engine, people: People, tmp_path: Path
) -> None:
    called = [pseudonyms.pseudonyms(engine)(one) for one in people]
    assert [pseudonyms.pseudonyms(engine)(one) for one in people] == called
    assert len(set(called)) == 3
    with engine.begin() as connection:
        connection.execute(update(people_table).values(name=people_table.c.name + " renamed"))
    assert [pseudonyms.pseudonyms(engine)(one) for one in people] == called
    migrate.upgrade(f"sqlite:///{tmp_path}/other.db")
    other = open_engine(f"sqlite:///{tmp_path}/other.db")
    assert {pseudonyms.pseudonyms(other)(one) for one in people}.isdisjoint(called)
    other.dispose()


def test_a_name_is_that_of_now_and_who_has_none_is_called_by_the_id(engine: Engine, people: People) -> None:
    name = pseudonyms.names(engine)
    assert [name(one) for one in people] == ["ada", "bob", "cyd"]
    late, unknown = annotators.ensure(engine, "dan"), new_id()
    assert (name(late), name(unknown), name(unknown)) == ("dan", unknown, unknown)
    with engine.begin() as connection:
        connection.execute(update(people_table).where(people_table.c.name == "bob").values(name="Robert"))
    assert pseudonyms.names(engine)(people.bob) == "Robert"


def test_a_person_is_found_by_name_id_or_pseudonym(engine: Engine, people: People) -> None:
    assert pseudonyms.find(engine, "annotator-aaaaaaaaaaaaaaaa") is None
    assert secrets.find(engine, pseudonyms.KEY) is None, "who looks for somebody makes no key"
    bob = Annotator(people.bob, "bob")
    for called in ("bob", people.bob, pseudonyms.pseudonyms(engine)(people.bob)):
        assert pseudonyms.find(engine, called) == bob
        assert pseudonyms.find(engine, called, by_name=False) == (None if called == "bob" else bob)
    assert pseudonyms.find(engine, "annotator-aaaaaaaaaaaaaaaa") is None


@pytest.mark.parametrize("by_name", [True, False])
def test_nobody_stands_in_for_another_by_taking_their_pseudonym_or_id_for_a_name(
    by_name: bool, engine: Engine, people: People
) -> None:
    for taken in (people.bob, pseudonyms.pseudonyms(engine)(people.bob)):
        annotators.ensure(engine, taken)
        assert pseudonyms.find(engine, taken, by_name=by_name) == Annotator(people.bob, "bob")

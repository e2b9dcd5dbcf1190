"""People: one opaque id each, and the only place where it meets a name."""

from __future__ import annotations

import threading

from sqlalchemy import Engine

from chatfeedback.domain.types import new_id
from chatfeedback.store.accounts import annotators
from chatfeedback.store.accounts.annotators import Annotator
from conversation_builder import People


def test_a_person_is_made_at_first_sight_and_known_from_then_on(engine: Engine) -> None:
    ada = annotators.ensure(engine, "Ada Lovelace")
    assert annotators.ensure(engine, "Ada Lovelace") == ada
    assert annotators.ensure(engine, "ada lovelace") != ada
    assert annotators.find(engine, "Ada Lovelace") == annotators.find(engine, ada) == Annotator(ada, "Ada Lovelace")


def test_nobody_is_made_by_being_looked_for(engine: Engine) -> None:
    assert annotators.find(engine, "ada") is None
    assert annotators.find(engine, new_id()) is None
    assert annotators.names(engine) == {}


def test_everybody_has_a_name_oldest_id_first(engine: Engine, people: People) -> None:
    assert list(annotators.names(engine).items()) == [(people.ada, "ada"), (people.bob, "bob"), (people.cyd, "cyd")]


def test_a_name_that_is_somebody_elses_id_does_not_stand_in_for_them(engine: Engine, people: People) -> None:
    annotators.ensure(engine, people.ada)
    assert annotators.find(engine, people.ada) == Annotator(people.ada, "ada")


def test_all_who_ask_at_the_same_moment_get_the_same_id(engine: Engine) -> None:
    start = threading.Barrier(8)
    found: list[list[str]] = []

    def ask() -> None:
        start.wait()
        found.append([annotators.ensure(engine, f"person {number}") for number in range(10)])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(ids == found[0] for ids in found)
    assert len(annotators.names(engine)) == 10

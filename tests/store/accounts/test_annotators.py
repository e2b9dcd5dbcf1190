"""Annotators: opaque ids, and the only table that maps them to names."""

from __future__ import annotations

import threading

from sqlalchemy import Engine

from chatfeedback.domain.types import new_id
from chatfeedback.store.accounts import annotators
from chatfeedback.store.accounts.annotators import Annotator
from conversation_builder import People


def test_ensure_creates_annotator_once_and_find_returns_them(engine: Engine) -> None:
    ada = annotators.ensure(engine, "Ada Lovelace")
    assert annotators.ensure(engine, "Ada Lovelace") == ada
    assert annotators.ensure(engine, "ada lovelace") != ada
    assert annotators.find(engine, "Ada Lovelace") == annotators.find(engine, ada) == Annotator(ada, "Ada Lovelace")


def test_find_does_not_create_annotator(engine: Engine) -> None:
    assert annotators.find(engine, "ada") is None
    assert annotators.find(engine, new_id()) is None
    assert annotators.names(engine) == {}


def test_names_lists_all_annotators_with_oldest_id_first(engine: Engine, people: People) -> None:
    assert list(annotators.names(engine).items()) == [(people.ada, "ada"), (people.bob, "bob"), (people.cyd, "cyd")]


def test_find_prefers_id_to_same_name_of_another_annotator(engine: Engine, people: People) -> None:
    annotators.ensure(engine, people.ada)
    assert annotators.find(engine, people.ada) == Annotator(people.ada, "ada")


def test_ensure_returns_same_id_to_concurrent_callers(engine: Engine) -> None:
    start = threading.Barrier(8)
    results: list[list[str]] = []

    def ask() -> None:
        start.wait()
        results.append([annotators.ensure(engine, f"person {number}") for number in range(10)])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(ids == results[0] for ids in results)
    assert len(annotators.names(engine)) == 10

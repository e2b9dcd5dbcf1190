"""Premises of benchmarks: a broken one ends the benchmark, whose figure would mean something else."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import _premises
from benchmarks._stores import open_raw, open_store
from chatfeedback.store.accounts import annotators
from chatfeedback.store.database import engine
from chatfeedback.store.log.event_store import EventStore
from conversation_builder import StoredTalk

EXCHANGE = ("conversation_started", "message_sent", "reply_started", "reply_finished")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "premises.db"


@pytest.fixture
def store(database: Path) -> Iterator[EventStore]:
    with open_store(database) as store:
        yield store


@pytest.fixture
def talk(store: EventStore) -> StoredTalk:
    return StoredTalk(store, annotators.ensure(store.engine, "ada"))


@pytest.fixture
def tables() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript("CREATE TABLE a (x, y); CREATE INDEX ax ON a (x); CREATE TABLE b (z)")
        yield connection


def test_require_ends_program_with_one_sentence_when_premise_does_not_hold() -> None:
    _premises.require(True, "all is well")
    with pytest.raises(SystemExit) as ended:
        _premises.require(False, "it rains")
    assert ended.value.code == "A premise of this benchmark does not hold: it rains."


def test_require_equal_names_both_values() -> None:
    _premises.require_equal("the rows", 2, 2)
    with pytest.raises(SystemExit, match="the rows must be 2, and is 3"):
        _premises.require_equal("the rows", 3, 2)


@pytest.mark.parametrize("pragma", ["synchronous=NORMAL", "journal_mode=DELETE"])
def test_require_durable_refuses_connection_that_does_not_wait_for_disk(database: Path, pragma: str) -> None:
    with closing(open_raw(database)) as raw:
        _premises.require_durable("it", raw)
        raw.execute(f"PRAGMA {pragma}")
        with pytest.raises(SystemExit, match="of it must be"):
            _premises.require_durable("it", raw)


def test_require_durable_store_refuses_store_that_does_not_wait_for_disk(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(database) as store:
        _premises.require_durable_store(store)
    monkeypatch.setattr(engine, "SQLITE_PRAGMAS", ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL"))
    with open_store(database) as store, pytest.raises(SystemExit, match="of the store must be"):
        _premises.require_durable_store(store)


def test_require_events_compares_growth_of_log(store: EventStore, talk: StoredTalk) -> None:
    before = _premises.events_by_kind(store)
    talk.ask("Hello", "Hi")
    _premises.require_events(store, before, Counter(EXCHANGE))
    with pytest.raises(SystemExit, match="the events that were added"):
        _premises.require_events(store, before, {"message_sent": 1})


def test_require_one_commit_refuses_action_with_two_commits(store: EventStore, talk: StoredTalk) -> None:
    replies: list[str] = []
    first = Counter(("conversation_started", "message_sent", "reply_started"))
    _premises.require_one_commit(store, "a prompt", lambda: replies.append(talk.send("Hello")), first)
    _premises.require_one_commit(store, "an end", lambda: talk.finish(replies[0], "Hi"), {"reply_finished": 1})
    with pytest.raises(SystemExit, match="the transactions of an exchange"):
        _premises.require_one_commit(store, "an exchange", lambda: talk.ask("Go on", "No"), Counter(EXCHANGE[1:]))


def test_traced_readers_collects_statements_of_reads(store: EventStore, talk: StoredTalk) -> None:
    talk.ask("Hello", "Hi")
    with _premises.traced_readers(store.engine) as statements:
        store.events_of(talk.conversation_id)
    before = list(statements)
    store.events_of(talk.conversation_id)
    assert [text.partition(" ")[0] for text in before] == ["BEGIN", "SELECT", "ROLLBACK"]
    assert statements == before


def test_require_scans_refuses_query_that_reads_index(tables: sqlite3.Connection) -> None:
    _premises.require_scans(tables, "SELECT y FROM a NOT INDEXED WHERE x = 1")
    _premises.require_scans(tables, "SELECT x FROM a WHERE x = 1")  # claims nothing
    tables.execute("CREATE TABLE c (k PRIMARY KEY, x) WITHOUT ROWID")
    tables.execute("CREATE INDEX cx ON c (x)")
    with pytest.raises(SystemExit, match="c is not scanned"):
        _premises.require_scans(tables, "SELECT count(*) FROM c NOT INDEXED GROUP BY x")

"""An export while others write, and when it is left before its end: one state of the database, nothing held."""

from __future__ import annotations

import tracemalloc
from contextlib import closing
from datetime import timedelta
from itertools import islice, product

import psycopg
import pytest
from sqlalchemy import Engine, event
from sqlalchemy.pool import QueuePool

from analytics.load_users import Crowd, enrol
from analytics.load_users import store as store_talks
from chatfeedback.errors import NotFound, SchemaBehind
from chatfeedback.export.registry import DATASETS, FORMATS
from chatfeedback.export.stream import stream
from chatfeedback.query.filters import Filters, ResolvedFilters
from chatfeedback.query.sql_filters import resolve
from chatfeedback.store.accounts.pseudonyms import DisplayNames
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log.event_store import EventStore
from conversation_builder import People
from export.recording import START, Export, TimedTalk, gather

EVERY = [(kind, format) for kind in DATASETS for format in FORMATS]


def in_use(engine: Engine) -> int:
    assert isinstance(engine.pool, QueuePool)
    return engine.pool.checkedout()


def talk_much(store: EventStore, people: People, conversations: int, length: int = 20_000) -> None:
    """Conversations of two long exchanges, each rated by everybody."""
    for number in range(conversations):
        talk = TimedTalk(store, people.ada, at=START + timedelta(days=number))
        for _ in range(2):
            reply = talk.ask("why? " * (length // 10), "because " * (length // 8))
            for who in people:
                talk.like(reply, who, "funny")


@pytest.mark.parametrize(("kind", "format"), EVERY)
def test_what_is_recorded_meanwhile_is_not_seen(
    kind: str,
    format: str,
    store: EventStore,
    people: People,
    engine: Engine,
    pseudonyms: DisplayNames,
    export: Export,
) -> None:
    talk_much(store, people, 30)
    before = export(kind, format)
    chunks = stream(engine, kind, format, ResolvedFilters(), pseudonyms)
    begun = next(chunks)
    assert len(begun) < len(before)
    late = TimedTalk(store, people.bob)
    talk_much(store, people, 1)
    late.dislike(late.ask("Am I too late?", "Yes"), people.cyd, "wrong")
    assert begun + b"".join(chunks) == before
    assert export(kind, format) != before
    assert in_use(engine) == 0


@pytest.mark.parametrize("kind", DATASETS)
def test_an_export_that_is_left_gives_its_connection_back(
    kind: str, store: EventStore, people: People, engine: Engine, export: Export
) -> None:
    talk_much(store, people, 30)
    chunks = stream(engine, kind, "csv", ResolvedFilters(), str)
    next(chunks)
    assert in_use(engine) == 1
    chunks.close()
    assert in_use(engine) == 0
    assert export(kind)


def test_an_export_that_was_never_begun_holds_nothing(engine: Engine) -> None:
    chunks = stream(engine, "events", "csv", ResolvedFilters(), str)
    assert in_use(engine) == 0
    chunks.close()


def test_a_refused_export_holds_nothing(engine: Engine) -> None:
    with pytest.raises(NotFound):
        resolve(engine, Filters(annotator="nobody"))
    assert in_use(engine) == 0


def test_a_database_without_tables_is_said_in_a_sentence(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    for kind in DATASETS:
        with pytest.raises(SchemaBehind, match="run `chatfeedback db upgrade` first"):
            next(stream(engine, kind, "csv", ResolvedFilters(), str))
    assert in_use(engine) == 0
    engine.dispose()


def test_progress_counts_the_rows_up_to_the_total(store: EventStore, people: People, engine: Engine) -> None:
    gather(store, people)
    for kind in DATASETS:
        told: list[tuple[int, int]] = []
        chunks = stream(engine, kind, "jsonl", ResolvedFilters(model="large"), str, lambda *at: told.append(at))  # noqa: B023
        lines = b"".join(chunks)
        rows = lines.count(b"\n")
        assert told[0] == (0, rows)
        assert told[-1] == (rows, rows)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", DATASETS)
def test_sqlite_never_sorts_what_grows(
    kind: str, store: EventStore, people: People, engine: Engine, export: Export
) -> None:
    """SQLite sorts in memory: an export reads in the order of an index, whatever the filters are."""
    gather(store, people)
    seen: list[tuple[str, object]] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, sql, given, *_: seen.append((sql, given)))
    filters = {"since": START, "until": START + timedelta(days=9), "model": "small", "annotator": "bob"}
    for chosen in product((False, True), repeat=4):
        wanted = {name: value for (name, value), chose in zip(filters.items(), chosen, strict=True) if chose}
        assert export(kind, **wanted)
    with engine.connect() as connection:
        statements = {sql: given for sql, given in seen if sql.startswith("SELECT")}
        assert len(statements) >= 16
        for sql, given in statements.items():
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given)]
            assert "USE TEMP B-TREE FOR ORDER BY" not in plan, (sql, plan)


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
@pytest.mark.parametrize("kind", DATASETS)
def test_postgres_hands_the_rows_over_in_portions(
    kind: str, store: EventStore, people: People, engine: Engine, database_url: str
) -> None:
    """Its driver would otherwise fetch all of them at once, into memory that Python does not see."""
    talk_much(store, people, 30)
    with closing(stream(engine, kind, "csv", ResolvedFilters(), str)) as chunks:
        next(chunks)
        with psycopg.connect(database_url.replace("+psycopg", "")) as neighbour:
            seen = neighbour.execute(
                "SELECT query FROM pg_stat_activity"
                " WHERE datname = current_database() AND state = 'idle in transaction'"
            ).fetchall()
    assert [query.split()[0] for (query,) in seen] == ["FETCH"]


def test_memory_does_not_grow_with_the_database(store: EventStore, engine: Engine) -> None:
    def peaks() -> dict[str, int]:
        found = {}
        for kind in DATASETS:
            tracemalloc.start()
            for _ in stream(engine, kind, "csv", ResolvedFilters(), str):
                pass
            found[kind] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return found

    crowd = Crowd(reply_length=1000)
    talks = crowd.talk()
    store.writer.submit(lambda tx: enrol(tx, crowd.names())).result()
    store.writer.submit(lambda tx: store_talks(tx, islice(talks, 200))).result()
    peaks()  # what is kept from the first time on, such as compiled statements
    before = peaks()
    store.writer.submit(lambda tx: store_talks(tx, islice(talks, 800))).result()
    grown = {kind: peak / before[kind] for kind, peak in peaks().items()}
    assert max(grown.values()) < 1.5, grown  # five times the rows

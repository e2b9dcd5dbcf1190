"""Streams of exports: one state of the database while others write, and nothing held when left early."""

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
    """Store conversations of two long exchanges, each rated by all annotators."""
    for number in range(conversations):
        talk = TimedTalk(store, people.ada, at=START + timedelta(days=number))
        for _ in range(2):
            reply = talk.ask("why? " * (length // 10), "because " * (length // 8))
            for annotator_id in people:
                talk.like(reply, annotator_id, "funny")


@pytest.mark.parametrize(("kind", "format"), EVERY)
def test_stream_does_not_see_events_recorded_meanwhile(
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
def test_stream_gives_its_connection_back_when_closed_early(
    kind: str, store: EventStore, people: People, engine: Engine, export: Export
) -> None:
    talk_much(store, people, 30)
    chunks = stream(engine, kind, "csv", ResolvedFilters(), str)
    next(chunks)
    assert in_use(engine) == 1
    chunks.close()
    assert in_use(engine) == 0
    assert export(kind)


def test_stream_holds_no_connection_before_it_begins(engine: Engine) -> None:
    chunks = stream(engine, "events", "csv", ResolvedFilters(), str)
    assert in_use(engine) == 0
    chunks.close()


def test_resolve_holds_no_connection_after_refusal(engine: Engine) -> None:
    with pytest.raises(NotFound):
        resolve(engine, Filters(annotator="nobody"))
    assert in_use(engine) == 0


def test_stream_refuses_database_without_tables(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    for kind in DATASETS:
        with pytest.raises(SchemaBehind, match="run `chatfeedback db upgrade` first"):
            next(stream(engine, kind, "csv", ResolvedFilters(), str))
    assert in_use(engine) == 0
    engine.dispose()


def test_stream_reports_progress_up_to_total(store: EventStore, people: People, engine: Engine) -> None:
    gather(store, people)
    for kind in DATASETS:
        progress: list[tuple[int, int]] = []
        chunks = stream(engine, kind, "jsonl", ResolvedFilters(model="large"), str, lambda *at: progress.append(at))  # noqa: B023
        lines = b"".join(chunks)
        rows = lines.count(b"\n")
        assert progress[0] == (0, rows)
        assert progress[-1] == (rows, rows)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", DATASETS)
def test_stream_never_sorts_on_sqlite(
    kind: str, store: EventStore, people: People, engine: Engine, export: Export
) -> None:
    """SQLite sorts in memory, so an export must read in the order of an index, with any filters."""
    gather(store, people)
    executed: list[tuple[str, object]] = []
    event.listen(
        engine, "before_cursor_execute", lambda _c, _cursor, sql, parameters, *_: executed.append((sql, parameters))
    )
    filters = {"since": START, "until": START + timedelta(days=9), "model": "small", "annotator": "bob"}
    for chosen in product((False, True), repeat=4):
        chosen_filters = {name: value for (name, value), chose in zip(filters.items(), chosen, strict=True) if chose}
        assert export(kind, **chosen_filters)
    with engine.connect() as connection:
        statements = {sql: parameters for sql, parameters in executed if sql.startswith("SELECT")}
        assert len(statements) >= 16
        for sql, parameters in statements.items():
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)]
            assert "USE TEMP B-TREE FOR ORDER BY" not in plan, (sql, plan)


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
@pytest.mark.parametrize("kind", DATASETS)
def test_stream_fetches_rows_in_portions_on_postgres(
    kind: str, store: EventStore, people: People, engine: Engine, database_url: str
) -> None:
    """Without portions the driver would fetch all rows at once, into memory that Python does not see."""
    talk_much(store, people, 30)
    with closing(stream(engine, kind, "csv", ResolvedFilters(), str)) as chunks:
        next(chunks)
        with psycopg.connect(database_url.replace("+psycopg", "")) as neighbour:
            queries = neighbour.execute(
                "SELECT query FROM pg_stat_activity"
                " WHERE datname = current_database() AND state = 'idle in transaction'"
            ).fetchall()
    assert [query.split()[0] for (query,) in queries] == ["FETCH"]


def test_stream_memory_does_not_grow_with_database(store: EventStore, engine: Engine) -> None:
    def peaks() -> dict[str, int]:
        peak_bytes = {}
        for kind in DATASETS:
            tracemalloc.start()
            for _ in stream(engine, kind, "csv", ResolvedFilters(), str):
                pass
            peak_bytes[kind] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return peak_bytes

    crowd = Crowd(reply_length=1000)
    talks = crowd.talk()
    store.writer.submit(lambda tx: enrol(tx, crowd.names())).result()
    store.writer.submit(lambda tx: store_talks(tx, islice(talks, 200))).result()
    peaks()  # what is kept from the first time on, such as compiled statements
    before = peaks()
    store.writer.submit(lambda tx: store_talks(tx, islice(talks, 800))).result()
    grown = {kind: peak / before[kind] for kind, peak in peaks().items()}
    assert max(grown.values()) < 1.5, grown  # five times the rows

"""Upgrades of databases of all earlier schemas, work in them, and downgrades.

On SQLite, on the newest Postgres, and on an older one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from sqlalchemy import inspect, text

from chatfeedback.domain.conversation.evolve import fold
from chatfeedback.domain.events import BODIES, KINDS, SCHEMA_VERSION, payload_text
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.store.accounts import annotators
from chatfeedback.store.database import migrate
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.maintenance import check, rebuild
from chatfeedback.store.opening import open_event_store
from chatfeedback.store.schema import PROJECTIONS
from conversation_builder import StoredTalk
from schemas import NEWEST, REVISIONS, Schema, schemas

every_schema = pytest.mark.parametrize("schema", schemas(), ids=str)


@pytest.fixture(params=["sqlite", "postgres", "older postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def opened(url: str) -> Iterator[EventStore]:
    engine = open_engine(url)
    store = open_event_store(engine)
    try:
        yield store
    finally:
        store.writer.close()
        engine.dispose()


def stored(url: str) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables but alembic's, each table sorted."""
    engine = open_engine(url)
    rows = {}
    with engine.connect() as connection:
        for name in set(inspect(connection).get_table_names()) - {"alembic_version"}:
            mappings = connection.execute(text(f"SELECT * FROM {name}")).mappings()
            rows[name] = sorted((dict(row) for row in mappings), key=repr)
    engine.dispose()
    return rows


def equal_in_common_columns(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> bool:
    """Return whether the rows are equal in the columns that both have."""
    both = before[0].keys() & now[0].keys()
    narrow = [sorted(([row[name] for name in sorted(both)] for row in rows), key=repr) for rows in (before, now)]
    return narrow[0] == narrow[1]


def narrowed(now: Any, was: Any) -> Any:
    """Return a payload without the fields, at any depth, that it did not have before."""
    if not isinstance(was, dict):
        return now
    return {name: narrowed(now[name], value) for name, value in was.items()}


# The data


def test_data_exists_for_each_schema() -> None:
    assert {schema.revision for schema in schemas()} == set(REVISIONS)
    assert {schema.events for schema in schemas()} == set(range(1, SCHEMA_VERSION + 1))
    assert NEWEST in schemas(), "record it with `python tests/schemas.py`"


def test_schemas_have_distinct_revisions() -> None:
    assert len({schema.revision for schema in schemas()}) == len(schemas())


@every_schema
def test_data_fills_all_tables(empty_database_url: str, schema: Schema) -> None:
    schema.fill(empty_database_url)
    assert migrate.current(empty_database_url).revision == schema.revision
    assert [name for name, rows in stored(empty_database_url).items() if not rows] == []


def test_data_of_newest_schema_contains_all_kinds_of_events() -> None:
    events = NEWEST.rows()["events"]
    assert {event["kind"] for event in events} == set(KINDS)
    assert {event["schema_version"] for event in events} == {SCHEMA_VERSION}


# Up, and back


@every_schema
def test_upgrade_keeps_all_rows_and_bytes_of_log(empty_database_url: str, schema: Schema) -> None:
    schema.fill(empty_database_url)
    before = stored(empty_database_url)
    migrate.upgrade(empty_database_url)
    after = stored(empty_database_url)
    assert after["events"] == before["events"]
    assert [name for name, rows in before.items() if not equal_in_common_columns(rows, after[name])] == []
    assert check(empty_database_url) == []


@every_schema
def test_upgrade_keeps_conversations_readable_and_events_are_upcast(empty_database_url: str, schema: Schema) -> None:
    schema.fill(empty_database_url)
    migrate.upgrade(empty_database_url)
    rows = {row["event_id"]: row for row in schema.rows()["events"]}
    with opened(empty_database_url) as store:
        for conversation_id in {row["conversation_id"] for row in rows.values()}:
            events = store.events_of(conversation_id)
            conversation = fold(conversation_id, events)
            assert store.conversation(conversation_id) == (None if conversation.erased else conversation)
            for event in events:
                row = rows.pop(event.event_id)
                assert type(event.body) is BODIES[row["kind"]]
                was, now = orjson.loads(row["payload"]), orjson.loads(payload_text(event.body))
                assert was == narrowed(now, was)
    assert rows == {}


@every_schema
def test_rebuild_after_upgrade_gives_same_projections(empty_database_url: str, schema: Schema) -> None:
    schema.fill(empty_database_url)
    migrate.upgrade(empty_database_url)
    before = stored(empty_database_url)
    assert rebuild(empty_database_url, lambda done, total: None) == len(before["events"])
    assert {table.name for table in PROJECTIONS} <= before.keys()
    assert stored(empty_database_url) == before


def work(url: str) -> None:
    """Continue where the data ends, and begin a new conversation."""
    with opened(url) as store:
        ada = annotators.ensure(store.engine, "ada")
        with store.engine.connect() as connection:
            ((written_id, written_in),) = connection.execute(
                text("SELECT message_id, conversation_id FROM reply_drafts")
            ).all()
            talked = connection.scalars(
                text("SELECT conversation_id FROM conversations WHERE cleared_at IS NULL AND writing_id IS NULL")
            ).all()
        StoredTalk(store, ada, written_in).finish(written_id, "Once upon a time", "interrupted")
        for conversation_id in [*talked, None]:
            talk = StoredTalk(store, ada, conversation_id)
            reply = talk.retry(talk.ask("And then?", "The end"))
            talk.finish(reply, "They lived")
            talk.rate(reply, ada, RatingChange("like", {"funny": True}, "At last"))


@every_schema
def test_work_continues_after_upgrade_and_after_downgrade_and_upgrade(empty_database_url: str, schema: Schema) -> None:
    schema.fill(empty_database_url)
    migrate.upgrade(empty_database_url)
    work(empty_database_url)
    assert check(empty_database_url) == []
    before = stored(empty_database_url)
    for revision in reversed(REVISIONS[:-1]):
        migrate.downgrade(empty_database_url, revision, destroy_data=True)
        assert migrate.current(empty_database_url).revision == revision
        back = stored(empty_database_url)
        assert back["events"] == before["events"]
        migrate.upgrade(empty_database_url)
        after = stored(empty_database_url)
        # A downgrade loses what is in the tables that the older schema does not have, and nothing else.
        lost = {name for name, rows in after.items() if rows != before[name]}
        assert lost <= before.keys() - back.keys()
        assert check(empty_database_url) == []
        before = after


def test_upgrade_restores_ratings_of_replies_without_text(empty_database_url: str) -> None:
    NEWEST.fill(empty_database_url)
    before = stored(empty_database_url)
    empty = [row["message_id"] for row in before["messages"] if row["model"] and not row["text"]]
    rated = [row for row in before["ratings"] if row["message_id"] in empty]
    assert len(rated) == 2
    migrate.downgrade(empty_database_url, "0002")
    assert not [row for row in stored(empty_database_url)["ratings"] if row["message_id"] in empty]
    migrate.upgrade(empty_database_url)
    assert [row for row in stored(empty_database_url)["ratings"] if row["message_id"] in empty] == rated

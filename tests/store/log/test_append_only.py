"""Append-only log: the database itself refuses changes of events, also by other programs."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from chatfeedback.domain.feedback.decide import RatingChange
from conversation_builder import StoredTalk

COLUMNS = (
    "event_id, conversation_id, version, kind, schema_version, message_id, actor_id, occurred_at, recorded_at, "
    "model, rating, payload"
)
SAME = f"SELECT {COLUMNS} FROM events WHERE version = 1"
SAME_VERSION = SAME.replace("event_id", "'another'", 1)
SAME_ID = SAME.replace("version", "version + 100", 1)
SAME_POSITION = SAME_ID.replace("event_id", "position, 'another'", 1)

BOTH = [
    "UPDATE events SET payload = '{}'",
    "UPDATE events SET payload = payload",
    "UPDATE events SET version = version + 100 WHERE version = 3",
    "DELETE FROM events",
    "DELETE FROM events WHERE version = 3",
    f"INSERT INTO events ({COLUMNS}) {SAME}",
    f"INSERT INTO events ({COLUMNS}) {SAME_VERSION}",
    f"INSERT INTO events ({COLUMNS}) {SAME_ID}",
    f"INSERT INTO events ({COLUMNS}) {SAME_ID} ON CONFLICT (event_id) DO UPDATE SET payload = '{{}}'",
    f"INSERT INTO events ({COLUMNS}) {SAME_VERSION} ON CONFLICT (conversation_id, version) DO UPDATE SET kind = 'x'",
    "DELETE FROM annotators",
]
SQLITE = [
    f"{insert} INTO events ({COLUMNS}) {rows}"
    for insert in ("INSERT OR REPLACE", "REPLACE")
    for rows in (SAME, SAME_VERSION, SAME_ID)
]
SQLITE += [
    f"REPLACE INTO events (position, {COLUMNS}) {SAME_POSITION}",
    "UPDATE OR REPLACE events SET version = 1 WHERE version = 2",
    "UPDATE OR IGNORE events SET payload = '{}'",
    "UPDATE OR FAIL events SET payload = '{}'",
    "UPDATE events SET payload = '{}' FROM annotators WHERE actor_id = annotator_id",
]
POSTGRES = [
    "TRUNCATE events",
    "TRUNCATE events RESTART IDENTITY CASCADE",
    "TRUNCATE annotators CASCADE",
    "WITH gone AS (DELETE FROM events RETURNING *) SELECT count(*) FROM gone",
    "MERGE INTO events e USING annotators a ON e.actor_id = a.annotator_id WHEN MATCHED THEN DELETE",
    "MERGE INTO events e USING annotators a ON e.actor_id = a.annotator_id WHEN MATCHED THEN UPDATE SET kind = 'x'",
    f"INSERT INTO events (position, {COLUMNS}) {SAME_POSITION}",
    f"INSERT INTO events (position, {COLUMNS}) OVERRIDING SYSTEM VALUE {SAME_POSITION}",
]

REFUSAL = "never changed or deleted|already stored|unique constraint|GENERATED ALWAYS|(?i:foreign key)"


def log(engine: Engine) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text("SELECT * FROM events ORDER BY position"))]


@pytest.fixture
def guarded(talk: StoredTalk) -> Engine:
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, talk.actor, RatingChange(value="like"))
    return talk.store.engine


def assert_refused(engine: Engine, *statements: str) -> None:
    before = log(engine)
    assert len(before) == 5
    with pytest.raises(DBAPIError, match=REFUSAL), engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    assert log(engine) == before


@pytest.mark.parametrize("statement", BOTH)
def test_log_refuses_changes_on_all_databases(guarded: Engine, statement: str) -> None:
    assert_refused(guarded, statement)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("statement", SQLITE)
def test_sqlite_log_refuses_statements_that_bypass_triggers(guarded: Engine, statement: str) -> None:
    assert_refused(guarded, statement)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("pragma", ["PRAGMA foreign_keys=OFF", "PRAGMA recursive_triggers=ON"])
def test_sqlite_log_refuses_changes_despite_pragmas_of_session(guarded: Engine, pragma: str) -> None:
    with guarded.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute(pragma)
        for statement in (BOTH[0], BOTH[3], *SQLITE[:4]):
            with pytest.raises(DBAPIError, match=REFUSAL):
                connection.exec_driver_sql(statement)
        connection.invalidate()


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
@pytest.mark.parametrize("statement", POSTGRES)
def test_postgres_log_refuses_statements_that_bypass_row_triggers(guarded: Engine, statement: str) -> None:
    assert_refused(guarded, statement)


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
@pytest.mark.parametrize("statement", ["UPDATE events SET payload = '{}'", "DELETE FROM events", "TRUNCATE events"])
def test_postgres_log_refuses_changes_in_replica_session(guarded: Engine, statement: str) -> None:
    assert_refused(guarded, "SET LOCAL session_replication_role = replica", statement)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_sqlite_log_refuses_insert_or_ignore(guarded: Engine) -> None:
    assert_refused(guarded, f"INSERT OR IGNORE INTO events ({COLUMNS}) {SAME}")


def test_positions_increase_after_rolled_back_insert(talk: StoredTalk, guarded: Engine) -> None:
    with guarded.connect() as connection:  # takes a position, and is undone
        connection.exec_driver_sql(f"INSERT INTO events ({COLUMNS}) {SAME_POSITION.replace('position, ', '', 1)}")
        connection.rollback()
    talk.ask("And?", "Nothing")
    positions = [event.position or 0 for event in talk.store.events_of(talk.conversation_id)]
    assert positions == sorted(set(positions))
    assert positions[0] > 0

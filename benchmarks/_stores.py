"""Databases for benchmarks: a store as the application opens it, a raw table like the log, and a log of any size."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy.dialects import sqlite

from chatfeedback.domain.types import new_id
from chatfeedback.store.database import migrate
from chatfeedback.store.database.engine import SQLITE_PRAGMAS, open_engine
from chatfeedback.store.log.cache import CACHED_CONVERSATIONS
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.log.statements import Statements, Transaction
from chatfeedback.store.log.writer import open_writer
from chatfeedback.store.opening import open_event_store
from tests.analytics import load_users

CROWD = load_users.Crowd(annotators=200, models=5, days=365)
"""Simulated users whose events fill the databases of `populated`."""
_EVENT_BATCH = 20_000

RAW_TABLE = """
CREATE TABLE raw_events (
    position INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, conversation_id TEXT NOT NULL,
    version INTEGER NOT NULL, kind TEXT NOT NULL, schema_version INTEGER NOT NULL, message_id TEXT,
    actor_id TEXT NOT NULL, occurred_at INTEGER NOT NULL, recorded_at INTEGER NOT NULL, model TEXT, rating TEXT,
    payload TEXT NOT NULL, UNIQUE (conversation_id, version)
);
CREATE INDEX raw_kind_time ON raw_events (kind, occurred_at, model, actor_id);
"""
RAW_INSERT = """
INSERT INTO raw_events (event_id, conversation_id, version, kind, schema_version, message_id, actor_id, occurred_at,
    recorded_at, model, rating, payload)
VALUES (:event_id, :conversation_id, :version, :kind, :schema_version, :message_id, :actor_id, :occurred_at,
    :recorded_at, :model, :rating, :payload)
"""


def raw_rows() -> Iterator[dict[str, Any]]:
    """Yield parameters for RAW_INSERT without end: events of one conversation, each a row of about 600 bytes."""
    constants = {
        "conversation_id": new_id(),
        "kind": "message_rated",
        "schema_version": 1,
        "message_id": new_id(),
        "actor_id": new_id(),
        "model": "org/model-a",
        "rating": "like",
        "payload": "x" * 380,
    }
    for version in count(1):
        instant = 1_790_000_000_000_000 + version
        yield {**constants, "event_id": new_id(), "version": version, "occurred_at": instant, "recorded_at": instant}


def url_of(path: Path) -> str:
    """Return the database URL of a SQLite file."""
    return f"sqlite:///{path}"


def open_raw(path: Path) -> sqlite3.Connection:
    """Open a connection with the store's pragmas, in autocommit mode, for any thread."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in SQLITE_PRAGMAS:
        connection.execute(pragma)
    return connection


def open_raw_table(path: Path) -> sqlite3.Connection:
    """Open a new database with the table of RAW_TABLE: columns and indexes of the log, without its triggers."""
    connection = open_raw(path)
    connection.executescript(RAW_TABLE)
    return connection


def count_rows(connection: sqlite3.Connection) -> int:
    """Return the number of rows in the table of RAW_TABLE."""
    return int(connection.execute("SELECT count(*) FROM raw_events").fetchone()[0])


@contextmanager
def open_store(path: Path, cached_conversations: int = CACHED_CONVERSATIONS) -> Iterator[EventStore]:
    """Open a store on this file like the application, with a cache of this size."""
    migrate.upgrade(url_of(path))
    engine = open_engine(url_of(path))
    store = open_event_store(engine, open_writer(engine), cached_conversations=cached_conversations)
    try:
        yield store
    finally:
        store.writer.close()
        engine.dispose()


def populated(folder: Path, events: int) -> Path:
    """Return a database of about this many events of a year of 200 annotators and 5 models; reuse it if it exists.

    Conversations come from the domain's own decisions; log and projections are written by plain inserts.
    """
    path = folder / f"crowd-{events}.db"
    if path.exists():
        migrate.upgrade(url_of(path))
        return path
    unfinished = path.with_suffix(".part")
    unfinished.unlink(missing_ok=True)
    migrate.upgrade(url_of(unfinished))
    with closing(open_raw(unfinished)) as connection:
        # The file can be generated again: so no flush per batch, and a cache for all indexes.
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-1000000")
        tx = Transaction(connection, Statements(sqlite.dialect()))
        tx.script("BEGIN")
        load_users.enrol(tx, CROWD.names())
        stored = 0
        for talk in CROWD.talk():
            before, stored = stored, stored + load_users.store(tx, [talk])
            if before // _EVENT_BATCH != stored // _EVENT_BATCH:
                tx.script("COMMIT")
                tx.script("BEGIN")
            if stored >= events:
                break
        tx.script("COMMIT")
    unfinished.rename(path)
    return path

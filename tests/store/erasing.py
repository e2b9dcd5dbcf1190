"""Helpers for tests of erasures, which compare the rows of a database before and after."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, Table, select
from sqlalchemy.exc import DBAPIError

from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.schema import metadata
from conversation_builder import StoredTalk

Rows = dict[str, list[tuple[Any, ...]]]


def rows(engine: Engine, *tables: Table) -> Rows:
    """Return all rows of these tables, or of all tables."""
    with engine.connect() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
            for table in tables or metadata.sorted_tables
        }


def without(everything: Rows, *ids: str) -> Rows:
    """Return the rows that contain none of these ids."""
    return {name: [row for row in of if not set(ids) & set(row)] for name, of in everything.items()}


def ids_of(talk: StoredTalk) -> list[str]:
    return [talk.conversation_id, *talk.conversation.messages]


def kinds(store: EventStore, talk: StoredTalk) -> list[str]:
    return [event.body.KIND for event in store.events_of(talk.conversation_id)]


def assert_guarded(engine: Engine) -> None:
    """Assert that the guards refuse changes of the log."""
    for statement in ("DELETE FROM events", "UPDATE events SET payload = '{}'"):
        with pytest.raises(DBAPIError, match="never changed or deleted"), engine.begin() as connection:
            connection.exec_driver_sql(statement)

"""Events dataset: the log, in its order."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from sqlalchemy import Connection, Select

from chatfeedback.export.columns import Column
from chatfeedback.export.dataset import Dataset
from chatfeedback.query.streaming import Row, streamed
from chatfeedback.store.schema import events

COLUMNS = (
    Column("position", "integer"),
    Column("event_id"),
    Column("conversation_id"),
    Column("version", "integer"),
    Column("kind"),
    Column("schema_version", "integer"),
    Column("message_id"),
    Column("actor_id", "annotator"),
    Column("occurred_at", "instant"),
    Column("recorded_at", "instant"),
    Column("model"),
    Column("rating"),
    Column("payload", "json"),
)


def rows(connection: Connection, selected: Select[Any]) -> Generator[Row, None, None]:
    """Yield the rows, ordered by position in the log."""
    columns = [events.c[column.name] for column in COLUMNS]
    return streamed(connection, selected.add_columns(*columns).order_by(events.c.position))


DATASET = Dataset(COLUMNS, events, "occurred_at", "actor_id", rows)

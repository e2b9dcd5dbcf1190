"""Datasets: the exports. Events and messages are tables of the store, read in the order of an index."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Table, func, select

from chatfeedback.export.columns import Column
from chatfeedback.export.tables import feedback
from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.query.sql_filters import conditions, without_index
from chatfeedback.query.streaming import OF_CONVERSATION, Row, beside_conversations, streamed
from chatfeedback.store.schema import conversations, events, messages, ratings

EVENTS = (
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

MESSAGES = (
    Column("conversation_id"),
    Column("message_id"),
    Column("version", "integer"),
    Column("annotator_id", "annotator"),
    Column("parent_id"),
    Column("replaces_id"),
    Column("shown", "boolean"),
    Column("role"),
    Column("author_id", "annotator"),
    Column("text"),
    Column("altered", "boolean"),
    Column("status"),
    Column("created_at", "instant"),
    Column("created_event_id"),
    Column("model"),
    Column("endpoint"),
    Column("provider"),
    Column("temperature", "number"),
    Column("top_p", "number"),
    Column("max_tokens", "integer"),
    Column("seed", "integer"),
    Column("system_prompt"),
    Column("sent_ids", "json"),
    Column("finished_at", "instant"),
    Column("finished_event_id"),
    Column("finish_reason"),
    Column("error"),
    Column("time_to_first_token", "number"),
    Column("duration", "number"),
    Column("prompt_tokens", "integer"),
    Column("completion_tokens", "integer"),
    Column("consent_version"),
    Column("model_id"),
    Column("sent_temperature", "number"),
    Column("sent_top_p", "number"),
    Column("sent_max_tokens", "integer"),
    Column("sent_seed", "integer"),
    Column("reported_model"),
    Column("system_fingerprint"),
    Column("reported_provider"),
    Column("weights_sha256"),
    Column("study"),
    Column("condition"),
    Column("external_id"),
)


class Dataset(NamedTuple):
    """An export: its columns, and how to read its rows."""

    columns: tuple[Column, ...]
    table: Table
    """Table with one row for each row of the export."""
    instant: str
    annotator: str
    """Columns of the table for the filters `since`, `until` and `annotator`."""
    rows: Callable[[Connection, Select[Any]], Generator[Row, None, None]]
    """Yields the rows in their order, for a selection of the table's rows."""

    def selected(self, filters: ResolvedFilters) -> Select[Any]:
        """Return a selection of the table's rows that pass the resolved filters; without columns and order."""
        # No index on these columns: the export is in another order, and sorting its rows would take memory that grows
        # with the result.
        columns = self.table.c
        return select().where(
            *conditions(
                filters,
                instant=without_index(columns[self.instant]),
                model=without_index(columns["model"]),
                annotator=without_index(columns[self.annotator]),
                conversation=columns["conversation_id"],
            )
        )

    def total(self, connection: Connection, filters: ResolvedFilters) -> int:
        """Return the number of rows of the export."""
        query = self.selected(filters).select_from(self.table).add_columns(func.count())
        return int(connection.execute(query).scalar_one())


def _events(connection: Connection, selected: Select[Any]) -> Generator[Row, None, None]:
    columns = [events.c[column.name] for column in EVENTS]
    return streamed(connection, selected.add_columns(*columns).order_by(events.c.position))


def _messages(connection: Connection, selected: Select[Any]) -> Generator[Row, None, None]:
    names = [column.name for column in MESSAGES]
    columns = [conversations.c[name] if name in OF_CONVERSATION else messages.c[name] for name in names]
    order = messages.c.conversation_id, messages.c.version
    return streamed(connection, beside_conversations(selected, messages).add_columns(*columns).order_by(*order))


DATASETS: Mapping[str, Dataset] = {
    "events": Dataset(EVENTS, events, "occurred_at", "actor_id", _events),
    "messages": Dataset(MESSAGES, messages, "created_at", "annotator_id", _messages),
    "feedback": Dataset(feedback.COLUMNS, ratings, "updated_at", "annotator_id", feedback.rows),
}
"""Datasets by their name in commands and links."""

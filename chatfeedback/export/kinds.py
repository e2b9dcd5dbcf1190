"""What can be exported. The events and the messages are tables of the store, read in the order of an index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from sqlalchemy import ColumnElement, Table, func, select

from chatfeedback.analytics.filters import Filters
from chatfeedback.export import feedback
from chatfeedback.export.columns import Column
from chatfeedback.export.conditions import Conditions, conditions
from chatfeedback.export.snapshot import Snapshot
from chatfeedback.store.schema import events, messages, ratings
from chatfeedback.store.sql import Row

EVENTS = (
    Column("position", "integer"),
    Column("event_id"),
    Column("conversation_id"),
    Column("version", "integer"),
    Column("kind"),
    Column("schema_version", "integer"),
    Column("message_id"),
    Column("actor_id"),
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
    Column("annotator_id"),
    Column("parent_id"),
    Column("replaces_id"),
    Column("shown", "boolean"),
    Column("role"),
    Column("author_id"),
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
)


class Kind(NamedTuple):
    """An export: its columns, its rows in their order, and how many there will be."""

    columns: tuple[Column, ...]
    table: Table
    """With one row for each row of the export."""
    conditions: Callable[[Filters], Conditions]
    rows: Callable[[Snapshot, Conditions], Iterator[Row]]

    def total(self, state: Snapshot, where: Conditions) -> int:
        """The number of rows."""
        row = state.one(select(func.count()).select_from(self.table).where(*where.clauses), where.parameters)
        assert row is not None
        return int(row[0])


def _stored(
    columns: tuple[Column, ...], table: Table, *order: ColumnElement[object]
) -> Callable[[Snapshot, Conditions], Iterator[Row]]:
    """Reads the columns of a table as they are."""
    chosen = [table.c[column.name] for column in columns]

    def rows(state: Snapshot, where: Conditions) -> Iterator[Row]:
        return state.rows(select(*chosen).where(*where.clauses).order_by(*order), where.parameters)

    return rows


def _event_conditions(filters: Filters) -> Conditions:
    return conditions(filters, instant=events.c.occurred_at, model=events.c.model, annotator=events.c.actor_id)


def _message_conditions(filters: Filters) -> Conditions:
    found = messages.c
    return conditions(filters, instant=found.created_at, model=found.model, annotator=found.annotator_id)


def _rating_conditions(filters: Filters) -> Conditions:
    found = ratings.c
    return conditions(filters, instant=found.updated_at, model=found.model, annotator=found.annotator_id)


KINDS: Mapping[str, Kind] = {
    "events": Kind(EVENTS, events, _event_conditions, _stored(EVENTS, events, events.c.position)),
    "messages": Kind(
        MESSAGES,
        messages,
        _message_conditions,
        _stored(MESSAGES, messages, messages.c.conversation_id, messages.c.version),
    ),
    "feedback": Kind(feedback.COLUMNS, ratings, _rating_conditions, feedback.rows),
}
"""By the name that a person asks for."""

"""Rows of the event log: events to rows of `events`, and back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chatfeedback.domain.events import SCHEMA_VERSION, Event, body_from, payload_text
from chatfeedback.errors import StoreCorrupt
from chatfeedback.store.log.statements import Row
from chatfeedback.store.schema import from_micros, to_micros


def event_row(event: Event, recorded_at: datetime) -> dict[str, Any]:
    """Return the row of `events` for an event, without its position."""
    body = event.body
    return {
        "event_id": event.event_id,
        "conversation_id": event.conversation_id,
        "version": event.version,
        "kind": body.KIND,
        "schema_version": SCHEMA_VERSION,
        "message_id": getattr(body, "message_id", None),
        "actor_id": event.actor_id,
        "occurred_at": to_micros(event.occurred_at),
        "recorded_at": to_micros(recorded_at),
        "model": getattr(body, "model", None),
        "rating": getattr(body, "value", None),
        "payload": payload_text(body),
    }


def event_from(row: Row) -> Event:
    """Return the event of a row of `events` (columns in the order of the schema).

    Raises:
        StoreCorrupt: The row holds no event that this release can read.
    """
    (position, event_id, conversation_id, version, kind, schema_version, message_id, actor_id) = row[:8]
    occurred_at, recorded_at, _model, _rating, payload = row[8:]
    try:
        body = body_from(kind, schema_version, message_id, payload)
    except ValueError as error:
        raise StoreCorrupt(f"Event {event_id} cannot be read: {error}.") from error
    return Event(
        event_id,
        conversation_id,
        version,
        actor_id,
        from_micros(occurred_at),
        body,
        position,
        from_micros(recorded_at),
    )

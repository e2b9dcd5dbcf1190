"""The whole log, conversation by conversation, for whoever checks or rebuilds what is made from it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import groupby

from sqlalchemy import Connection, select

from chatfeedback.domain.conversation.evolve import fold
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Event
from chatfeedback.errors import StoreCorrupt
from chatfeedback.store.log.event_store import event_from, event_row
from chatfeedback.store.log.statements import Row
from chatfeedback.store.schema import events

_CHUNK = 1000
"""Rows that are fetched at a time."""
_LOG = select(events).order_by(events.c.conversation_id, events.c.version)


def replay(
    connection: Connection, conversation_ids: Sequence[str] | None = None
) -> Generator[Conversation | StoreCorrupt, None, None]:
    """Every conversation, or these, as its events add up to it, or why they do not.

    Streams: holds one conversation, and one chunk of rows, at a time. Close it when you leave before its end.
    """
    log = _LOG if conversation_ids is None else _LOG.where(events.c.conversation_id.in_(conversation_ids))
    # On Postgres yield_per asks for a cursor in the server; SQLite's own cursor reads as it goes.
    with connection.execute(log, execution_options={"yield_per": _CHUNK}) as rows:
        for conversation_id, its_rows in groupby(rows, key=lambda row: str(row.conversation_id)):
            yield _folded(conversation_id, (tuple(row) for row in its_rows))


def _event(row: Row) -> Event:
    """The event of a row. Raises StoreCorrupt also when a column that figures are counted by is not the payload's."""
    event = event_from(row)
    wanted = event_row(event, event.recorded_at or event.occurred_at)
    stored = dict(zip(events.columns.keys(), row, strict=True))
    for name in ("message_id", "model", "rating"):
        if stored[name] != wanted[name]:
            raise StoreCorrupt(
                f"Event {event.event_id} has {stored[name]!r} as its {name}, its payload says otherwise."
            )
    return event


def _folded(conversation_id: str, rows: Iterator[Row]) -> Conversation | StoreCorrupt:
    try:
        return fold(conversation_id, map(_event, rows))
    except StoreCorrupt as error:
        return error
    except (ValueError, KeyError) as error:
        return StoreCorrupt(f"The events of conversation {conversation_id} do not add up ({error}).")

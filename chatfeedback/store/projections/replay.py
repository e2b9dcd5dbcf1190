"""Replay of the log, conversation by conversation, for the check and the rebuild of the projections."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import groupby

from sqlalchemy import Connection, select

from chatfeedback.domain.conversation.evolve import fold
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Event
from chatfeedback.errors import StoreCorrupt
from chatfeedback.store.log.event_rows import event_from, event_row
from chatfeedback.store.log.statements import Row
from chatfeedback.store.schema import events

_CHUNK = 1000
"""Rows fetched at a time."""
_LOG = select(events).order_by(events.c.conversation_id, events.c.version)


def replay(
    connection: Connection, conversation_ids: Sequence[str] | None = None
) -> Generator[Conversation | StoreCorrupt, None, None]:
    """Yield each conversation (all, or these) folded from its events, or the error if it cannot be folded.

    It streams, with one conversation and one chunk of rows in memory. Close the generator if you stop early.
    """
    log = _LOG if conversation_ids is None else _LOG.where(events.c.conversation_id.in_(conversation_ids))
    # On Postgres, yield_per uses a server-side cursor; SQLite's cursor streams by itself.
    with connection.execute(log, execution_options={"yield_per": _CHUNK}) as rows:
        for conversation_id, conversation_rows in groupby(rows, key=lambda row: str(row.conversation_id)):
            yield _folded(conversation_id, (tuple(row) for row in conversation_rows))


def _event(row: Row) -> Event:
    """Return the event of a row.

    Raises:
        StoreCorrupt: It cannot be read, or a column used by the analytics differs from the payload.
    """
    event = event_from(row)
    expected = event_row(event, event.recorded_at or event.occurred_at)
    stored = dict(zip(events.columns.keys(), row, strict=True))
    for name in ("message_id", "model", "rating"):
        if stored[name] != expected[name]:
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

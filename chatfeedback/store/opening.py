"""Opening: the event store of this application, with its projections and the leases on replies."""

from __future__ import annotations

from sqlalchemy import Engine

from chatfeedback.domain.types import new_id
from chatfeedback.store.coordination.reply_leases import ReplyLeaseProjector
from chatfeedback.store.log.cache import CACHED_CONVERSATIONS
from chatfeedback.store.log.event_store import EventStore, OnCommit
from chatfeedback.store.log.writer import Writer, open_writer
from chatfeedback.store.projections.conversation import ConversationProjection


def open_event_store(
    engine: Engine,
    writer: Writer | None = None,
    on_commit: OnCommit | None = None,
    *,
    cached_conversations: int = CACHED_CONVERSATIONS,
) -> EventStore:
    """Return the event store of a database at the newest schema.

    Args:
        engine: Engine of the database; the caller disposes of it.
        writer: Writer that commits the work; by default the one for this kind of database.
        on_commit: Callback after each commit of events.
        cached_conversations: Size of the cache; 0 reads each conversation from the database every time.
    """
    lease_owner = new_id()
    projection = ConversationProjection(locks=engine.dialect.name != "sqlite")
    return EventStore(
        engine,
        writer or open_writer(engine),
        states=projection,
        projectors=(projection, ReplyLeaseProjector(lease_owner)),
        lease_owner=lease_owner,
        on_commit=on_commit,
        cached_conversations=cached_conversations,
    )

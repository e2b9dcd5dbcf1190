"""List of an annotator's conversations, newest first, read from an index."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BindParameter, bindparam, select

from chatfeedback.store.log.statements import Transaction
from chatfeedback.store.schema import conversations, from_micros

_columns = conversations.c
_LIMIT: BindParameter[int] = bindparam("max_rows")
_OFFSET: BindParameter[int] = bindparam("skipped_rows")
_LATEST = (
    select(_columns.conversation_id, _columns.title, _columns.updated_at)
    .where(_columns.annotator_id == bindparam("of_annotator"))
    .order_by(_columns.updated_at.desc(), _columns.conversation_id.desc())
    .limit(_LIMIT)
    .offset(_OFFSET)
)


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """Entry of the list."""

    conversation_id: str
    title: str
    updated_at: datetime


def latest(tx: Transaction, annotator_id: str, limit: int, offset: int = 0) -> list[ConversationSummary]:
    """Return at most `limit` conversations of an annotator, most recently updated first, after the first `offset`."""
    rows = tx.all(_LATEST, {"of_annotator": annotator_id, "max_rows": limit, "skipped_rows": offset})
    return [
        ConversationSummary(conversation_id, title, from_micros(updated_at))
        for conversation_id, title, updated_at in rows
    ]

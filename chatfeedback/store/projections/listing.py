"""The list of an annotator's conversations, newest first, from an index."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BindParameter, bindparam, select

from chatfeedback.store.log.statements import Transaction
from chatfeedback.store.schema import conversations, from_micros

_columns = conversations.c
_MOST: BindParameter[int] = bindparam("most")
_SKIPPED: BindParameter[int] = bindparam("skipped")
_LATEST = (
    select(_columns.conversation_id, _columns.title, _columns.updated_at)
    .where(_columns.annotator_id == bindparam("of_annotator"))
    .order_by(_columns.updated_at.desc(), _columns.conversation_id.desc())
    .limit(_MOST)
    .offset(_SKIPPED)
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of the list."""

    conversation_id: str
    title: str
    updated_at: datetime


def latest(tx: Transaction, annotator_id: str, most: int, skipped: int = 0) -> list[Listed]:
    """The conversations of an annotator in which something happened last, newest first, after the first `skipped`."""
    rows = tx.all(_LATEST, {"of_annotator": annotator_id, "most": most, "skipped": skipped})
    return [Listed(conversation_id, title, from_micros(updated_at)) for conversation_id, title, updated_at in rows]

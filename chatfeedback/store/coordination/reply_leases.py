"""The text so far of replies that are being written.

A draft appears in the transaction that starts its reply and goes in the one that ends it. In between its owner, the
process that writes the reply, stores the text and renews a lease about once a second. A lease that is over means that
the owner died: whoever finds it claims the draft and ends the reply with the text that it holds. Where the clock was
set back, so does a lease that ends later than any that is given now, and that nobody renews.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BindParameter, bindparam, delete, insert, select, update

from chatfeedback.store.log.statements import Row, Transaction
from chatfeedback.store.schema import conversations, from_micros, reply_drafts, to_micros

LEASE = timedelta(seconds=15)

_MESSAGE: BindParameter[str] = bindparam("of_message")
_OWNER: BindParameter[str] = bindparam("of_owner")
_NOW: BindParameter[int] = bindparam("at_instant")
_drafts = reply_drafts.c

_INSERT = insert(reply_drafts)
# Somebody who holds a row, an erasure for one, must not keep all the others from being saved.
_FREE = select(_drafts.message_id).where(_drafts.owner == _OWNER).with_for_update(skip_locked=True)
_SAVE = update(reply_drafts).where(_drafts.message_id == _MESSAGE)
_WISHES = (
    select(_drafts.message_id, _drafts.stop_requested, _drafts.watched_at, conversations.c.version)
    .join_from(reply_drafts, conversations, _drafts.conversation_id == conversations.c.conversation_id)
    .where(_drafts.owner == _OWNER)
)
_SEEN: BindParameter[int] = bindparam("seen_until")
_CLAIM = update(reply_drafts).where(_drafts.message_id == _MESSAGE, _drafts.lease_until == _SEEN)
_ASK_TO_STOP = update(reply_drafts).where(_drafts.message_id == _MESSAGE)
_NOTE_WATCHED = update(reply_drafts).where(_drafts.message_id == _MESSAGE)
_SELECT = select(*_drafts).where(_drafts.message_id == _MESSAGE)
_EXPIRED = select(*_drafts).where(_drafts.lease_until < _NOW).order_by(_drafts.message_id)
_AHEAD = select(*_drafts).where(_drafts.lease_until > _NOW).order_by(_drafts.message_id)
_DELETE = delete(reply_drafts).where(_drafts.message_id == _MESSAGE)


@dataclass(frozen=True, slots=True)
class Draft:
    """A reply that is being written."""

    message_id: str
    conversation_id: str
    text: str
    owner: str
    lease_until: datetime


@dataclass(frozen=True, slots=True)
class LeaseSignals:
    """What other processes ask of the owner of a draft, and at which version the conversation is that it is in.

    `saved`: whether the text was; not while somebody else holds the draft.
    """

    stop_requested: bool
    watched_at: datetime
    version: int
    saved: bool


def begin(tx: Transaction, message_id: str, conversation_id: str, owner: str, now: datetime) -> None:
    """Makes the draft of a reply that starts."""
    tx.run(
        _INSERT,
        {
            "message_id": message_id,
            "conversation_id": conversation_id,
            "text": "",
            "owner": owner,
            "lease_until": to_micros(now + LEASE),
            "stop_requested": False,
            "watched_at": to_micros(now),
        },
    )


def end(tx: Transaction, message_id: str) -> None:
    """Drops the draft of a reply that has ended."""
    tx.run(_DELETE, {"of_message": message_id})


def save(tx: Transaction, owner: str, texts: Mapping[str, str], now: datetime) -> dict[str, LeaseSignals]:
    """Stores the texts so far, by the ids of their messages, and renews the leases; what is wished of each draft.

    A draft that is not the owner's any more is left alone, and left out of what is returned. One that somebody else
    holds at this moment is not waited for: the next time will do.
    """
    free = {message_id for (message_id,) in tx.all(_FREE, {"of_owner": owner})}
    until = to_micros(now + LEASE)
    rows = ((message_id, text) for message_id, text in sorted(texts.items()) if message_id in free)
    tx.run_many(_SAVE, ({"of_message": of, "text": text, "lease_until": until} for of, text in rows))
    return {
        message_id: LeaseSignals(bool(stop_requested), from_micros(watched_at), version, message_id in free)
        for message_id, stop_requested, watched_at, version in tx.all(_WISHES, {"of_owner": owner})
        if message_id in texts
    }


def claim(tx: Transaction, draft: Draft, owner: str, now: datetime) -> Draft | None:
    """Takes over a draft whose owner died; None when it is gone, or its lease is not the one that was seen any more."""
    key = {"of_message": draft.message_id, "seen_until": to_micros(draft.lease_until)}
    if not tx.run(_CLAIM, {**key, "owner": owner, "lease_until": to_micros(now + LEASE)}):
        return None
    return find(tx, draft.message_id)


def ask_to_stop(tx: Transaction, message_id: str) -> None:
    """Leaves the owner a note to stop."""
    tx.run(_ASK_TO_STOP, {"of_message": message_id, "stop_requested": True})


def note_watched(tx: Transaction, message_id: str, now: datetime) -> None:
    """Leaves the owner a note that somebody watches."""
    tx.run(_NOTE_WATCHED, {"of_message": message_id, "watched_at": to_micros(now)})


def find(tx: Transaction, message_id: str) -> Draft | None:
    """The draft of a reply; None when it is not being written."""
    row = tx.one(_SELECT, {"of_message": message_id})
    return _draft(row) if row else None


def expired(tx: Transaction, now: datetime) -> list[Draft]:
    """The drafts that nobody writes any more."""
    return [_draft(row) for row in tx.all(_EXPIRED, {"at_instant": to_micros(now)})]


def ahead(tx: Transaction, now: datetime) -> list[Draft]:
    """The drafts whose leases end later than any that is given now: by a clock that is ahead, or was set back since."""
    return [_draft(row) for row in tx.all(_AHEAD, {"at_instant": to_micros(now + LEASE)})]


def _draft(row: Row) -> Draft:
    message_id, conversation_id, text, owner, lease_until = row[:5]
    return Draft(message_id, conversation_id, text, owner, from_micros(lease_until))

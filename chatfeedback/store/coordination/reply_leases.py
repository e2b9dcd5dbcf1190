"""Leases on running replies, with a checkpoint of the text of each (table `reply_drafts`).

The transaction that starts a reply inserts its draft; the one that finishes the reply deletes it. In between the owner,
the process that generates the reply, checkpoints the text and renews the lease about once a second. An expired lease
means that the owner died. Any process that finds it claims the draft, and finishes the reply with the checkpointed
text.

After a clock was set back, a lease may end later than any lease granted now. Unless its owner renews it, it counts as
expired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BindParameter, bindparam, delete, insert, select, update

from chatfeedback.domain.conversation.evolve import Changes
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.store.log.statements import Row, Transaction
from chatfeedback.store.schema import conversations, from_micros, reply_drafts, to_micros

LEASE = timedelta(seconds=15)

_MESSAGE: BindParameter[str] = bindparam("of_message")
_OWNER: BindParameter[str] = bindparam("of_owner")
_NOW: BindParameter[int] = bindparam("at_instant")
_drafts = reply_drafts.c

_INSERT = insert(reply_drafts)
# A locked row, such as during an erasure, must not block the checkpoints of all others.
_SELECT_UNLOCKED = select(_drafts.message_id).where(_drafts.owner == _OWNER).with_for_update(skip_locked=True)
_SAVE = update(reply_drafts).where(_drafts.message_id == _MESSAGE)
_SIGNALS = (
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
    """Lease on a running reply, with the last checkpoint of its text."""

    message_id: str
    conversation_id: str
    text: str
    owner: str
    lease_until: datetime


@dataclass(frozen=True, slots=True)
class LeaseSignals:
    """Signals from other processes to the owner of a draft."""

    stop_requested: bool
    watched_at: datetime
    version: int
    """Current version of the conversation."""
    saved: bool
    """False if the text was not checkpointed, because another transaction had locked the draft."""


def begin(tx: Transaction, message_id: str, conversation_id: str, owner: str, now: datetime) -> None:
    """Insert the draft of a reply that starts."""
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
    """Delete the draft of a finished reply."""
    tx.run(_DELETE, {"of_message": message_id})


def save(tx: Transaction, owner: str, texts: Mapping[str, str], now: datetime) -> dict[str, LeaseSignals]:
    """Checkpoint texts and renew their leases; return the signals for each draft.

    A draft that the owner has lost is neither changed nor returned. A locked draft is skipped, not waited for: the next
    checkpoint will do.

    Args:
        tx: Open transaction.
        owner: Id of the process that generates the replies.
        texts: Text so far by message id.
        now: Current instant.
    """
    unlocked = {message_id for (message_id,) in tx.all(_SELECT_UNLOCKED, {"of_owner": owner})}
    lease_until = to_micros(now + LEASE)
    rows = ((message_id, text) for message_id, text in sorted(texts.items()) if message_id in unlocked)
    tx.run_many(
        _SAVE, ({"of_message": message_id, "text": text, "lease_until": lease_until} for message_id, text in rows)
    )
    return {
        message_id: LeaseSignals(bool(stop_requested), from_micros(watched_at), version, message_id in unlocked)
        for message_id, stop_requested, watched_at, version in tx.all(_SIGNALS, {"of_owner": owner})
        if message_id in texts
    }


def claim(tx: Transaction, draft: Draft, owner: str, now: datetime) -> Draft | None:
    """Take over the draft of a dead owner; return None if it is gone or its lease was renewed meanwhile."""
    key = {"of_message": draft.message_id, "seen_until": to_micros(draft.lease_until)}
    if not tx.run(_CLAIM, {**key, "owner": owner, "lease_until": to_micros(now + LEASE)}):
        return None
    return find(tx, draft.message_id)


def ask_to_stop(tx: Transaction, message_id: str) -> None:
    """Signal the owner to stop."""
    tx.run(_ASK_TO_STOP, {"of_message": message_id, "stop_requested": True})


def note_watched(tx: Transaction, message_id: str, now: datetime) -> None:
    """Signal the owner that a client is watching."""
    tx.run(_NOTE_WATCHED, {"of_message": message_id, "watched_at": to_micros(now)})


def find(tx: Transaction, message_id: str) -> Draft | None:
    """Return the draft of a reply; None if the reply is not running."""
    row = tx.one(_SELECT, {"of_message": message_id})
    return _draft(row) if row else None


def expired(tx: Transaction, now: datetime) -> list[Draft]:
    """Return the drafts with expired leases."""
    return [_draft(row) for row in tx.all(_EXPIRED, {"at_instant": to_micros(now)})]


def ahead(tx: Transaction, now: datetime) -> list[Draft]:
    """Return the drafts whose leases end later than any granted now: a clock is ahead, or was set back since."""
    return [_draft(row) for row in tx.all(_AHEAD, {"at_instant": to_micros(now + LEASE)})]


def _draft(row: Row) -> Draft:
    message_id, conversation_id, text, owner, lease_until = row[:5]
    return Draft(message_id, conversation_id, text, owner, from_micros(lease_until))


class ReplyLeaseProjector:
    """Projector of the leases: a reply that starts gets one, a reply that ends loses it.

    Args:
        owner: Owner id of this process.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner

    def project(
        self, tx: Transaction, _before: Conversation, after: Conversation, changes: Changes, recorded_at: datetime
    ) -> None:
        """Begin and end leases."""
        for message_id in changes.added:
            if after.messages[message_id].status == "writing":
                begin(tx, message_id, after.conversation_id, self._owner, recorded_at)
        for message_id in changes.finished:
            end(tx, message_id)

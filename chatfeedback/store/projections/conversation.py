"""Conversation projection: write the changed rows in the transaction of an append, and load them back.

This module decides nothing. `write` stores the result of the fold, for the parts that an append touched. `load` returns
the same `Conversation` as the fold of the log would; `chatfeedback db check` compares the two.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Table, bindparam, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from chatfeedback.domain.conversation.evolve import Changes
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.store.log.statements import Transaction
from chatfeedback.store.projections.conversation_rows import (
    conversation_from,
    conversation_row,
    message_from,
    message_row,
    outcome_columns,
    path_columns,
    rating_row,
    ratings_from,
    reason_rows,
    state_columns,
)
from chatfeedback.store.schema import (
    conversations,
    messages,
    rating_reasons,
    ratings,
)

# The prefix avoids the names of columns, which SQLAlchemy reserves in INSERT and UPDATE.
_OF_CONVERSATION: BindParameter[str] = bindparam("of_conversation")
_OF_MESSAGE: BindParameter[str] = bindparam("of_message")
_OF_ANNOTATOR: BindParameter[str] = bindparam("of_annotator")

_INSERT_CONVERSATION = insert(conversations)
_UPDATE_CONVERSATION = update(conversations).where(conversations.c.conversation_id == _OF_CONVERSATION)
_INSERT_MESSAGE = insert(messages)
# Two equal statements: `Statements` compiles each for its own set of columns.
_FINISH_MESSAGE = update(messages).where(messages.c.message_id == _OF_MESSAGE)
_MOVE_MESSAGE = update(messages).where(messages.c.message_id == _OF_MESSAGE)
# The Postgres construct for ON CONFLICT; SQLite accepts the same SQL.
_insert_rating = upsert(ratings)
_UPSERT_RATING = _insert_rating.on_conflict_do_update(
    index_elements=["message_id", "annotator_id"],
    set_={name: _insert_rating.excluded[name] for name in ("value", "comment", "updated_at", "event_id")},
)
_DELETE_RATING = delete(ratings).where(ratings.c.message_id == _OF_MESSAGE, ratings.c.annotator_id == _OF_ANNOTATOR)
_DELETE_REASONS = delete(rating_reasons).where(
    rating_reasons.c.message_id == _OF_MESSAGE, rating_reasons.c.annotator_id == _OF_ANNOTATOR
)
_INSERT_REASON = insert(rating_reasons)

_SELECT_CONVERSATION = select(*conversations.c).where(conversations.c.conversation_id == _OF_CONVERSATION)
_SELECT_MESSAGES = (
    select(*messages.c).where(messages.c.conversation_id == _OF_CONVERSATION).order_by(messages.c.version)
)
_SELECT_RATINGS = select(*ratings.c).where(ratings.c.conversation_id == _OF_CONVERSATION)
_SELECT_REASONS = (
    select(*rating_reasons.c)
    .join(
        ratings,
        (ratings.c.message_id == rating_reasons.c.message_id)
        & (ratings.c.annotator_id == rating_reasons.c.annotator_id),
    )
    .where(ratings.c.conversation_id == _OF_CONVERSATION)
    .order_by(rating_reasons.c.reason)
)
_SELECT_VERSION = select(conversations.c.version).where(conversations.c.conversation_id == _OF_CONVERSATION)
_SELECT_OWNER_AND_VERSION = select(conversations.c.annotator_id, conversations.c.version).where(
    conversations.c.conversation_id == _OF_CONVERSATION
)
_LOCK_VERSION = _SELECT_VERSION.with_for_update()


class ConversationProjection:
    """Projector and state reader of conversations, messages and ratings.

    Args:
        locks: True: take a row lock, as concurrent transactions need. SQLite has one writer at a time.
    """

    def __init__(self, *, locks: bool) -> None:
        self._select_version = _LOCK_VERSION if locks else _SELECT_VERSION

    def version(self, tx: Transaction, conversation_id: str) -> int | None:
        """Return the version; None if there is no such conversation."""
        row = tx.one(_SELECT_VERSION, {"of_conversation": conversation_id})
        return row[0] if row is not None else None

    def lock_version(self, tx: Transaction, conversation_id: str) -> int | None:
        """Lock the row of the conversation if `locks`; return the version, or None if there is no conversation."""
        row = tx.one(self._select_version, {"of_conversation": conversation_id})
        return row[0] if row is not None else None

    def owner_and_version(self, tx: Transaction, conversation_id: str) -> tuple[str, int] | None:
        """Return the annotator's id and the version; None if there is no such conversation."""
        row = tx.one(_SELECT_OWNER_AND_VERSION, {"of_conversation": conversation_id})
        return (row[0], row[1]) if row is not None else None

    def load(self, tx: Transaction, conversation_id: str) -> Conversation | None:
        """Return the whole state; None if there is no such conversation."""
        return load(tx, conversation_id)

    def project(
        self, tx: Transaction, before: Conversation, after: Conversation, changes: Changes, _recorded_at: datetime
    ) -> None:
        """Write the rows that changed."""
        write(tx, before, after, changes)


def write(tx: Transaction, before: Conversation, after: Conversation, changes: Changes) -> None:
    """Store the differences between `before` and `after` that `changes` names; nothing of an erased conversation."""
    if after.erased:
        return
    if before.version == 0:
        tx.run(_INSERT_CONVERSATION, conversation_row(after))
    else:
        tx.run(_UPDATE_CONVERSATION, {**state_columns(after), "of_conversation": after.conversation_id})
    if changes.added:
        added = sorted((after.messages[message_id] for message_id in changes.added), key=lambda m: m.version)
        tx.run_many(_INSERT_MESSAGE, [message_row(after, message) for message in added])
    for message_id in changes.finished - changes.added:
        message = after.messages[message_id]
        tx.run(_FINISH_MESSAGE, {**path_columns(message), **outcome_columns(message), "of_message": message_id})
    if moved := changes.moved - changes.added - changes.finished:
        tx.run_many(
            _MOVE_MESSAGE,
            [{**path_columns(after.messages[message_id]), "of_message": message_id} for message_id in moved],
        )
    for message_id, annotator_id in changes.rated:
        _write_rating(tx, before, after, message_id, annotator_id)


def _write_rating(
    tx: Transaction, before: Conversation, after: Conversation, message_id: str, annotator_id: str
) -> None:
    old, new = before.ratings.get((message_id, annotator_id)), after.ratings.get((message_id, annotator_id))
    key = {"of_message": message_id, "of_annotator": annotator_id}
    if new is not None:
        tx.run(_UPSERT_RATING, rating_row(after, message_id, annotator_id, new))
    elif old is not None:
        tx.run(_DELETE_RATING, key)
    if old is not None and old.reasons and (new is None or old.reasons != new.reasons):
        tx.run(_DELETE_REASONS, key)
        old = None  # so that all new ones are inserted
    if new is not None and (old is None or old.reasons != new.reasons):
        tx.run_many(_INSERT_REASON, reason_rows(message_id, annotator_id, new))


def load(tx: Transaction, conversation_id: str) -> Conversation | None:
    """Return the conversation from the projections; None if it is not stored."""
    key = {"of_conversation": conversation_id}
    row = tx.one(_SELECT_CONVERSATION, key)
    if row is None:
        return None
    conversation = conversation_from(row)
    conversation.messages = {row[0]: message_from(row) for row in tx.all(_SELECT_MESSAGES, key)}
    rated = tx.all(_SELECT_RATINGS, key)
    if rated:
        conversation.ratings = ratings_from(rated, tx.all(_SELECT_REASONS, key))
    return conversation


def rows_of(conversation: Conversation) -> dict[Table, list[dict[str, Any]]]:
    """Return all rows of a conversation in the projections, by table, in insertion order."""
    if conversation.erased:
        return {}
    rated = [(*key, rating) for key, rating in conversation.ratings.items()]
    return {
        conversations: [conversation_row(conversation)],
        messages: [message_row(conversation, message) for message in conversation.messages.values()],
        ratings: [rating_row(conversation, *entry) for entry in rated],
        rating_reasons: [row for entry in rated for row in reason_rows(*entry)],
    }

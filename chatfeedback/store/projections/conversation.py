"""Projection of a conversation: written as rows in the append's transaction, and read back.

This module decides nothing. `write` stores the result of the fold, for the parts that an append touched. `load` returns
the same `Conversation` as the fold of the log would; `chatfeedback db check` compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import BindParameter, Table, bindparam, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from chatfeedback.domain.conversation.events import UNKNOWN, Assignment, Generation, Provenance
from chatfeedback.domain.conversation.evolve import Changes
from chatfeedback.domain.conversation.state import Conversation, Message, Outcome, Rating
from chatfeedback.store.log.statements import Row, Transaction
from chatfeedback.store.schema import (
    conversations,
    from_micros,
    messages,
    rating_reasons,
    ratings,
    to_micros,
)

_OF_CONVERSATION: BindParameter[str] = bindparam("of_conversation")
_OF_MESSAGE: BindParameter[str] = bindparam("of_message")
_OF_ANNOTATOR: BindParameter[str] = bindparam("of_annotator")

_INSERT_CONVERSATION = insert(conversations)
_UPDATE_CONVERSATION = update(conversations).where(conversations.c.conversation_id == _OF_CONVERSATION)
_INSERT_MESSAGE = insert(messages)
_FINISH_MESSAGE = update(messages).where(messages.c.message_id == _OF_MESSAGE)
_PLACE_MESSAGE = update(messages).where(messages.c.message_id == _OF_MESSAGE)
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
        """Return the version and keep other writers from the conversation until the transaction ends."""
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
        tx.run(_INSERT_CONVERSATION, _conversation_row(after))
    else:
        tx.run(_UPDATE_CONVERSATION, {**_state_columns(after), "of_conversation": after.conversation_id})
    if changes.added:
        added = sorted((after.messages[message_id] for message_id in changes.added), key=lambda m: m.version)
        tx.run_many(_INSERT_MESSAGE, [message_row(after, message) for message in added])
    for message_id in changes.finished - changes.added:
        message = after.messages[message_id]
        tx.run(_FINISH_MESSAGE, {**_position_columns(message), **_outcome_columns(message), "of_message": message_id})
    if moved := changes.moved - changes.added - changes.finished:
        tx.run_many(
            _PLACE_MESSAGE,
            [{**_position_columns(after.messages[message_id]), "of_message": message_id} for message_id in moved],
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
        old = None
    if new is not None and (old is None or old.reasons != new.reasons):
        tx.run_many(_INSERT_REASON, reason_rows(message_id, annotator_id, new))


def load(tx: Transaction, conversation_id: str) -> Conversation | None:
    """Return the conversation from the projections; None if it is not stored."""
    key = {"of_conversation": conversation_id}
    row = tx.one(_SELECT_CONVERSATION, key)
    if row is None:
        return None
    conversation = _conversation_from(row)
    conversation.messages = {row[0]: _message_from(row) for row in tx.all(_SELECT_MESSAGES, key)}
    rated = tx.all(_SELECT_RATINGS, key)
    if rated:
        conversation.ratings = _ratings_from(rated, tx.all(_SELECT_REASONS, key))
    return conversation


def rows_of(conversation: Conversation) -> dict[Table, list[dict[str, Any]]]:
    """Return all rows of a conversation in the projections, by table, in insertion order."""
    if conversation.erased:
        return {}
    rated = [(*key, rating) for key, rating in conversation.ratings.items()]
    return {
        conversations: [_conversation_row(conversation)],
        messages: [message_row(conversation, message) for message in conversation.messages.values()],
        ratings: [rating_row(conversation, *entry) for entry in rated],
        rating_reasons: [row for entry in rated for row in reason_rows(*entry)],
    }


# Rows to state and back. The order of the columns is that of the schema.

_GENERATION = (
    "model",
    "endpoint",
    "provider",
    "temperature",
    "top_p",
    "max_tokens",
    "seed",
    "system_prompt",
    "model_id",
)
_PROVENANCE = tuple(field.name for field in fields(Provenance))


def _conversation_row(c: Conversation) -> dict[str, Any]:
    assert c.started_at is not None  # noqa: S101 - it has a first event
    return {
        "conversation_id": c.conversation_id,
        "annotator_id": c.annotator_id,
        "started_at": to_micros(c.started_at),
        "consent_version": c.consent_version,
        "study": c.assignment.study,
        "condition": c.assignment.condition,
        "external_id": c.assignment.external_id,
        **_state_columns(c),
    }


def _state_columns(c: Conversation) -> dict[str, Any]:
    # Leave out the primary key: each time it is set, SQLite checks every message that refers to it.
    assert c.updated_at is not None  # noqa: S101 - it has a first event
    return {
        "title": c.title,
        "version": c.version,
        "tree_version": c.tree_version,
        "head_id": c.head_id,
        "writing_id": c.writing_id,
        "updated_at": to_micros(c.updated_at),
        "cleared_at": to_micros(c.cleared_at) if c.cleared_at else None,
    }


def _conversation_from(row: Row) -> Conversation:
    (cid, annotator_id, title, version, tree_version, head_id, writing_id, started_at, updated_at, cleared_at) = row[
        :10
    ]
    consent_version, study, condition, external_id = row[10:]
    return Conversation(
        conversation_id=cid,
        annotator_id=annotator_id,
        title=title,
        version=version,
        tree_version=tree_version,
        head_id=head_id,
        writing_id=writing_id,
        started_at=from_micros(started_at),
        updated_at=from_micros(updated_at),
        cleared_at=from_micros(cleared_at) if cleared_at is not None else None,
        consent_version=consent_version,
        assignment=Assignment(study=study, condition=condition, external_id=external_id),
    )


def message_row(conversation: Conversation, message: Message) -> dict[str, Any]:
    """Return the message as a row of `messages`."""
    planned = {name: getattr(message.generation, name, None) for name in _GENERATION}
    return {
        "message_id": message.message_id,
        "conversation_id": conversation.conversation_id,
        "version": message.version,
        "annotator_id": conversation.annotator_id,
        "role": message.role,
        "author_id": message.author_id,
        "parent_id": message.parent_id,
        "replaces_id": message.replaces_id,
        "created_at": to_micros(message.created_at),
        "created_event_id": message.created_event_id,
        **planned,
        **_position_columns(message),
        **_outcome_columns(message),
    }


def _position_columns(message: Message) -> dict[str, Any]:
    return {"shown": message.shown, "active_child_id": message.active_child_id}


def _outcome_columns(message: Message) -> dict[str, Any]:
    outcome, generation = message.outcome, message.generation
    provenance = outcome.provenance if outcome else UNKNOWN
    return {
        "text": message.text,
        "altered": message.altered,
        "status": message.status,
        "sent_ids": orjson.dumps(generation.sent_ids).decode() if generation else None,
        "finished_at": to_micros(outcome.finished_at) if outcome else None,
        "finished_event_id": outcome.finished_event_id if outcome else None,
        "finish_reason": outcome.finish_reason if outcome else None,
        "error": outcome.error if outcome else None,
        "time_to_first_token": outcome.time_to_first_token if outcome else None,
        "duration": outcome.duration if outcome else None,
        "prompt_tokens": outcome.prompt_tokens if outcome else None,
        "completion_tokens": outcome.completion_tokens if outcome else None,
        **{name: getattr(provenance, name) for name in _PROVENANCE},
    }


def _message_from(row: Row) -> Message:
    (mid, _cid, version, _annotator, role, author_id, parent_id, replaces_id, active_child_id, shown) = row[:10]
    (text, altered, status, created_at, created_event_id, model, endpoint, provider, temperature, top_p) = row[10:20]
    (max_tokens, seed, system_prompt, sent_ids, finished_at, finished_event_id, finish_reason, error) = row[20:28]
    generation = outcome = None
    if model is not None:
        generation = Generation(
            model=model,
            endpoint=endpoint,
            provider=provider,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=seed,
            system_prompt=system_prompt,
            sent_ids=tuple(orjson.loads(sent_ids)),
            model_id=row[32],
        )
    if finished_at is not None:
        provenance = Provenance(**dict(zip(_PROVENANCE, row[33:], strict=True)))
        time_to_first_token, duration, prompt_tokens, completion_tokens = row[28:32]
        outcome = Outcome(
            from_micros(finished_at),
            finished_event_id,
            finish_reason,
            error,
            time_to_first_token,
            duration,
            prompt_tokens,
            completion_tokens,
            provenance,
        )
    return Message(
        message_id=mid,
        version=version,
        role=role,
        author_id=author_id,
        parent_id=parent_id,
        replaces_id=replaces_id,
        text=text,
        altered=bool(altered),
        status=status,
        created_at=from_micros(created_at),
        created_event_id=created_event_id,
        generation=generation,
        outcome=outcome,
        shown=bool(shown),
        active_child_id=active_child_id,
    )


def rating_row(conversation: Conversation, message_id: str, annotator_id: str, rating: Rating) -> dict[str, Any]:
    """Return the rating as a row of `ratings`."""
    return {
        "message_id": message_id,
        "annotator_id": annotator_id,
        "conversation_id": conversation.conversation_id,
        "model": conversation.messages[message_id].model,
        "value": rating.value,
        "comment": rating.comment,
        "created_at": to_micros(rating.created_at),
        "updated_at": to_micros(rating.updated_at),
        "event_id": rating.event_id,
    }


def reason_rows(message_id: str, annotator_id: str, rating: Rating) -> list[dict[str, Any]]:
    """Return the reasons of the rating as rows of `rating_reasons`."""
    return [{"message_id": message_id, "annotator_id": annotator_id, "reason": reason} for reason in rating.reasons]


def _ratings_from(rated: Iterable[Row], reasons: Iterable[Row]) -> dict[tuple[str, str], Rating]:
    codes: dict[tuple[str, str], list[str]] = {}
    for message_id, annotator_id, reason in reasons:
        codes.setdefault((message_id, annotator_id), []).append(reason)
    return {
        (message_id, annotator_id): Rating(
            value=value,
            reasons=tuple(sorted(codes.get((message_id, annotator_id), ()))),
            comment=comment,
            created_at=from_micros(created_at),
            updated_at=from_micros(updated_at),
            event_id=event_id,
        )
        for message_id, annotator_id, _cid, _model, value, comment, created_at, updated_at, event_id in rated
    }

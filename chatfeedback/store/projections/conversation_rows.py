"""Rows of the conversation projection: state to rows, and rows to state.

The order of the columns in a row is that of the schema.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import orjson

from chatfeedback.domain.conversation.events import UNKNOWN, Assignment, Generation, Provenance
from chatfeedback.domain.conversation.state import Conversation, Message, Outcome, Rating
from chatfeedback.store.log.statements import Row
from chatfeedback.store.schema import from_micros, to_micros

_GENERATION_COLUMNS = (
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
_PROVENANCE_COLUMNS = tuple(field.name for field in fields(Provenance))


def conversation_row(c: Conversation) -> dict[str, Any]:
    """Return the conversation as a row of `conversations`."""
    assert c.started_at is not None  # noqa: S101 - it has a first event
    return {
        "conversation_id": c.conversation_id,
        "annotator_id": c.annotator_id,
        "started_at": to_micros(c.started_at),
        "consent_version": c.consent_version,
        "study": c.assignment.study,
        "condition": c.assignment.condition,
        "external_id": c.assignment.external_id,
        **state_columns(c),
    }


def state_columns(c: Conversation) -> dict[str, Any]:
    """Return the columns of a conversation that its events change."""
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


def conversation_from(row: Row) -> Conversation:
    """Return the conversation of a row of `conversations`, without messages and ratings."""
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
    generation_columns = {name: getattr(message.generation, name, None) for name in _GENERATION_COLUMNS}
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
        **generation_columns,
        **path_columns(message),
        **outcome_columns(message),
    }


def path_columns(message: Message) -> dict[str, Any]:
    """Return the columns that say whether and with which child a message is on the shown path."""
    return {"shown": message.shown, "active_child_id": message.active_child_id}


def outcome_columns(message: Message) -> dict[str, Any]:
    """Return the columns that the end of a reply sets."""
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
        **{name: getattr(provenance, name) for name in _PROVENANCE_COLUMNS},
    }


def message_from(row: Row) -> Message:
    """Return the message of a row of `messages`."""
    (mid, _cid, version, _annotator, role, author_id, parent_id, replaces_id, active_child_id, shown) = row[:10]
    (text, altered, status, created_at, created_event_id, model, endpoint, provider, temperature, top_p) = row[10:20]
    (max_tokens, seed, system_prompt, sent_ids, finished_at, finished_event_id, finish_reason, error) = row[20:28]
    (time_to_first_token, duration, prompt_tokens, completion_tokens, model_id), provenance = row[28:33], row[33:]
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
            model_id=model_id,
        )
    if finished_at is not None:
        outcome = Outcome(
            from_micros(finished_at),
            finished_event_id,
            finish_reason,
            error,
            time_to_first_token,
            duration,
            prompt_tokens,
            completion_tokens,
            Provenance(**dict(zip(_PROVENANCE_COLUMNS, provenance, strict=True))),
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


def ratings_from(rated: Iterable[Row], reasons: Iterable[Row]) -> dict[tuple[str, str], Rating]:
    """Return the ratings of rows of `ratings` and `rating_reasons`, by message and annotator."""
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

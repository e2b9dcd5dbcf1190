"""Events: one frozen dataclass for each kind, and its stored form.

An event is an envelope (`Event`: actor, time, conversation, version) around a body (one of `Body`). The stored name
of a kind is our own string, never a class path. A body is stored as canonical JSON text (keys sorted, no spaces,
UTF-8), so the same event is always the same bytes. Old schema versions are upcast when read and never rewritten. Ids
are canonical UUID texts; new ones are UUIDv7, except derived ids (`prompts.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, get_args

import orjson

from chatfeedback.domain.conversation.events import (
    AlternativeChosen,
    AnnotatorRedacted,
    ConversationCleared,
    ConversationErased,
    ConversationStarted,
    Generation,
    MessageEdited,
    MessageSent,
    Provenance,
    ReplyFinished,
    ReplyRetried,
    ReplyStarted,
    TurnUndone,
)
from chatfeedback.domain.feedback.events import MessageRated, RatingCleared

Body = (
    ConversationStarted
    | MessageSent
    | ReplyStarted
    | ReplyFinished
    | ReplyRetried
    | TurnUndone
    | MessageEdited
    | MessageRated
    | RatingCleared
    | AlternativeChosen
    | ConversationCleared
    | ConversationErased
    | AnnotatorRedacted
)
BODIES: dict[str, type[Body]] = {body.KIND: body for body in get_args(Body)}
KINDS: tuple[str, ...] = tuple(BODIES)


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log. `position` and `recorded_at` are None until it is stored."""

    event_id: str
    conversation_id: str
    version: int
    """1 for the first event of a conversation, then without gaps; after an erasure, only the receipt's is left."""
    actor_id: str
    """Annotator who acted, or for whom a reply was generated."""
    occurred_at: datetime
    """Aware, UTC, microseconds."""
    body: Body
    position: int | None = None
    recorded_at: datetime | None = None


SCHEMA_VERSION = 3
"""Schema version of the payloads written today, the same for all kinds. A new version comes with a new revision of the
database, even if no table changes: then an older release refuses the whole database, not single conversations."""

UPCASTERS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {
    ("conversation_started", 1): lambda values: {**values, "consent_version": None},
    ("conversation_started", 2): lambda values: {**values, "study": None, "condition": None, "external_id": None},
    ("reply_started", 2): lambda values: {**values, "generation": {**values["generation"], "model_id": None}},
    ("reply_finished", 2): lambda values: {**values, "provenance": {}},
}
"""Upcasters: (kind, schema version) -> function from that version's payload to the next one's, where they differ."""

_PAYLOAD_FIELDS = {kind: tuple(f.name for f in fields(body) if f.name != "message_id") for kind, body in BODIES.items()}
_NESTED_FIELDS = {kind: tuple(f.name for f in fields(kind)) for kind in (Generation, Provenance)}
# orjson sorts the keys of dicts only: it would write a dataclass in the order of its fields.
_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
_LISTS = ("reasons", "previous_reasons", "sent_ids", "request_changes")
_LEFT_OUT_IF_EMPTY = ("request_changes",)
"""Fields that their schema version did not have at first."""


def payload_text(body: Body) -> str:
    """Return the body as canonical JSON text, without its message id, which is a column of its own."""
    payload = {
        name: value
        for name in _PAYLOAD_FIELDS[body.KIND]
        if (value := getattr(body, name)) or name not in _LEFT_OUT_IF_EMPTY
    }
    return orjson.dumps(payload, _nested_fields, _CANONICAL).decode()


def _nested_fields(nested: Generation | Provenance) -> dict[str, Any]:
    return {name: getattr(nested, name) for name in _NESTED_FIELDS[type(nested)]}


def body_from(kind: str, schema_version: int, message_id: str | None, payload: str) -> Body:
    """Return the stored body, upcast to the current schema.

    Raises:
        ValueError: The kind or schema version is unknown to this release, or the payload is broken.
    """
    if kind not in BODIES or schema_version > SCHEMA_VERSION:
        raise ValueError(
            f"its kind, {kind!r} of schema version {schema_version}, is newer than this release; install a later one"
        )
    values = orjson.loads(payload)
    try:
        for version in range(schema_version, SCHEMA_VERSION):
            if upcast := UPCASTERS.get((kind, version)):
                values = upcast(values)
        return _body(kind, message_id, values)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its payload is not that of a {kind!r} ({error})") from error


def _body(kind: str, message_id: str | None, values: dict[str, Any]) -> Body:
    for name in _LISTS:
        if values.get(name) is not None:
            values[name] = tuple(values[name])
    if "generation" in values:
        generation = values["generation"]
        values["generation"] = Generation(**{**generation, "sent_ids": tuple(generation["sent_ids"])})
    if "provenance" in values:
        values["provenance"] = Provenance(**values["provenance"])
    if message_id is not None:
        values["message_id"] = message_id
    return BODIES[kind](**values)

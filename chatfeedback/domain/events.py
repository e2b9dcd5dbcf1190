"""What can happen in a conversation: one frozen dataclass a kind, and its stored form.

An event is an envelope (`Event`: who, when, in which conversation, at which version) around a body (one of
`Body`: what). The stored name of a kind is our own string and never a class path; a body is stored as canonical
JSON text (keys sorted, no spaces, UTF-8), so that the same event is always the same bytes. Old schema versions
are upcast when they are read and never rewritten. Ids are canonical UUID texts, new ones UUIDv7 but
for those that are derived (`prompts.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, ClassVar, Literal, get_args

import orjson
import uuid_utils

Role = Literal["user", "assistant"]
Status = Literal["writing", "complete", "stopped", "left", "interrupted", "failed"]
"""Of a reply: still being written; finished by the model; stopped by the person; left, because nobody watched any
more; interrupted, because the process died; failed, because the model did. Written by a human: complete."""
FinalStatus = Literal["complete", "stopped", "left", "interrupted", "failed"]
RatingValue = Literal["like", "dislike"]


def new_id() -> str:
    """A UUIDv7 as text: later ids sort after earlier ones."""
    return str(uuid_utils.uuid7())


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What makes a reply: enough to ask the same question again. Never holds a secret."""

    model: str
    endpoint: str
    provider: str | None
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    system_prompt: str
    sent_ids: tuple[str, ...]
    """Ids of the messages sent, oldest first; the ones missing from the thread did not fit into the window."""
    model_id: str | None = None
    """The id of the model at its endpoint; `model` is its name here. None in events before schema version 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The provenance of a reply: what was sent, and what the endpoint said of itself; None where that is not known.

    A parameter that was left out, or sent under another name, is None.
    """

    sent_temperature: float | None = None
    sent_top_p: float | None = None
    sent_max_tokens: int | None = None
    sent_seed: int | None = None
    reported_model: str | None = None
    """The model that answered, in the endpoint's own words: often with a version."""
    system_fingerprint: str | None = None
    """Of the configuration that answered (OpenAI: chat completion chunk)."""
    reported_provider: str | None = None
    """The provider that the Hub or another router chose."""
    weights_sha256: str | None = None
    """Of the file of a local model, in hexadecimal digits."""


UNKNOWN = Provenance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The study that a conversation belongs to; None where nothing was said."""

    study: str | None = None
    condition: str | None = None
    """The arm of the study."""
    external_id: str | None = None
    """Of the annotator or the task, in another system."""


UNASSIGNED = Assignment()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationStarted:
    """The first event of every conversation."""

    KIND: ClassVar = "conversation_started"
    consent_version: str | None = None
    """Of the consent text that the annotator had agreed to; None: none was asked for."""
    study: str | None = None
    condition: str | None = None
    external_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSent:
    """A prompt. `altered`: characters that no database keeps (NUL, lone surrogates) became U+FFFD."""

    KIND: ClassVar = "message_sent"
    message_id: str
    parent_id: str | None
    text: str
    altered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyStarted:
    """The model was asked for a reply; `replaces_id` is the reply that it is an alternative to."""

    KIND: ClassVar = "reply_started"
    message_id: str
    parent_id: str
    replaces_id: str | None
    generation: Generation

    @property
    def model(self) -> str:
        return self.generation.model


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFinished:
    """The reply ended, with all the text that came; `error` is the sentence shown when it failed."""

    KIND: ClassVar = "reply_finished"
    message_id: str
    status: FinalStatus
    text: str
    model: str
    altered: bool = False
    finish_reason: str | None = None
    error: str | None = None
    time_to_first_token: float | None = None
    """Seconds."""
    duration: float | None = None
    """Seconds."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    sent_ids: tuple[str, ...] | None = None
    """Set when fewer messages were sent in the end than `ReplyStarted` planned."""
    provenance: Provenance = UNKNOWN
    """Nothing is known of a reply for which no endpoint was reached, and in events before schema version 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRetried:
    """Another answer was asked for instead of `message_id`, which stays as an alternative."""

    KIND: ClassVar = "reply_retried"
    message_id: str
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnUndone:
    """The last exchange, from the prompt `message_id` on, was taken off the screen."""

    KIND: ClassVar = "turn_undone"
    message_id: str
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEdited:
    """A human wrote `message_id` in the place of `replaces_id`; what followed leaves the screen."""

    KIND: ClassVar = "message_edited"
    message_id: str
    replaces_id: str
    parent_id: str | None
    role: Role
    text: str
    altered: bool = False
    model: str | None = None
    """The model whose reply was corrected, for an edited reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRated:
    """The rating of a reply by the actor is now this; the previous one is carried along."""

    KIND: ClassVar = "message_rated"
    message_id: str
    value: RatingValue | None
    reasons: tuple[str, ...]
    """Codes, sorted."""
    comment: str | None
    altered: bool = False
    previous_value: RatingValue | None
    previous_reasons: tuple[str, ...]
    previous_comment: str | None
    model: str | None
    """None for text that a human wrote: it counts for no model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingCleared:
    """The thumb was taken back, and its reasons with it; a comment stays."""

    KIND: ClassVar = "rating_cleared"
    message_id: str
    comment: str | None
    previous_value: RatingValue
    previous_reasons: tuple[str, ...]
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlternativeChosen:
    """The branch of `message_id` is shown again instead of that of `previous_id`."""

    KIND: ClassVar = "alternative_chosen"
    message_id: str
    previous_id: str
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationCleared:
    """The person went on to a new conversation; this one is kept."""

    KIND: ClassVar = "conversation_cleared"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationErased:
    """The receipt that stands in the place of all the events of a conversation; nothing follows it.

    The actor of a receipt is the annotator whose words are gone. Who erased them is in the audit.
    """

    KIND: ClassVar = "conversation_erased"
    events: int
    """That were there, the versions before this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatorRedacted:
    """The receipt that what the actor wrote in this conversation, which is another's, was taken out of its events."""

    KIND: ClassVar = "annotator_redacted"
    events: int
    """That have lost their words."""


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
    """1 for the first event of a conversation, then without gaps; after an erasure, of the receipt alone."""
    actor_id: str
    """The annotator who did it, or for whom a reply was written."""
    occurred_at: datetime
    """Aware, UTC, microseconds."""
    body: Body
    position: int | None = None
    recorded_at: datetime | None = None


SCHEMA_VERSION = 3
"""Of the payloads written today, one number for all kinds. A new one comes with a new revision of the database, also
where no table changes: then older releases refuse the whole of it, and not one conversation after the other."""

UPCASTERS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {
    ("conversation_started", 1): lambda values: {**values, "consent_version": None},
    ("conversation_started", 2): lambda values: {**values, "study": None, "condition": None, "external_id": None},
    ("reply_started", 2): lambda values: {**values, "generation": {**values["generation"], "model_id": None}},
    ("reply_finished", 2): lambda values: {**values, "provenance": {}},
}
"""(kind, schema version) -> a function from that version's payload to the next version's, where they differ."""

_PAYLOAD_FIELDS = {kind: tuple(f.name for f in fields(body) if f.name != "message_id") for kind, body in BODIES.items()}
_NESTED_FIELDS = {kind: tuple(f.name for f in fields(kind)) for kind in (Generation, Provenance)}
# orjson sorts the keys of dicts only; a dataclass of its own would keep the order of its fields.
_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
_LISTS = ("reasons", "previous_reasons", "sent_ids")


def payload_text(body: Body) -> str:
    """The body without its message id (a column of its own) as canonical JSON text."""
    payload = {name: getattr(body, name) for name in _PAYLOAD_FIELDS[body.KIND]}
    return orjson.dumps(payload, _nested_fields, _CANONICAL).decode()


def _nested_fields(nested: Generation | Provenance) -> dict[str, Any]:
    return {name: getattr(nested, name) for name in _NESTED_FIELDS[type(nested)]}


def body_from(kind: str, schema_version: int, message_id: str | None, payload: str) -> Body:
    """The body that was stored, upcast to today's schema.

    Raises ValueError for a kind or schema version that this release does not know, and for a broken payload.
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
        made = values["generation"]
        values["generation"] = Generation(**{**made, "sent_ids": tuple(made["sent_ids"])})
    if "provenance" in values:
        values["provenance"] = Provenance(**values["provenance"])
    if message_id is not None:
        values["message_id"] = message_id
    return BODIES[kind](**values)

"""Conversation events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chatfeedback.domain.types import FinalStatus, MessageRole


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """Parameters of a generation, enough to repeat the request; never holds a secret."""

    model: str
    endpoint: str
    provider: str | None
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    system_prompt: str
    sent_ids: tuple[str, ...]
    """Ids of the messages sent, oldest first. Other messages of the thread did not fit into the context window."""
    model_id: str | None = None
    """Id of the model at its endpoint; `model` is its name here. None in events before schema version 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Provenance of a reply: the parameters sent, and what the endpoint reports of itself; None where unknown.

    A parameter that was left out, or sent under another name, is None.
    """

    sent_temperature: float | None = None
    sent_top_p: float | None = None
    sent_max_tokens: int | None = None
    sent_seed: int | None = None
    reported_model: str | None = None
    """Model that answered, as the endpoint names it, often with a version."""
    system_fingerprint: str | None = None
    """Fingerprint of the configuration that answered (OpenAI: chat completion chunk)."""
    reported_provider: str | None = None
    """Provider that the Hub or another router chose."""
    weights_sha256: str | None = None
    """SHA-256 of the file of a local model, in hexadecimal digits."""


UNKNOWN = Provenance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Study assignment of a conversation; None where unassigned."""

    study: str | None = None
    condition: str | None = None
    """Arm of the study."""
    external_id: str | None = None
    """Id of the annotator or the task in another system."""


UNASSIGNED = Assignment()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationStarted:
    """The first event of every conversation."""

    KIND: ClassVar = "conversation_started"
    consent_version: str | None = None
    """Consent text that the annotator had agreed to; None if none was required."""
    study: str | None = None
    condition: str | None = None
    external_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSent:
    """A prompt was sent. `altered`: characters that no database stores (NUL, lone surrogates) became U+FFFD."""

    KIND: ClassVar = "message_sent"
    message_id: str
    parent_id: str | None
    text: str
    altered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyStarted:
    """A reply was requested from the model; `replaces_id` is the reply that it is an alternative to."""

    KIND: ClassVar = "reply_started"
    message_id: str
    parent_id: str
    replaces_id: str | None
    generation: Generation

    @property
    def model(self) -> str:
        """Name of the requested model."""
        return self.generation.model


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFinished:
    """A reply ended, with all the text that arrived; `error` is the sentence shown if it failed."""

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
    """Set if fewer messages were sent than `ReplyStarted` planned."""
    request_changes: tuple[str, ...] = ()
    """Differences of the request that was sent from `ReplyStarted.generation`, see docs/data.md."""
    provenance: Provenance = UNKNOWN
    """`UNKNOWN` if no endpoint was reached, and in events before schema version 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRetried:
    """Another reply was requested instead of `message_id`, which stays as an alternative."""

    KIND: ClassVar = "reply_retried"
    message_id: str
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnUndone:
    """The last exchange, from the prompt `message_id` on, was removed from the screen."""

    KIND: ClassVar = "turn_undone"
    message_id: str
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEdited:
    """A human wrote `message_id` to replace `replaces_id`; what followed leaves the screen."""

    KIND: ClassVar = "message_edited"
    message_id: str
    replaces_id: str
    parent_id: str | None
    role: MessageRole
    text: str
    altered: bool = False
    model: str | None = None
    """Model whose reply was corrected, for an edited reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlternativeChosen:
    """The branch of `message_id` is shown again instead of that of `previous_id`."""

    KIND: ClassVar = "alternative_chosen"
    message_id: str
    previous_id: str
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationCleared:
    """The annotator went on to a new conversation; this one is kept."""

    KIND: ClassVar = "conversation_cleared"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationErased:
    """Receipt that replaces all events of an erased conversation; no event follows it.

    The actor of a receipt is the annotator whose text was erased. The administrator who erased it is in the audit.
    """

    KIND: ClassVar = "conversation_erased"
    events: int
    """Number of erased events, which had the versions before this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatorRedacted:
    """Receipt that the actor's text was redacted from events of this conversation, which is another annotator's."""

    KIND: ClassVar = "annotator_redacted"
    events: int
    """Number of redacted events."""

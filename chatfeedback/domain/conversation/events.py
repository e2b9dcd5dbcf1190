"""Events of a conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chatfeedback.domain.types import FinalStatus, Role


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

"""A conversation: a tree of messages, and what annotators say of its replies.

Each message has a parent; the *head* marks where the conversation stands; what is shown is the path from the root
to the head. Nothing is ever removed from the tree: retry, undo, edit and the choice of an alternative only add
messages and move the head. Every message remembers which of its children was shown last (`active_child_id`), so
that going back to a branch finds the tip where it was left, and an undone exchange does not come back by itself.

It holds exactly what the projections store; what makes it is the fold of its events (`fold.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from chatfeedback.domain.conversation.events import UNASSIGNED, UNKNOWN, Assignment, Generation, Provenance
from chatfeedback.domain.feedback.events import RatingValue
from chatfeedback.domain.types import Role, Status


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a reply ended."""

    finished_at: datetime
    finished_event_id: str
    finish_reason: str | None
    error: str | None
    time_to_first_token: float | None
    """Seconds."""
    duration: float | None
    """Seconds."""
    prompt_tokens: int | None
    completion_tokens: int | None
    provenance: Provenance = UNKNOWN


@dataclass(frozen=True, slots=True)
class Message:
    """One version of one message; a retry or an edit makes a new one beside it."""

    message_id: str
    version: int
    """Of the conversation when the message was made: orders messages."""
    role: Role
    author_id: str | None
    """The annotator who wrote it; None: the model did."""
    parent_id: str | None
    replaces_id: str | None
    text: str
    altered: bool
    status: Status
    created_at: datetime
    created_event_id: str
    generation: Generation | None = None
    outcome: Outcome | None = None
    shown: bool = True
    active_child_id: str | None = None

    @property
    def model(self) -> str | None:
        """Whose text it is, for the figures; None when a human wrote it."""
        return self.generation.model if self.generation else None


@dataclass(frozen=True, slots=True)
class Rating:
    """What one annotator says of one reply now."""

    value: RatingValue | None
    reasons: tuple[str, ...]
    comment: str | None
    created_at: datetime
    updated_at: datetime
    event_id: str
    """The event that made it what it is."""


@dataclass(slots=True)
class Conversation:
    """Where a conversation stands at `version` (0: nothing has happened yet)."""

    conversation_id: str
    annotator_id: str = ""
    title: str = ""
    version: int = 0
    tree_version: int = 0
    """The version at which what is shown last changed; ratings do not change it."""
    head_id: str | None = None
    writing_id: str | None = None
    """The reply that is being written, if any."""
    started_at: datetime | None = None
    updated_at: datetime | None = None
    cleared_at: datetime | None = None
    consent_version: str | None = None
    """Of the consent text under which it is held, if one was asked for."""
    assignment: Assignment = UNASSIGNED
    messages: dict[str, Message] = field(default_factory=dict)
    """By id, oldest first."""
    ratings: dict[tuple[str, str], Rating] = field(default_factory=dict)
    """By (message id, annotator id)."""
    erased: bool = False
    """Nothing is left but the receipt: there is no row of it but in the log, and nothing can follow."""

    def thread(self, tip: str | None) -> list[Message]:
        """The messages from the root to `tip`, both included; `[]` for None."""
        path = []
        while tip is not None:
            message = self.messages[tip]
            path.append(message)
            tip = message.parent_id
        path.reverse()
        return path

    def shown(self) -> list[Message]:
        """What is on the screen, oldest first."""
        return self.thread(self.head_id)

    def has_event(self, event_id: str) -> bool:
        """Return True if a message was made by this event."""
        return any(message.created_event_id == event_id for message in self.messages.values())

    def children(self, parent_id: str | None) -> Iterator[Message]:
        return (message for message in self.messages.values() if message.parent_id == parent_id)

    def alternatives(self, message_id: str) -> list[Message]:
        """The replies to the same prompt that have a text, or are this one; oldest first."""
        parent_id = self.messages[message_id].parent_id
        return [
            message
            for message in self.children(parent_id)
            if message.role == "assistant" and (message.text or message.message_id == message_id)
        ]

    def tip(self, message_id: str) -> str:
        """Where the branch that goes through this message was left."""
        while (child := self.messages[message_id].active_child_id) is not None:
            message_id = child
        return message_id

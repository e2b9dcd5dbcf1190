"""State of a conversation: a tree of messages, and the annotators' ratings of its replies.

Each message has a parent. The *head* marks the current position, and the path from the root to the head is shown.
Nothing is ever removed from the tree: retry, undo, edit and the choice of an alternative only add messages and move the
head. Every message stores which of its children was shown last (`active_child_id`). So going back to a branch finds its
tip, and an undone exchange does not come back by itself.

The state holds exactly what the projections store. The fold of its events produces it (`evolve.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from chatfeedback.domain.conversation.events import UNASSIGNED, UNKNOWN, Assignment, Generation, Provenance
from chatfeedback.domain.feedback.events import RatingValue
from chatfeedback.domain.types import MessageRole, Status


@dataclass(frozen=True, slots=True)
class Outcome:
    """End of a reply."""

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
    """One version of one message; a retry or an edit adds a new one beside it."""

    message_id: str
    version: int
    """Version of the conversation that added the message: orders messages."""
    role: MessageRole
    author_id: str | None
    """Annotator who wrote it; None: the model did."""
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
        """Model that the text counts for in the figures; None if a human wrote it."""
        return self.generation.model if self.generation else None


@dataclass(frozen=True, slots=True)
class Rating:
    """Current rating of one reply by one annotator."""

    value: RatingValue | None
    reasons: tuple[str, ...]
    comment: str | None
    created_at: datetime
    updated_at: datetime
    event_id: str
    """Event that set it."""


@dataclass(slots=True)
class Conversation:
    """State of a conversation at `version`; 0: no event yet."""

    conversation_id: str
    annotator_id: str = ""
    title: str = ""
    version: int = 0
    tree_version: int = 0
    """Version of the last change of what is shown; ratings do not change it."""
    head_id: str | None = None
    writing_id: str | None = None
    """The running reply, if any."""
    started_at: datetime | None = None
    updated_at: datetime | None = None
    cleared_at: datetime | None = None
    consent_version: str | None = None
    """Consent text under which it was started, if one was required."""
    assignment: Assignment = UNASSIGNED
    messages: dict[str, Message] = field(default_factory=dict)
    """By id, oldest first."""
    ratings: dict[tuple[str, str], Rating] = field(default_factory=dict)
    """By (message id, annotator id)."""
    erased: bool = False
    """True if only the receipt is left: no rows outside the log, and no further events."""

    def thread(self, tip: str | None) -> list[Message]:
        """Return the messages from the root to `tip`, both included; `[]` for None."""
        path = []
        while tip is not None:
            message = self.messages[tip]
            path.append(message)
            tip = message.parent_id
        path.reverse()
        return path

    def shown(self) -> list[Message]:
        """Return the messages on the screen, oldest first."""
        return self.thread(self.head_id)

    def has_event(self, event_id: str) -> bool:
        """Return True if this event created a message."""
        return any(message.created_event_id == event_id for message in self.messages.values())

    def children(self, parent_id: str | None) -> Iterator[Message]:
        """Yield the messages with this parent, oldest first."""
        return (message for message in self.messages.values() if message.parent_id == parent_id)

    def alternatives(self, message_id: str) -> list[Message]:
        """Return the replies to the same prompt that have a text, or are this one; oldest first."""
        parent_id = self.messages[message_id].parent_id
        return [
            message
            for message in self.children(parent_id)
            if message.role == "assistant" and (message.text or message.message_id == message_id)
        ]

    def tip(self, message_id: str) -> str:
        """Return the tip of the branch through this message that was shown last."""
        while (child := self.messages[message_id].active_child_id) is not None:
            message_id = child
        return message_id

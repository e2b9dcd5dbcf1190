"""Ledger of what annotators did, what was acknowledged, and what the log says of it.

A deed is one thing that a person did, written so that the page and the log spell it alike: by the texts that were
typed, each of which is typed only once, and by the prompt that a reply answers. What was acknowledged has to be in
the log as often as it was acknowledged; what was attempted and never answered may be there, but no more often than it
was attempted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chatfeedback.domain.conversation.events import (
    AlternativeChosen,
    ConversationCleared,
    MessageEdited,
    MessageSent,
    ReplyFinished,
    ReplyRetried,
    ReplyStarted,
    TurnUndone,
)
from chatfeedback.domain.events import Event
from chatfeedback.domain.feedback.events import MessageRated, RatingCleared

Deed = tuple[str, ...]
"""Kind, and the values that tell it from others of its kind."""


def sent(text: str) -> Deed:
    return ("sent", text)


def edited(text: str) -> Deed:
    return ("edited", text)


def retried(prompt: str) -> Deed:
    return ("retried", prompt)


def undone(prompt: str) -> Deed:
    return ("undone", prompt)


def chosen(prompt: str) -> Deed:
    """Return the choice of another alternative of the reply to this prompt."""
    return ("chosen", prompt)


def cleared(conversation_id: str) -> Deed:
    return ("cleared", conversation_id)


def voted(prompt: str, value: str) -> Deed:
    """Return a vote. `value`: like, dislike, or "" for a thumb that was taken back."""
    return ("voted", prompt, value)


def gave_reasons(message_id: str, codes: Sequence[str]) -> Deed:
    return ("gave reasons", message_id, *sorted(codes))


def commented(message_id: str, comment: str) -> Deed:
    return ("commented", message_id, comment)


def answered(prompt: str, text: str) -> Deed:
    """Return the end of a reply that was shown, which is no deed of the annotator."""
    return ("answered", prompt, text)


def deeds_in(events: Sequence[Event]) -> Iterator[Deed]:
    """Yield the deeds in the log of a conversation. `events`: all of them, oldest first."""
    texts: dict[str, str] = {}
    parents: dict[str, str | None] = {}
    for event in events:
        body = event.body
        if isinstance(body, (MessageSent, MessageEdited)):
            texts[body.message_id] = body.text
        if isinstance(body, (MessageSent, MessageEdited, ReplyStarted)):
            parents[body.message_id] = body.parent_id
    for event in events:
        body = event.body
        message_id = getattr(body, "message_id", "")
        prompt = texts.get(parents.get(message_id) or "", "")
        match body:
            case MessageSent():
                yield sent(body.text)
            case MessageEdited():
                yield edited(body.text)
            case ReplyRetried():
                yield retried(prompt)
            case TurnUndone():
                yield undone(texts[message_id])
            case AlternativeChosen():
                yield chosen(prompt)
            case ConversationCleared():
                yield cleared(event.conversation_id)
            case RatingCleared():
                yield voted(prompt, "")
            case MessageRated() if body.comment != body.previous_comment:
                yield commented(message_id, body.comment or "")
            case MessageRated() if body.value != body.previous_value:
                yield voted(prompt, body.value or "")
            case MessageRated():
                yield gave_reasons(message_id, body.reasons)
            case ReplyFinished():
                yield answered(prompt, body.text)


@dataclass(slots=True)
class Ledger:
    """Attempts and acknowledgements of all annotators, which they alone record."""

    attempted: Counter[Deed] = field(default_factory=Counter)
    acknowledged: Counter[Deed] = field(default_factory=Counter)
    where: dict[Deed, str] = field(default_factory=dict)
    """Conversation and annotator of each acknowledged deed."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Sentences of refusals, counted."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at every acknowledgement."""

    def attempt(self, deed: Deed) -> None:
        """Record an attempt, before the server is asked for it."""
        self.attempted[deed] += 1

    def acknowledge(self, deed: Deed, where: str) -> None:
        """Record an acknowledgement, when the page was told that it is done."""
        self.acknowledged[deed] += 1
        self.where[deed] = where
        self.news.set()

    def was_shown(self, prompt: str, text: str, where: str) -> None:
        """Record that the end of a reply was shown; the same one may be shown again later."""
        if not self.acknowledged[answered(prompt, text)]:
            self.acknowledge(answered(prompt, text), where)

    def found(self, logged: Counter[Deed]) -> int:
        """Return the number of acknowledged deeds that are in the log."""
        return (self.acknowledged & logged).total()

    def lost(self, logged: Counter[Deed]) -> Counter[Deed]:
        """Return the acknowledged deeds that are not in the log."""
        return self.acknowledged - logged

    def surplus(self, logged: Counter[Deed]) -> Counter[Deed]:
        """Return the deeds that are in the log more often than attempted; the checks look at ends of replies."""
        done = logged - self.attempted
        return Counter({deed: times for deed, times in done.items() if deed[0] != "answered"})

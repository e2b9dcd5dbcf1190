"""The figures once more, from the log alone and in plain Python: what the SQL must agree with.

Nothing of the fold, the projections or the figures is used: events are gone through one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from fractions import Fraction

from chatfeedback.domain.conversation.events import (
    ConversationStarted,
    MessageEdited,
    MessageSent,
    ReplyFinished,
    ReplyStarted,
)
from chatfeedback.domain.events import Event
from chatfeedback.domain.feedback.events import MessageRated, RatingCleared
from chatfeedback.query.filters import ResolvedFilters


@dataclass
class Said:
    """Message of the record."""

    owner: str
    at: datetime
    model: str | None
    text: str
    conversation_id: str
    prompt: str | None = None
    status: str = "complete"
    first_token: float | None = None


@dataclass
class Judged:
    """Feedback of one person on one reply."""

    value: str | None
    reasons: tuple[str, ...]
    comment: str | None
    at: datetime


@dataclass
class Record:
    """Record of all that happened, and the filters to view it by."""

    started: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    said: dict[str, Said] = field(default_factory=dict)
    judged: dict[tuple[str, str], Judged] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    filters: ResolvedFilters = field(default_factory=ResolvedFilters)

    @classmethod
    def of(cls, events: Iterable[Event]) -> Record:
        record = cls()
        for event in events:
            record._note(event)
        return record

    def _note(self, event: Event) -> None:
        self.events.append(event)
        where, at, body = event.conversation_id, event.occurred_at, event.body
        match body:
            case ConversationStarted():
                self.started[where] = (event.actor_id, at)
            case MessageSent() | MessageEdited():
                owner, _ = self.started[where]
                prompt = self.said[body.parent_id].text if body.parent_id else None
                self.said[body.message_id] = Said(owner, at, None, body.text, where, prompt)
            case ReplyStarted():
                owner, _ = self.started[where]
                prompt = self.said[body.parent_id].text
                self.said[body.message_id] = Said(owner, at, body.model, "", where, prompt, "writing")
            case ReplyFinished():
                reply = self.said[body.message_id]
                reply.text, reply.status, reply.first_token = body.text, body.status, body.time_to_first_token
            case MessageRated() | RatingCleared():
                is_rated = isinstance(body, MessageRated)
                value, reasons = (body.value, body.reasons) if is_rated else (None, ())
                self.judged.pop((body.message_id, event.actor_id), None)
                if value or reasons or body.comment is not None:
                    self.judged[body.message_id, event.actor_id] = Judged(value, reasons, body.comment, at)

    def under(self, filters: ResolvedFilters) -> Record:
        return Record(self.started, self.said, self.judged, self.events, filters)

    def _fits(self, at: datetime, model: str | None, annotator: str) -> bool:
        filters = self.filters
        return (
            (filters.since is None or at >= filters.since)
            and (filters.until is None or at < filters.until)
            and filters.model in (None, model)
            and filters.annotator_id in (None, annotator)
        )

    def conversations(self) -> int:
        with_model = {message.conversation_id for message in self.said.values() if message.model == self.filters.model}
        return sum(
            self._fits(at, self.filters.model, owner) and (self.filters.model is None or key in with_model)
            for key, (owner, at) in self.started.items()
        )

    def messages(self) -> dict[str, Said]:
        return {
            key: message for key, message in self.said.items() if self._fits(message.at, message.model, message.owner)
        }

    def replies(self) -> dict[str, Said]:
        return {key: message for key, message in self.messages().items() if message.model is not None}

    def rated_replies(self) -> int:
        rated = {message_id for (message_id, _), judged in self.judged.items() if judged.value}
        return sum(bool(reply.text) and key in rated for key, reply in self.replies().items())

    def happened(self, kind: str) -> int:
        return sum(
            kind == event.body.KIND
            and self._fits(event.occurred_at, getattr(event.body, "model", None), event.actor_id)
            for event in self.events
        )

    def first_token(self, percent: int) -> float | None:
        times = sorted(reply.first_token for reply in self.replies().values() if reply.first_token is not None)
        return next((t for k, t in enumerate(times, 1) if Fraction(k, len(times)) >= Fraction(percent, 100)), None)

    def feedback(self) -> dict[tuple[str, str], Judged]:
        return {
            (message_id, annotator): judged
            for (message_id, annotator), judged in self.judged.items()
            if self._fits(judged.at, self.said[message_id].model, annotator)
        }

    def per_day(self) -> dict[date, list[int]]:
        days: dict[date, list[int]] = {}
        for judged in self.feedback().values():
            counts = days.setdefault(judged.at.date(), [0, 0, 0])
            counts[0] += judged.value == "like"
            counts[1] += judged.value == "dislike"
            counts[2] += judged.comment is not None
        return days

    def by_model(self) -> dict[str, tuple[int, int]]:
        """Return likes and all thumbs by model."""
        likes: Counter[str] = Counter()
        thumbs: Counter[str] = Counter()
        for (message_id, _), judged in self.feedback().items():
            model = self.said[message_id].model
            if model is not None and judged.value and self.said[message_id].text:
                thumbs[model] += 1
                likes[model] += judged.value == "like"
        return {model: (likes[model], thumbs[model]) for model in thumbs}

    def without_text(self) -> int:
        """Return the number of thumbs on replies by models that have no text."""
        return sum(
            judged.value is not None and self.said[message_id].model is not None and not self.said[message_id].text
            for (message_id, _), judged in self.feedback().items()
        )

    def reasons(self) -> Counter[tuple[str | None, str]]:
        return Counter((judged.value, code) for judged in self.feedback().values() for code in judged.reasons)

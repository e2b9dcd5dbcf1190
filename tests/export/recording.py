"""Conversations at known times, and helpers for tests of exports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from chatfeedback.domain.conversation import decide as decisions
from chatfeedback.domain.conversation.decide import ThreadMessage
from chatfeedback.domain.conversation.events import UNASSIGNED, Assignment, Generation
from chatfeedback.domain.events import Event
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.domain.text import sanitize
from chatfeedback.domain.types import FinalStatus, new_id
from chatfeedback.store.log.event_store import Command, Decision, EventStore
from conversation_builder import People, StoredTalk, ending, plan

Rows = list[dict[str, Any]]
Export = Callable[..., bytes]
"""`export(kind, format, naming, **filters)`: the whole export, with pseudonyms where no naming is given."""
Read = Callable[..., Rows]
"""`read(kind, **filters)`: the rows of an export, by name."""

START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


class TimedTalk(StoredTalk):
    """Conversation with one model, in which every step happens a minute after the one before."""

    def __init__(self, store: EventStore, actor: str, model: str = "small", at: datetime = START) -> None:
        super().__init__(store, actor)
        self.model, self.at = model, at
        self.generation: dict[str, Any] = {"system_prompt": "You are a friendly chatbot"}

    def do(self, decide: Decision, actor: str | None = None) -> tuple[Event, ...]:
        command = Command(self.conversation_id, actor or self.actor, decide, occurred_at=self.at)
        self.at += timedelta(minutes=1)
        return self.store.execute(command).result(timeout=60).events

    def ask(
        self,
        text: str,
        answer: str,
        status: FinalStatus = "complete",
        *,
        consent_version: str | None = None,
        assignment: Assignment = UNASSIGNED,
    ) -> str:
        """Send a prompt with its whole reply; return the id of the reply.

        Characters that no database keeps are replaced in the prompt, as in typed text.
        """
        ids = {"message_id": new_id(), "reply_id": new_id()}
        kept, altered = sanitize(text)
        self.do(
            lambda c: decisions.send(
                c,
                kept,
                self._plan,
                altered=altered,
                expected_version=None,
                consent_version=consent_version,
                assignment=assignment,
                **ids,
            )
        )
        self.finish(ids["reply_id"], answer, status)
        return ids["reply_id"]

    def _plan(self, thread: Sequence[ThreadMessage]) -> Generation:
        return replace(plan(thread, self.model), **self.generation)

    def finish(self, reply_id: str, text: str = "Hello yourself", status: FinalStatus = "complete") -> None:
        finished = replace(ending(reply_id, text, status), model=self.model)
        self.do(lambda c: decisions.finish(c, finished))

    def again(self, message_id: str, answer: str) -> str:
        """Replace a reply by another one; return its id."""
        reply_id = new_id()
        self.do(
            lambda c: decisions.retry(c, self._plan, message_id=message_id, reply_id=reply_id, expected_version=None)
        )
        self.finish(reply_id, answer)
        return reply_id

    def like(self, reply_id: str, annotator_id: str, *reasons: str) -> str:
        """Like a reply; return the id of the event."""
        return self.rate(reply_id, annotator_id, RatingChange("like", dict.fromkeys(reasons, True)))[0].event_id

    def dislike(self, reply_id: str, annotator_id: str, *reasons: str) -> str:
        return self.rate(reply_id, annotator_id, RatingChange("dislike", dict.fromkeys(reasons, True)))[0].event_id

    def unrate(self, reply_id: str, annotator_id: str) -> str:
        return self.rate(reply_id, annotator_id, RatingChange(""))[0].event_id

    def comment(self, reply_id: str, annotator_id: str, text: str) -> str:
        return self.rate(reply_id, annotator_id, RatingChange(comment=text))[0].event_id


MODELS = ("small", "large", "org/vast")


def gather(store: EventStore, people: People) -> None:
    """Store a day with each model: all three annotators talk to it for a while, and rate some of its replies."""
    ada, bob, cyd = people
    for day, model in enumerate(MODELS):
        for hour, owner in enumerate(people):
            talk = TimedTalk(store, owner, model, START + timedelta(days=day, hours=hour))
            first = talk.ask(f"What is {model}?", f"{model} is a model.")
            talk.like(first, owner, "funny", "accurate")
            second = talk.again(talk.ask("And why?", "Because."), "Nobody knows.")
            talk.dislike(second, bob, "wrong")
            talk.comment(first, cyd, "to be discussed")
            talk.like(second, ada)
            talk.unrate(second, ada)


def at(minutes: int) -> str:
    """Return the time of the step that came so many minutes after the first."""
    return f"{START + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%S.%f}Z"

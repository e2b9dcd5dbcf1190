"""A crowd of annotators at work: conversations made by the domain's own decisions, and ways to store them.

Everything hangs on a seed, so that the same crowd says the same things twice. Annotators and models are unevenly
busy, as they are in life; days get busier over the year; some replies fail, are stopped, retried, edited or rated by
a second person.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import insert

from chatfeedback.domain.conversation import decide as decisions
from chatfeedback.domain.conversation.events import Generation, ReplyFinished
from chatfeedback.domain.conversation.evolve import evolve
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import SCHEMA_VERSION, Body, Event, payload_text
from chatfeedback.domain.feedback.decide import RatingChange, rate
from chatfeedback.store.log.statements import Transaction
from chatfeedback.store.projections import conversation
from chatfeedback.store.schema import PROJECTIONS, annotators, events, to_micros

REASONS: Mapping[str, str] = {
    "correct": "like",
    "clear": "like",
    "helpful": "like",
    "factual_error": "dislike",
    "too_long": "dislike",
    "unclear": "dislike",
    "surprising": "any",
}
WORDS = (
    "the reply that we have in mind is one that says what it knows and what it does not, in short and plain words, "
    "and that a reader can follow from the first line to the last without a look at anything else "
) * 60
_INSERT_ANNOTATOR = insert(annotators)
_INSERT_EVENT = insert(events)
_INSERTS = {table: insert(table) for table in PROJECTIONS}


@dataclass(frozen=True)
class Crowd:
    """Crowd of annotators who talk to models over some days. `until` is exclusive."""

    seed: int = 1
    annotators: int = 4
    models: int = 3
    until: datetime = datetime(2026, 7, 1, tzinfo=UTC)
    days: int = 10
    reply_length: int = 120
    """Of a middling reply, in characters."""
    names_begin_with: str = "annotator-"

    def names(self) -> dict[str, str]:
        """Return the names of the annotators by their ids."""
        return {self._id("annotator", n): f"{self.names_begin_with}{n:03}" for n in range(self.annotators)}

    def model_names(self) -> list[str]:
        return [f"org/model-{chr(ord('a') + n)}" for n in range(self.models)]

    def _id(self, *parts: object) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(map(str, (self.seed, *parts)))))

    def talk(self) -> Iterator[tuple[list[Event], Conversation]]:
        """Yield conversations without end: the events of each, oldest first, and the state that they add up to."""
        rng = random.Random(self.seed)
        people, models = list(self.names()), self.model_names()
        busy = [1 / (n + 1) for n in range(len(people))]
        used = [1 / (n + 2) for n in range(len(models))]
        while True:
            owner = rng.choices(people, busy)[0]
            start = self.until - timedelta(days=self.days * (1 - rng.random() ** 0.5))
            talk = _Talk(self, rng, owner, rng.choices(models, used)[0], start)
            while talk.conversation.version == 0 or rng.random() < 0.78:
                talk.turn(rng.choice(people))
            if rng.random() < 0.05:
                talk.ask()  # and the reply is still being written
            yield talk.events, talk.conversation


class _Talk:
    """One conversation in the making."""

    def __init__(self, crowd: Crowd, rng: random.Random, owner: str, model: str, at: datetime) -> None:
        self.crowd, self.rng, self.owner, self.model, self.at = crowd, rng, owner, model, at
        self.quality = 0.45 + 0.4 * random.Random(model).random()
        self.events: list[Event] = []
        self.conversation = Conversation(self._id())

    def _id(self) -> str:
        """Return a UUIDv7 of the moment, as the service makes them: later ids sort after earlier ones."""
        milliseconds = int(self.at.timestamp() * 1000)
        return str(uuid.UUID(int=milliseconds << 80 | 7 << 76 | self.rng.getrandbits(76) & ~(1 << 63) | 1 << 63))

    def _do(self, bodies: Iterable[Body], actor: str | None = None, seconds: float = 20) -> None:
        self.at += timedelta(seconds=self.rng.expovariate(1 / seconds))
        latest = self.crowd.until - timedelta(microseconds=1)
        new = [
            Event(
                self._id(), self.conversation.conversation_id, version, actor or self.owner, min(self.at, latest), body
            )
            for version, body in enumerate(bodies, self.conversation.version + 1)
        ]
        self.events += new
        self.conversation, _ = evolve(self.conversation, new)

    def _plan(self, thread: Any) -> Generation:
        return Generation(
            model=self.model,
            endpoint="http://127.0.0.1:8080/v1",
            provider=None,
            temperature=0.95,
            top_p=0.9,
            max_tokens=512,
            seed=self.rng.getrandbits(31),
            system_prompt="You are a friendly chatbot",
            sent_ids=tuple(message.message_id for message in thread),
        )

    def _text(self, length: int) -> str:
        size = max(1, int(self.rng.lognormvariate(0, 0.6) * length))
        start = self.rng.randrange(300)
        return WORDS[start : start + size].strip() or "yes"

    def ask(self) -> None:
        """Send a prompt; its reply begins."""
        ids = {"message_id": self._id(), "reply_id": self._id()}
        self._do(
            decisions.send(self.conversation, self._text(80), self._plan, **ids, expected_version=None), seconds=90
        )

    def turn(self, neighbour: str) -> None:
        """Send a prompt, finish its reply, and rate, retry, edit or undo it at random."""
        rng = self.rng
        again = partial(dict, plan=self._plan, expected_version=None)
        if rng.random() < 0.1:
            self.model = rng.choice(self.crowd.model_names())
        self.ask()
        if rng.random() < 0.1:
            self._vote_early()
            self._end((60, 10, 5, 5, 20))
        else:
            self._end()
        if rng.random() < 0.08:
            self._vote(self.owner)
            head = self.conversation.head_id or ""
            self._do(decisions.retry(self.conversation, message_id=head, reply_id=self._id(), **again()))
            self._end()
        self._vote(self.owner)
        if rng.random() < 0.05:
            self._vote(neighbour)
        if rng.random() < 0.06:
            shown = self.conversation.shown()
            old = shown[-1] if rng.random() < 0.5 else shown[-2]
            ids = {"message_id": old.message_id, "new_id": self._id(), "reply_id": self._id()}
            self._do(decisions.edit(self.conversation, self._text(90) + ".", **ids, **again()))
            self._end()
            self._vote(self.owner)
        if rng.random() < 0.04:
            self._do(decisions.undo(self.conversation, expected_version=None))

    def _end(self, weights: Sequence[int] = (93, 3, 1, 1, 2)) -> None:
        """End the reply. `weights`: how often it is complete, stopped, left, interrupted and failed."""
        reply_id, rng = self.conversation.writing_id, self.rng
        if reply_id is None:
            return
        status = rng.choices(("complete", "stopped", "left", "interrupted", "failed"), weights)[0]
        text = "" if status == "failed" and rng.random() < 0.8 else self._text(self.crowd.reply_length)
        wait = rng.lognormvariate(-0.6, 0.7)
        finished = ReplyFinished(
            message_id=reply_id,
            status=status,
            text=text,
            model=self.model,
            finish_reason="stop" if status == "complete" else None,
            error="The model failed; try again." if status == "failed" else None,
            time_to_first_token=round(wait, 6) if text and status != "interrupted" else None,
            duration=round(wait + len(text) / 150, 6),
        )
        self._do(decisions.finish(self.conversation, finished), seconds=6)

    def _vote_early(self) -> None:
        """Rate a running reply with a thumb and at times a comment; it may end without text."""
        rng = self.rng
        change = RatingChange(rng.choice(("like", "dislike")), comment="A good start" if rng.random() < 0.3 else None)
        reply_id = self.conversation.writing_id or ""
        self._do(
            rate(self.conversation, change, message_id=reply_id, annotator_id=self.owner, reasons=REASONS),
            seconds=2,
        )

    def _vote(self, annotator: str) -> None:
        rng = self.rng
        reply = self.conversation.messages[self.conversation.head_id or ""]
        if not reply.text or rng.random() < 0.42:
            return
        decide = partial(rate, message_id=reply.message_id, annotator_id=annotator, reasons=REASONS)
        value: str | None = "like" if rng.random() < self.quality else "dislike"
        fitting = [code for code, polarity in REASONS.items() if polarity in (value, "any")]
        chosen = dict.fromkeys(rng.sample(fitting, rng.choice((0, 0, 1, 1, 2, 3))), True)
        comment = self._text(60) if rng.random() < 0.12 else None
        if comment and rng.random() < 0.2:
            value, chosen = None, {}
        self._do(decide(self.conversation, RatingChange(value, chosen, comment)), annotator, 8)
        if value and rng.random() < 0.08:
            other = rng.choice(("like", "dislike", ""))
            self._do(decide(self.conversation, RatingChange(other)), annotator, 400)


def event_row(event: Event) -> dict[str, Any]:
    """Return the event as a row of `events`, recorded when it happened."""
    return {
        "event_id": event.event_id,
        "conversation_id": event.conversation_id,
        "version": event.version,
        "kind": event.body.KIND,
        "schema_version": SCHEMA_VERSION,
        "message_id": getattr(event.body, "message_id", None),
        "actor_id": event.actor_id,
        "occurred_at": to_micros(event.occurred_at),
        "recorded_at": to_micros(event.occurred_at),
        "model": getattr(event.body, "model", None),
        "rating": getattr(event.body, "value", None),
        "payload": payload_text(event.body),
    }


def enrol(tx: Transaction, names: Mapping[str, str]) -> None:
    """Store the annotators."""
    tx.run_many(
        _INSERT_ANNOTATOR, [{"annotator_id": key, "name": name, "created_at": 0} for key, name in names.items()]
    )


def store(tx: Transaction, talks: Iterable[tuple[list[Event], Conversation]]) -> int:
    """Store conversations, log and projections, by plain inserts; return the number of events."""
    stored = 0
    for happened, talk in talks:
        tx.run_many(_INSERT_EVENT, map(event_row, happened))
        for table, rows in conversation.rows_of(talk).items():
            tx.run_many(_INSERTS[table], rows)
        stored += len(happened)
    return stored

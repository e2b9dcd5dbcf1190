"""Conversations for tests: each action of a user in one line, on the rules alone or on a real store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from chatfeedback.domain.conversation import decide as decisions
from chatfeedback.domain.conversation.decide import ThreadMessage
from chatfeedback.domain.conversation.events import UNKNOWN, Generation, Provenance, ReplyFinished
from chatfeedback.domain.conversation.evolve import evolve
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Event
from chatfeedback.domain.feedback.decide import RatingChange, rate
from chatfeedback.domain.types import FinalStatus, new_id
from chatfeedback.store.log.event_store import Command, Decision, EventStore


class People(NamedTuple):
    """Ids of three annotators."""

    ada: str
    bob: str
    cyd: str


REASONS = {"accurate": "like", "wrong": "dislike", "funny": "any"}
"""Code -> polarity."""


def plan(thread: Sequence[ThreadMessage], model: str = "zephyr") -> Generation:
    """Return the request to the model: always the same but for the messages."""
    return Generation(
        model=model,
        endpoint="https://models.example/v1",
        provider=None,
        temperature=0.95,
        top_p=0.9,
        max_tokens=512,
        seed=7,
        system_prompt="You are a friendly chatbot",
        sent_ids=tuple(message.message_id for message in thread),
        model_id=f"org/{model}-7b",
    )


PROVENANCE = Provenance(
    sent_temperature=0.95,
    sent_top_p=0.9,
    sent_max_tokens=512,
    reported_model="zephyr-7b-0613",
    system_fingerprint="fp_44709d6fcb",
    reported_provider="together",
)
"""Provenance of a reply of a server that takes no seed."""


def ending(reply_id: str, text: str, status: FinalStatus = "complete") -> ReplyFinished:
    """Return the end of a reply with figures that are not round."""
    return ReplyFinished(
        message_id=reply_id,
        status=status,
        text=text,
        model="zephyr",
        finish_reason="stop" if status == "complete" else None,
        error="The model failed." if status == "failed" else None,
        time_to_first_token=0.1 + 0.2,
        duration=1.7,
        completion_tokens=len(text.split()),
        provenance=UNKNOWN if status == "interrupted" else PROVENANCE,
    )


class Talk(ABC):
    """Conversation. Each method returns the id of what it made, or nothing."""

    @property
    @abstractmethod
    def conversation(self) -> Conversation:
        """Current state of the conversation."""

    @abstractmethod
    def do(self, decide: Decision, actor: str | None = None) -> tuple[Event, ...]:
        """Decide on events, and keep them."""

    def shown(self) -> list[str]:
        """Return the texts on the screen."""
        return [message.text for message in self.conversation.shown()]

    def send(self, text: str = "Hello", expected_version: int | None = None, viewed_id: str | None = None) -> str:
        ids = {"message_id": new_id(), "reply_id": new_id()}
        self.do(lambda c: decisions.send(c, text, plan, viewed_id=viewed_id, expected_version=expected_version, **ids))
        return ids["reply_id"]

    def finish(self, reply_id: str, text: str = "Hello yourself", status: FinalStatus = "complete") -> None:
        self.do(lambda c: decisions.finish(c, ending(reply_id, text, status)))

    def ask(self, text: str, answer: str) -> str:
        """Send a prompt and finish its reply; return the id of the reply."""
        reply_id = self.send(text)
        self.finish(reply_id, answer)
        return reply_id

    def retry(self, message_id: str, expected_version: int | None = None, viewed_id: str | None = None) -> str:
        ids = {"message_id": message_id, "reply_id": new_id()}
        self.do(lambda c: decisions.retry(c, plan, viewed_id=viewed_id, expected_version=expected_version, **ids))
        return ids["reply_id"]

    def undo(self, expected_version: int | None = None, viewed_id: str | None = None) -> None:
        self.do(lambda c: decisions.undo(c, viewed_id=viewed_id, expected_version=expected_version))

    def edit(
        self, message_id: str, text: str, expected_version: int | None = None, viewed_id: str | None = None
    ) -> tuple[str, str]:
        """Edit a message; return the ids of the new message and, for a prompt, of its reply."""
        edited_id, reply_id = new_id(), new_id()
        ids = {"message_id": message_id, "new_id": edited_id, "reply_id": reply_id}
        self.do(lambda c: decisions.edit(c, text, plan, viewed_id=viewed_id, expected_version=expected_version, **ids))
        return edited_id, reply_id

    def choose(self, message_id: str, expected_version: int | None = None) -> None:
        self.do(lambda c: decisions.choose(c, message_id=message_id, expected_version=expected_version))

    def clear(self) -> None:
        self.do(decisions.clear)

    def rate(
        self, message_id: str, annotator_id: str, change: RatingChange, restorable_reasons: Collection[str] = ()
    ) -> tuple[Event, ...]:
        ids = {"message_id": message_id, "annotator_id": annotator_id}
        return self.do(
            lambda c: rate(c, change, reasons=REASONS, restorable_reasons=restorable_reasons, **ids), annotator_id
        )


class FoldedTalk(Talk):
    """Conversation on the rules alone: events are folded, a second apart."""

    def __init__(self, actor: str = "ada") -> None:
        self.events: list[Event] = []
        self._actor = actor
        self._conversation = Conversation(new_id())
        self._clock = datetime(2026, 1, 1, tzinfo=UTC)

    @property
    def conversation(self) -> Conversation:
        return self._conversation

    def do(self, decide: Decision, actor: str | None = None) -> tuple[Event, ...]:
        before = self._conversation
        self._clock += timedelta(seconds=1)
        new = tuple(
            Event(new_id(), before.conversation_id, version, actor or self._actor, self._clock, body)
            for version, body in enumerate(decide(before), before.version + 1)
        )
        self._conversation, _ = evolve(before, new)
        self.events += new
        return new


class StoredTalk(Talk):
    """Conversation on a real store: every step is committed before it returns."""

    def __init__(self, store: EventStore, actor: str, conversation_id: str | None = None) -> None:
        self.store = store
        self.actor = actor
        self.conversation_id = conversation_id or new_id()

    @property
    def conversation(self) -> Conversation:
        return self.store.conversation(self.conversation_id) or Conversation(self.conversation_id)

    def do(self, decide: Decision, actor: str | None = None) -> tuple[Event, ...]:
        command = Command(self.conversation_id, actor or self.actor, decide)
        return self.store.execute(command).result(timeout=60).events

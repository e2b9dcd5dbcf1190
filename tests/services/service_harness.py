"""Harness: a chat service with a real store and real clients, and a scripted model."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import TypeVar

import pytest

from chatfeedback.domain.conversation.events import ReplyFinished
from chatfeedback.domain.conversation.state import Conversation, Message
from chatfeedback.domain.events import Body
from chatfeedback.domain.types import new_id
from chatfeedback.generation import checkpoints, manager, recovery
from chatfeedback.generation.running_reply import Progress
from chatfeedback.inference.chat_model import ChatModel
from chatfeedback.inference.client import Endpoint, ModelClient, Sampling
from chatfeedback.services.chat import ChatService
from chatfeedback.store.accounts import annotators
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log.event_store import EventStore, now
from chatfeedback.store.opening import open_event_store
from conversation_builder import REASONS, People
from openai_server import Script, delta

T = TypeVar("T")
PATIENCE_SECONDS = 30
LINGER_SECONDS = 60
MAX_MESSAGE_CHARS = 200
MAX_COMMENT_CHARS = 100
SAMPLING = Sampling(temperature=0.95, top_p=0.9, max_tokens=16)
SYSTEM_PROMPT = "You are a friendly chatbot"


async def until(condition: Callable[[], T | Awaitable[T]]) -> T:
    """Return the result of `condition` as soon as it is truthy."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        result = condition()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return result
        await asyncio.sleep(0.005)
    raise AssertionError("what was waited for did not happen")


def advance_watch_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Advance the clock by which a process measures the absence of its own watchers."""
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + seconds))


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Advance the clocks of all code that writes and watches replies."""
    advance_watch_clock(monkeypatch, seconds)
    for module in (checkpoints, recovery, manager):
        monkeypatch.setattr(module, "now", lambda: now() + timedelta(seconds=seconds))


async def held(script: Script) -> None:
    """Wait until the model has sent all that comes before its next hold."""
    assert await asyncio.to_thread(script.reached.wait, PATIENCE_SECONDS)
    script.reached.clear()


def escaped(content: str, finish_reason: object = None) -> str:
    """Return a chunk as ASCII-only JSON, as most servers send it: it can hold half of a surrogate pair."""
    return json.dumps(delta(content, finish_reason))  # type: ignore[arg-type]


@dataclass
class Room:
    """Running service, its store, and the people; `ada` sends all prompts unless said otherwise."""

    service: ChatService
    store: EventStore
    models: dict[str, ChatModel]
    people: People

    @property
    def ada(self) -> str:
        return self.people.ada

    # Commands

    async def send(self, text: str = "Hello", to: Conversation | None = None, model: str | None = None) -> Conversation:
        return await self.service.send(
            self.ada, to.conversation_id if to else None, text, model=model, expected_version=None
        )

    async def ask(self, text: str = "Hello", to: Conversation | None = None) -> Conversation:
        """Send a prompt and wait for its reply."""
        return await self.ended(await self.send(text, to))

    async def retry(self, conversation: Conversation, message_id: str | None = None) -> Conversation:
        target_id = message_id or conversation.head_id
        assert target_id is not None
        return await self.service.retry(self.ada, conversation.conversation_id, target_id, expected_version=None)

    async def stop(self, conversation: Conversation) -> Conversation:
        return await self.service.stop(self.ada, conversation.conversation_id)

    async def rate(self, conversation: Conversation, message_id: str, **change: object) -> Conversation:
        return await self.service.feedback.rate(self.ada, conversation.conversation_id, message_id, **change)  # type: ignore[arg-type]

    async def takes_over(self, conversation: Conversation) -> None:
        """Run recovery until this or another process has ended the reply of the conversation."""

        async def is_ended() -> bool:
            await self.service.start()
            return "reply_finished" in self.kinds(conversation)

        await until(is_ended)

    async def ended(self, conversation: Conversation) -> Conversation:
        """Watch the reply to its end, and return the conversation."""
        after = (await self.watched(conversation))[-1].conversation
        assert after is not None
        return after

    async def watched(self, conversation: Conversation) -> list[Progress]:
        """Return all progress that a watcher of the reply receives."""
        assert conversation.writing_id is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            return [
                progress async for progress in self.service.watch(conversation.conversation_id, conversation.writing_id)
            ]

    async def shows(self, conversation: Conversation, text: str) -> None:
        """Watch until the reply begins with this text."""
        assert conversation.writing_id is not None
        watching = self.service.watch(conversation.conversation_id, conversation.writing_id)
        async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(watching) as updates:
            async for progress in updates:
                if progress.text.startswith(text):
                    return
        raise AssertionError(f"the reply ended without {text!r}")

    # Queries

    async def now(self, conversation: Conversation) -> Conversation:
        """Return the conversation as it is stored."""
        return await self.service.conversation(self.ada, conversation.conversation_id)

    def log(self, conversation: Conversation) -> list[Body]:
        """Return the event bodies of the conversation, oldest first."""
        return [event.body for event in self.store.events_of(conversation.conversation_id)]

    def kinds(self, conversation: Conversation) -> list[str]:
        return [body.KIND for body in self.log(conversation)]

    def finished(self, conversation: Conversation) -> ReplyFinished:
        """Return the only `ReplyFinished` of the log."""
        (end,) = (body for body in self.log(conversation) if isinstance(body, ReplyFinished))
        return end

    def draft(self, conversation: Conversation) -> reply_leases.Draft | None:
        """Return the stored draft of the running reply."""
        assert conversation.writing_id is not None
        with self.store.reading() as tx:
            return reply_leases.find(tx, conversation.writing_id)

    async def draft_says(self, conversation: Conversation, text: str) -> None:
        """Wait until the stored draft has exactly this text."""

        def stored() -> bool:
            draft = self.draft(conversation)
            return draft is not None and draft.text == text

        await until(stored)


def last(conversation: Conversation) -> Message:
    """Return the last message that is shown."""
    return conversation.shown()[-1]


def texts(conversation: Conversation) -> list[str]:
    """Return the texts of all messages that are shown."""
    return [message.text for message in conversation.shown()]


def new_people(database_url: str) -> People:
    """Create three annotators without conversations."""
    engine = open_engine(database_url)
    try:
        return People(*(annotators.ensure(engine, f"{name} {new_id()}") for name in People._fields))
    finally:
        engine.dispose()


@contextlib.asynccontextmanager
async def open_room(
    database_url: str,
    people: People,
    endpoints: Sequence[Endpoint],
    *,
    window: int | None = None,
) -> AsyncIterator[Room]:
    """Open a service with a model for each endpoint; the first is the default."""
    engine = open_engine(database_url)
    store = open_event_store(engine)
    clients = [ModelClient(endpoint) for endpoint in endpoints]
    models = {client.endpoint.model: _model(client, window) for client in clients}
    service = ChatService(
        store,
        models,
        REASONS,
        max_message_chars=MAX_MESSAGE_CHARS,
        max_comment_chars=MAX_COMMENT_CHARS,
        linger_seconds=LINGER_SECONDS,
    )
    try:
        yield Room(service, store, models, people)
    finally:
        await service.close()
        for client in clients:
            await client.aclose()
        await asyncio.to_thread(store.close)
        engine.dispose()


def _model(client: ModelClient, window: int | None) -> ChatModel:
    async def connect() -> ModelClient:
        return client

    return ChatModel(
        name=client.endpoint.model,
        model=client.endpoint.model,
        endpoint=client.endpoint.public_name,
        provider=client.endpoint.provider,
        sampling=SAMPLING,
        system_prompt=SYSTEM_PROMPT,
        window=lambda: window,
        connect=connect,
    )

"""Replies while they are written.

Each reply is a task of this process, keyed by the id of its message; pages only subscribe to it. So a reload
re-attaches, a stalled connection holds nothing, Stop works from any tab, and a closed tab can be told from a Stop.
The text so far is stored about once a second together with a lease. However a reply ends, the end is appended to
the log with all the text that came and a true status, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from chatfeedback.domain import decisions
from chatfeedback.domain.conversation import Conversation, Message
from chatfeedback.domain.decisions import ThreadMessage
from chatfeedback.domain.events import FinalStatus, ReplyFinished
from chatfeedback.errors import ChatFeedbackError, ContextExceeded, ModelError, StoreError
from chatfeedback.inference.client import Delta, Finish
from chatfeedback.models import ChatModel
from chatfeedback.store import drafts
from chatfeedback.store.event_store import Command, EventStore, now
from chatfeedback.store.sql import Transaction

log = logging.getLogger(__name__)

T = TypeVar("T")
CHECKPOINT_SECONDS = 1.0
SCREEN_SECONDS = 0.22
"""Between two updates of the screen: four to five a second, however fast the model is."""
POLL_SECONDS = 0.5
STORE_RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


async def committed(future: Future[T]) -> T:
    """Waits for the store; whoever stops waiting does not stop what was asked for."""
    return await asyncio.shield(asyncio.wrap_future(future))


@dataclass(frozen=True, slots=True)
class Progress:
    """What a watcher sees of a reply. `conversation` is set once, at the end: where it stands then."""

    text: str
    conversation: Conversation | None = None
    notice: str | None = None
    """A sentence about trouble that does not end the reply."""


@dataclass(slots=True)
class RunningReply:
    """A reply that this process writes."""

    conversation_id: str
    actor_id: str
    reply: Message
    thread: Sequence[ThreadMessage]
    model: ChatModel
    fresh: bool
    parts: list[str] = field(default_factory=list)
    finish: Finish | None = None
    sent_ids: tuple[str, ...] | None = None
    started: float = field(default_factory=time.monotonic)
    first_token: float | None = None
    watchers: int = 0
    unwatched_since: float = field(default_factory=time.monotonic)
    status: FinalStatus = "complete"
    error: str | None = None
    notice: str | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    conversation: Conversation | None = None
    """Set when the end is stored; None afterwards means that the store stayed out of reach."""

    @property
    def text(self) -> str:
        if len(self.parts) > 1:
            self.parts[:] = ["".join(self.parts)]
        return self.parts[0] if self.parts else ""


class ReplyDesk:
    """Writes replies, and lets pages watch and stop them. Lives in one event loop."""

    def __init__(self, store: EventStore, linger_seconds: float) -> None:
        self._store = store
        self._linger = linger_seconds
        self._running: dict[str, RunningReply] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    # Doors

    def begin(
        self,
        conversation: Conversation,
        thread: Sequence[ThreadMessage],
        model: ChatModel,
        *,
        actor_id: str,
        fresh: bool,
    ) -> None:
        """Starts to write the reply that `conversation` is waiting for. `thread`: all that may be sent."""
        assert conversation.writing_id is not None
        reply = conversation.messages[conversation.writing_id]
        running = RunningReply(conversation.conversation_id, actor_id, reply, thread, model, fresh)
        self._running[reply.message_id] = running
        self._tasks[reply.message_id] = asyncio.create_task(self._write(running), name=f"reply {reply.message_id}")

    async def stop(self, message_id: str) -> None:
        """Asks whoever writes this reply to stop; returns when a local one has ended."""
        running = self._running.get(message_id)
        if running is None:
            await committed(self._store.writer.submit(lambda tx: drafts.ask_to_stop(tx, message_id)))
            return
        running.stop.set()
        await asyncio.wait([self._tasks[message_id]])

    async def watch(self, conversation_id: str, message_id: str) -> AsyncGenerator[Progress, None]:
        """The text so far, again whenever it has grown, and at last the conversation with the ended reply.

        Raises StoreUnavailable when a reply that another process writes cannot be followed.
        """
        running = self._running.get(message_id)
        follow = self._follow(running) if running else self._poll(conversation_id, message_id)
        async with contextlib.aclosing(follow) as progress:
            async for seen in progress:
                yield seen

    async def sweep(self) -> int:
        """Ends the replies whose owner died; returns how many. Raises StoreError."""

        def find() -> list[drafts.Draft]:
            with self._store.reading() as tx:
                return drafts.expired(tx, now())

        dead = await asyncio.to_thread(find)
        for draft in dead:
            await self._interrupt(draft.message_id)
        return len(dead)

    async def sweep_on(self) -> None:
        """Sweeps once in the length of a lease until it is cancelled, so that no reply waits for a reader to end."""
        while True:
            await asyncio.sleep(drafts.LEASE.total_seconds())
            try:
                await self.sweep()
            except StoreError as error:
                log.warning("replies that a dead process left behind could not be looked for: %s", error)

    async def close(self) -> None:
        """Ends what is being written as interrupted, with the text so far."""
        self._closing = True
        for running in list(self._running.values()):
            running.stop.set()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    # Watching

    async def _follow(self, running: RunningReply) -> AsyncGenerator[Progress, None]:
        running.watchers += 1
        shown: tuple[str, str | None] | None = None
        try:
            while not running.over:
                running.changed.clear()
                if (running.text, running.notice) != shown:
                    shown = (running.text, running.notice)
                    yield Progress(running.text, notice=running.notice)
                    await asyncio.sleep(SCREEN_SECONDS)
                if not running.over:
                    await running.changed.wait()
            yield Progress(running.text, running.conversation, running.notice)
        finally:
            running.watchers -= 1
            running.unwatched_since = time.monotonic()
            running.changed.set()

    async def _poll(self, conversation_id: str, message_id: str) -> AsyncGenerator[Progress, None]:
        """Follows a reply that another process writes, or wrote until it died."""
        shown: str | None = None
        while True:
            draft = await committed(self._store.writer.submit(lambda tx: _watched(tx, message_id)))
            if draft is None or draft.lease_until < now():
                await self._interrupt(message_id)
                conversation = await asyncio.to_thread(self._store.conversation, conversation_id)
                assert conversation is not None
                if conversation.messages[message_id].status != "writing":
                    yield Progress(conversation.messages[message_id].text, conversation)
                    return
            elif draft.text != shown:
                shown = draft.text
                yield Progress(draft.text)
            await asyncio.sleep(POLL_SECONDS)

    async def _interrupt(self, message_id: str) -> None:
        """Ends a reply whose owner died, unless somebody was quicker or it is alive."""
        owner = self._store.owner
        draft = await committed(self._store.writer.submit(lambda tx: drafts.claim(tx, message_id, owner, now())))
        if draft is None:
            return
        conversation = await asyncio.to_thread(self._store.conversation, draft.conversation_id)
        assert conversation is not None
        reply = conversation.messages[message_id]
        ended = ReplyFinished(message_id=message_id, status="interrupted", text=draft.text, model=reply.model or "")
        await committed(
            self._store.execute(
                Command(draft.conversation_id, conversation.annotator_id, lambda c: decisions.finish(c, ended))
            )
        )

    # Writing

    async def _write(self, running: RunningReply) -> None:
        message_id = running.reply.message_id
        producer = asyncio.create_task(self._produce(running), name=f"stream {message_id}")
        stop = asyncio.create_task(running.stop.wait())
        try:
            while not (await asyncio.wait({producer, stop}, timeout=CHECKPOINT_SECONDS, return_when="FIRST_COMPLETED"))[
                0
            ]:
                if not await self._checkpoint(running):
                    break
            if stop.done() and not producer.done():
                running.status = "interrupted" if self._closing else "stopped"
        except Exception:
            log.exception("reply %s lost its supervision", message_id)
            running.status = "interrupted"
        for task in (producer, stop):
            task.cancel()
        await asyncio.wait({producer, stop})
        await self._end(running)
        del self._running[message_id], self._tasks[message_id]

    async def _produce(self, running: RunningReply) -> None:
        """Reads the model's stream to its end; a fault becomes the status and the sentence of the reply."""
        try:
            while True:
                try:
                    await self._read_stream(running)
                    return
                except ContextExceeded:
                    shorter = None if running.parts else running.model.shrink(running.thread)
                    if shorter is None:
                        raise
                    running.thread = shorter
                    running.sent_ids = tuple(message.message_id for message in shorter)
        except ModelError as error:
            running.status, running.error = "failed", str(error)
        except Exception:
            log.exception("reply %s failed", running.reply.message_id)
            running.status, running.error = "failed", "Something went wrong while the reply was written; try Retry."

    async def _read_stream(self, running: RunningReply) -> None:
        generation = running.reply.generation
        assert generation is not None
        stream = running.model.stream(running.thread, seed=generation.seed, fresh=running.fresh)
        async with contextlib.aclosing(stream):
            async for piece in stream:
                if isinstance(piece, Delta):
                    if running.first_token is None:
                        running.first_token = time.monotonic()
                    running.parts.append(piece.text)
                    running.changed.set()
                else:
                    running.finish = piece

    async def _checkpoint(self, running: RunningReply) -> bool:
        """Stores the text so far; False when the reply has to end."""
        message_id, owner, text = running.reply.message_id, self._store.owner, decisions.storable(running.text)[0]
        try:
            wishes = await committed(
                self._store.writer.submit(lambda tx: drafts.save(tx, message_id, owner, text, now()))
            )
        except StoreError as error:
            running.notice = str(error)
            running.changed.set()
            return True
        running.notice = None
        if wishes is None:
            running.status = "interrupted"
            return False
        if wishes.stop_requested:
            running.status = "stopped"
            return False
        elsewhere = now() - wishes.watched_at < timedelta(seconds=self._linger)
        if running.watchers == 0 and not elsewhere and time.monotonic() - running.unwatched_since > self._linger:
            running.status = "left"
            return False
        return True

    async def _end(self, running: RunningReply) -> None:
        """Appends the end; while the store is down, tries again for a minute, then leaves it to the next reader."""
        ended = _ended(running)
        command = Command(running.conversation_id, running.actor_id, lambda c: decisions.finish(c, ended))
        for pause in (*STORE_RETRY_SECONDS, None):
            try:
                running.conversation = (await committed(self._store.execute(command))).conversation
                break
            except ChatFeedbackError as error:
                log.warning("the end of reply %s is not stored yet: %s", ended.message_id, error)
                running.notice = str(error)
                running.changed.set()
                if pause is None or self._closing:
                    break
                await asyncio.sleep(pause)
        running.over = True
        running.changed.set()


def _ended(running: RunningReply) -> ReplyFinished:
    text, altered = decisions.storable(running.text)
    finish = running.finish
    first, duration = running.first_token, time.monotonic() - running.started
    error = running.error
    if not text.strip():
        text = ""
        if running.status == "complete":
            running.status, error = "failed", "The model sent an empty reply; try Retry."
    assert running.reply.generation is not None
    return ReplyFinished(
        message_id=running.reply.message_id,
        status=running.status,
        text=text,
        model=running.reply.generation.model,
        altered=altered,
        finish_reason=finish.finish_reason if finish else None,
        error=error,
        time_to_first_token=round(first - running.started, 6) if first is not None else None,
        duration=round(duration, 6),
        prompt_tokens=finish.prompt_tokens if finish else None,
        completion_tokens=finish.completion_tokens if finish else None,
        sent_ids=running.sent_ids,
    )


def _watched(tx: Transaction, message_id: str) -> drafts.Draft | None:
    drafts.note_watched(tx, message_id, now())
    return drafts.find(tx, message_id)

"""Generation manager: run, watch and stop replies.

Each reply is a task of this process, keyed by its message id; pages only subscribe to it. So a reload re-attaches, a
stalled connection holds nothing, Stop works from any tab, and a closed tab differs from a Stop. The text is
checkpointed about once a second under a lease (`checkpoints`). However a reply ends, one event with all its text and
a true status is appended to the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from itertools import chain, repeat
from typing import Any

from chatfeedback.domain.conversation import decide
from chatfeedback.domain.conversation.decide import ThreadMessage
from chatfeedback.domain.conversation.events import ReplyFinished
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.types import FinalStatus
from chatfeedback.errors import NO_CONVERSATION, ChatFeedbackError, ModelError, NotFound, StoreError, StoreUnavailable
from chatfeedback.generation.checkpoints import Checkpointer
from chatfeedback.generation.recovery import OrphanRecovery
from chatfeedback.generation.running_reply import NOT_READ_YET, NOT_STORED_YET, Progress, RunningReply
from chatfeedback.generation.shielded import await_commit, log_store_error
from chatfeedback.generation.throttle import UpdateThrottle
from chatfeedback.inference.chat_model import ChatModel
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database.clock import now
from chatfeedback.store.log.event_store import Command, EventStore
from chatfeedback.store.log.statements import Transaction

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
VERSION_TTL_SECONDS = 2.5
"""Time that a conversation version, read with a checkpoint, counts as current."""
STORE_RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""Backoff between attempts to store the end of a reply; the last delay repeats."""


class GenerationManager:
    """Runner of replies, which pages can watch and stop; bound to one event loop."""

    def __init__(self, store: EventStore, linger_seconds: float) -> None:
        self._store = store
        self._running: dict[str, RunningReply] = {}
        self._checkpointer = Checkpointer(store, self._running, linger_seconds)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing = asyncio.Event()
        self._throttle = UpdateThrottle()
        self.orphans = OrphanRecovery(store, self._running)

    # Public interface

    def running_count(self, actor_id: str) -> int:
        """Return the number of replies that this process writes for an actor."""
        return sum(running.actor_id == actor_id for running in self._running.values())

    def stored_version(self, message_id: str) -> int | None:
        """Return the version of the reply's conversation at the last checkpoint, a second or two ago at most.

        None if there is none so recent, or if another process writes the reply; 0 before the first checkpoint.
        """
        running = self._running.get(message_id)
        if running is None or time.monotonic() - running.stored_version_at > VERSION_TTL_SECONDS:
            return None
        return running.stored_version

    @property
    def tasks(self) -> Sequence[asyncio.Task[None]]:
        """The tasks of the running replies; each is done when the end of its reply is stored."""
        return tuple(self._tasks.values())

    def start_reply(
        self,
        conversation: Conversation,
        thread: Sequence[ThreadMessage],
        model: ChatModel,
        *,
        actor_id: str,
        fresh: bool,
    ) -> None:
        """Start to generate the reply that `conversation` is waiting for.

        Args:
            conversation: The state just after the reply was begun.
            thread: All messages that may be sent, oldest first.
            model: The model to ask.
            actor_id: The person for whom the reply is generated.
            fresh: Bypass caches of whole replies.
        """
        assert conversation.writing_id is not None  # noqa: S101 - the caller has just begun a reply
        reply = conversation.messages[conversation.writing_id]
        running = RunningReply(conversation.conversation_id, actor_id, reply, thread, model, fresh)
        if self._closing.is_set():
            running.request_end("interrupted")
        self._running[reply.message_id] = running
        self._checkpointer.start()
        self._tasks[reply.message_id] = asyncio.create_task(self._write(running), name=f"reply {reply.message_id}")

    async def stop(self, message_id: str) -> None:
        """Stop a reply in whichever process writes it; return when the end of a local one is stored.

        Raises StoreError if the store is down: the reply stops, and its end is stored as soon as the store is back.
        """
        running = self._running.get(message_id)
        if running is None:
            await await_commit(self._store.submit(lambda tx: reply_leases.ask_to_stop(tx, message_id)))
            return
        previous_error = running.store_error
        running.request_end("stopped")
        while not running.finished.done():
            if running.store_error is not None and running.store_error is not previous_error:
                raise StoreUnavailable(NOT_STORED_YET) from running.store_error
            await running.changed.wait()

    async def watch(self, conversation_id: str, message_id: str) -> AsyncGenerator[Progress, None]:
        """Yield the text so far whenever it has grown, and at last the conversation with the finished reply.

        Raises NotFound and StoreError; a transient store error is a notice instead.
        """
        running = self._running.get(message_id)
        stream = self._follow(running) if running else self._poll(conversation_id, message_id)
        async with contextlib.aclosing(stream) as updates:
            async for progress in updates:
                yield progress

    async def close(self) -> None:
        """Shut down: end all running replies as interrupted, with the text so far."""
        self._closing.set()
        for running in self._running.values():
            running.request_end("interrupted")
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        self._checkpointer.close()

    # Watching

    async def _follow(self, running: RunningReply) -> AsyncGenerator[Progress, None]:
        running.watchers += 1
        previous: Progress | None = None
        try:
            while not running.finished.done():
                changed = running.changed
                if (progress := running.progress) != previous:
                    previous, begun = progress, time.monotonic()
                    yield progress
                    if progress.text:  # the update before the first word is not throttled
                        await self._throttle.pause(running.finished, time.monotonic() - begun)
                if not running.finished.done():
                    await changed.wait()
            if running.erased:
                raise NotFound(NO_CONVERSATION)
            yield running.progress
        finally:
            running.watchers -= 1
            running.unwatched_since = time.monotonic()

    async def _poll(self, conversation_id: str, message_id: str) -> AsyncGenerator[Progress, None]:
        """Poll a reply that another process writes, or wrote until it died."""
        previous: Progress | None = None
        while True:
            progress = await self._poll_once(conversation_id, message_id, previous)
            if progress != previous:
                previous = progress
                yield progress
            if progress.conversation is not None:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _poll_once(self, conversation_id: str, message_id: str, previous: Progress | None) -> Progress:
        """Poll once; `previous` is the progress that was yielded last."""
        try:
            poll = functools.partial(_mark_watched, message_id=message_id, watched_at=now())
            draft = await await_commit(self._store.submit(poll))
            if draft is not None and (draft.lease_until >= now() or not self.orphans.is_orphaned(draft)):
                return Progress(draft.text)
            if draft is not None:
                await self.orphans.end(draft)
            conversation = await asyncio.to_thread(self._store.conversation, conversation_id)
            if conversation is None:
                raise NotFound(NO_CONVERSATION)
            reply = decide.message_of(conversation, message_id)
            if reply.status != "writing":
                return Progress(reply.text, conversation)
            if draft is None:  # the log was restored, as from a dump, which has no drafts (leases)
                await self.orphans.interrupt(conversation, message_id, "")
            return previous or Progress(reply.text)
        except StoreUnavailable:
            self.orphans.reset()
            return Progress(previous.text if previous else "", notice=NOT_READ_YET)

    # Writing

    async def _write(self, running: RunningReply) -> None:
        message_id = running.reply.message_id
        producer = asyncio.create_task(running.read(), name=f"stream {message_id}")
        error: ModelError | None = None
        try:
            # The first one wins: the end of the model's stream, or a requested end (Stop, shutdown, lost lease).
            first_done: list[asyncio.Future[Any]] = [producer, running.final_status]
            await asyncio.wait(first_done, return_when="FIRST_COMPLETED")
            if producer.done():
                error = producer.result()
                status: FinalStatus = "failed" if error else "complete"
                running.request_end(status)
            else:
                status = running.final_status.result()
            producer.cancel()
            await asyncio.wait([producer])
            if error is not None:  # log only the type: the sentence may quote the conversation
                log_args = (message_id, running.conversation_id, running.model.name, type(error).__name__)
                log.warning("reply %s of conversation %s by the model %r failed: %s", *log_args)
            await self._store_end(running, running.to_event(status, error))
        finally:
            del self._running[message_id], self._tasks[message_id]
            running.finished.set_result(None)
            running.notify()

    async def _store_end(self, running: RunningReply, event: ReplyFinished) -> None:
        """Append the end of the reply; retry with backoff until the store is back or this process shuts down.

        Nothing is stored of a conversation that was erased meanwhile.
        """
        command = Command(running.conversation_id, running.actor_id, lambda c: decide.finish(c, event))
        for delay in chain(STORE_RETRY_SECONDS, repeat(STORE_RETRY_SECONDS[-1])):
            closing = self._closing.is_set()
            try:
                running.conversation = (await await_commit(self._store.execute(command))).conversation
                running.store_error = None
                return
            except NotFound:
                running.store_error, running.erased = None, True
                return
            except ChatFeedbackError as error:
                log_store_error(f"the end of reply {event.message_id} is not stored yet", error)
                running.set_store_error(error)
            except Exception:  # whatever it is, the text is kept until it can be stored
                log.exception("the end of reply %s is not stored yet", event.message_id)
                running.set_store_error(StoreError("The database cannot store this reply yet."))
            if closing:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), delay)


def _mark_watched(tx: Transaction, message_id: str, watched_at: datetime) -> reply_leases.Draft | None:
    reply_leases.note_watched(tx, message_id, watched_at)
    return reply_leases.find(tx, message_id)

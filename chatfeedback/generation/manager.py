"""Replies while they are written.

Each reply is a task of this process, keyed by the id of its message; pages only subscribe to it. So a reload
re-attaches, a stalled connection holds nothing, Stop works from any tab, and a closed tab can be told from a Stop.
The text so far is stored about once a second together with a lease (`keeping`). However a reply ends, the end is
appended to the log with all the text that came and a true status, once.
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
from chatfeedback.errors import ChatFeedbackError, ModelError, NotFound, StoreUnavailable
from chatfeedback.generation.checkpoints import Checkpointer
from chatfeedback.generation.recovery import OrphanRecovery
from chatfeedback.generation.running_reply import NOT_READ_YET, NOT_STORED_YET, Progress, RunningReply
from chatfeedback.generation.shielded import await_commit, log_store_error
from chatfeedback.generation.throttle import UpdateThrottle
from chatfeedback.inference.chat_model import ChatModel
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database.clock import now
from chatfeedback.store.log.event_store import NO_CONVERSATION, Command, EventStore
from chatfeedback.store.log.statements import Transaction

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
HEARD_SECONDS = 2.5
"""For so long what was heard of a conversation counts."""
STORE_RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""Between attempts to store the end of a reply; the last one again and again."""


class GenerationManager:
    """Writes replies, and lets pages watch and stop them. Lives in one event loop."""

    def __init__(self, store: EventStore, linger_seconds: float) -> None:
        self._store = store
        self._running: dict[str, RunningReply] = {}
        self._keeper = Checkpointer(store, self._running, linger_seconds)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing = asyncio.Event()
        self._pace = UpdateThrottle()
        self.orphans = OrphanRecovery(store, self._running)

    # Doors

    def written_for(self, actor_id: str) -> int:
        """How many replies this process writes for somebody."""
        return sum(running.actor_id == actor_id for running in self._running.values())

    def stored_version(self, message_id: str) -> int | None:
        """At which version its conversation was when this process heard of it, a second or two ago at most.

        None when it has not, as when another process writes the reply; 0 when the reply has only begun.
        """
        running = self._running.get(message_id)
        if running is None or time.monotonic() - running.heard > HEARD_SECONDS:
            return None
        return running.stored_version

    @property
    def tasks(self) -> Sequence[asyncio.Task[None]]:
        """One for each reply that this process writes; it is done when the end is stored."""
        return tuple(self._tasks.values())

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
        assert conversation.writing_id is not None  # noqa: S101 - the caller has just begun a reply
        reply = conversation.messages[conversation.writing_id]
        running = RunningReply(conversation.conversation_id, actor_id, reply, thread, model, fresh)
        if self._closing.is_set():
            running.ask_to_end("interrupted")
        self._running[reply.message_id] = running
        self._keeper.begin()
        self._tasks[reply.message_id] = asyncio.create_task(self._write(running), name=f"reply {reply.message_id}")

    async def stop(self, message_id: str) -> None:
        """Asks whoever writes this reply to stop; returns when the end of a local one is stored.

        Raises StoreError when that has to wait: the reply stops, and is stored as soon as the store is back.
        """
        running = self._running.get(message_id)
        if running is None:
            await await_commit(self._store.submit(lambda tx: reply_leases.ask_to_stop(tx, message_id)))
            return
        before = running.trouble
        running.ask_to_end("stopped")
        while not running.over.done():
            if running.trouble is not None and running.trouble is not before:
                raise StoreUnavailable(NOT_STORED_YET) from running.trouble
            await running.news.wait()

    async def watch(self, conversation_id: str, message_id: str) -> AsyncGenerator[Progress, None]:
        """The text so far, again whenever it has grown, and at last the conversation with the ended reply.

        Raises NotFound; StoreError, but for trouble that passes, which is a notice.
        """
        running = self._running.get(message_id)
        follow = self._follow(running) if running else self._poll(conversation_id, message_id)
        async with contextlib.aclosing(follow) as progress:
            async for seen in progress:
                yield seen

    async def close(self) -> None:
        """Ends what is being written as interrupted, with the text so far."""
        self._closing.set()
        for running in self._running.values():
            running.ask_to_end("interrupted")
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        self._keeper.close()

    # Watching

    async def _follow(self, running: RunningReply) -> AsyncGenerator[Progress, None]:
        running.watchers += 1
        shown: Progress | None = None
        try:
            while not running.over.done():
                news = running.news
                if (seen := running.progress) != shown:
                    shown = seen
                    yield seen
                    if seen.text:  # the first word does not wait for its turn
                        await self._pace.pause(running.over)
                if not running.over.done():
                    await news.wait()
            if running.erased:
                raise NotFound(NO_CONVERSATION)
            yield running.progress
        finally:
            running.watchers -= 1
            running.unwatched_since = time.monotonic()

    async def _poll(self, conversation_id: str, message_id: str) -> AsyncGenerator[Progress, None]:
        """Follows a reply that another process writes, or wrote until it died."""
        shown: Progress | None = None
        while True:
            seen = await self._looked_at(conversation_id, message_id, shown)
            if seen != shown:
                shown = seen
                yield seen
            if seen.conversation is not None:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _looked_at(self, conversation_id: str, message_id: str, shown: Progress | None) -> Progress:
        """One look at it; `shown` was seen before."""
        try:
            look = functools.partial(_watched, message_id=message_id, at=now())
            draft = await await_commit(self._store.submit(look))
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
            if draft is None:  # the log came from elsewhere, a dump for one, and drafts are not part of it
                await self.orphans.interrupt(conversation, message_id, "")
            return shown or Progress(reply.text)
        except StoreUnavailable:
            self.orphans.forget()
            return Progress(shown.text if shown else "", notice=NOT_READ_YET)

    # Writing

    async def _write(self, running: RunningReply) -> None:
        message_id = running.reply.message_id
        producer = asyncio.create_task(running.read(), name=f"stream {message_id}")
        error: ModelError | None = None
        try:
            # Who was quicker: the model, the person, or what became of the draft.
            contest: list[asyncio.Future[Any]] = [producer, running.ending]
            await asyncio.wait(contest, return_when="FIRST_COMPLETED")
            if producer.done():
                error = producer.result()
                status: FinalStatus = "failed" if error else "complete"
                running.ask_to_end(status)
            else:
                status = running.ending.result()
            producer.cancel()
            await asyncio.wait([producer])
            if error is not None:  # its sentence may quote what was said
                told = (message_id, running.conversation_id, running.model.name, type(error).__name__)
                log.warning("reply %s of conversation %s by the model %r failed: %s", *told)
            await self._end(running, running.ended(status, error))
        finally:
            del self._running[message_id], self._tasks[message_id]
            running.over.set_result(None)
            running.announce()

    async def _end(self, running: RunningReply, ended: ReplyFinished) -> None:
        """Appends the end; while the store is down, tries again until it is back or this process has to end.

        Of a conversation that was erased meanwhile nothing is stored.
        """
        command = Command(running.conversation_id, running.actor_id, lambda c: decide.finish(c, ended))
        for pause in chain(STORE_RETRY_SECONDS, repeat(STORE_RETRY_SECONDS[-1])):
            closing = self._closing.is_set()
            try:
                running.conversation = (await await_commit(self._store.execute(command))).conversation
                running.trouble = None
                return
            except NotFound:
                running.trouble, running.erased = None, True
                return
            except ChatFeedbackError as error:
                log_store_error(f"the end of reply {ended.message_id} is not stored yet", error)
                running.note(error)
            if closing:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause)


def _watched(tx: Transaction, message_id: str, at: datetime) -> reply_leases.Draft | None:
    reply_leases.note_watched(tx, message_id, at)
    return reply_leases.find(tx, message_id)

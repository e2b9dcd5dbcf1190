"""The text so far of all replies that this process writes, stored together about once a second.

One transaction for all of them: many replies cost little more than one. With the text goes the lease that says that
this process is alive; back comes what others ask of it, and how far they have taken the conversations meanwhile. What
cannot be stored now is stored a second later, and whoever watches is told.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

from chatfeedback.domain.types import FinalStatus
from chatfeedback.errors import ChatFeedbackError, StoreUnavailable
from chatfeedback.generation.running_reply import RunningReply
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database.clock import now
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.log.statements import Transaction

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 1.0
SAVE_SECONDS = 5.0
"""After which the next save does not wait for this one: one that hangs must not cost all the replies their lease."""

LeaseSignals = Mapping[str, reply_leases.LeaseSignals]


class Checkpointer:
    """Looks after `running`, replies by the id of their message, as long as there are any; in one event loop.

    A reply that nobody has watched for `linger_seconds` is asked to end.
    """

    def __init__(self, store: EventStore, running: Mapping[str, RunningReply], linger_seconds: float) -> None:
        self._store = store
        self._running = running
        self._linger = linger_seconds
        self._task: asyncio.Task[None] | None = None
        self._begun = 0
        """Saves that were begun; the last one has this number."""
        self._newest = 0
        """The number of the newest save that was carried out."""

    def begin(self) -> None:
        """To be called when a reply begins."""
        if self._task is None or self._task.done():
            nobodys = contextvars.Context()  # it outlives the request that it begins with
            self._task = asyncio.create_task(self._keep_on(), name="texts so far", context=nobodys)

    def close(self) -> None:
        """Nothing is kept any more."""
        if self._task is not None:
            self._task.cancel()

    async def _keep_on(self) -> None:
        while self._running:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            if kept := tuple(self._running.values()):
                await self._keep(kept)

    async def _keep(self, replies: Sequence[RunningReply]) -> None:
        try:
            await self._save(replies)
        except StoreUnavailable as error:
            _note(replies, error)
        except ChatFeedbackError as error:
            if len(replies) > 1:  # what is refused of one must not keep the others from being stored
                for running in replies:
                    await self._keep([running])
                return
            log.warning("the text so far of reply %s is refused: %s", replies[0].reply.message_id, error)
            _note(replies, error)
        except Exception:
            log.exception("the replies that are being written cannot be kept")
            for running in replies:
                running.ask_to_end("interrupted")

    async def _save(self, replies: Sequence[RunningReply]) -> None:
        self._begun += 1
        texts = {running.reply.message_id: running.progress.text for running in replies}
        saving = asyncio.wrap_future(self._store.submit(partial(self._carry_out, number=self._begun, texts=texts)))
        saving.add_done_callback(partial(self._heed_all, replies))  # however late that is
        done, _ = await asyncio.wait([saving], timeout=SAVE_SECONDS)
        if not done:
            raise StoreUnavailable("The database does not answer.")
        saving.result()

    def _carry_out(self, tx: Transaction, number: int, texts: Mapping[str, str]) -> LeaseSignals | None:
        """Saves; None for a save that comes so late that a newer one came first, whose texts it would undo."""
        if number < self._newest:
            return None
        self._newest = number
        return reply_leases.save(tx, self._store.owner, texts, now())

    def _heed_all(self, replies: Sequence[RunningReply], saving: asyncio.Future[LeaseSignals | None]) -> None:
        if saving.cancelled() or saving.exception() is not None or (wishes := saving.result()) is None:
            return
        for running in replies:
            self._heed(running, wishes.get(running.reply.message_id))

    def _heed(self, running: RunningReply, wishes: reply_leases.LeaseSignals | None) -> None:
        if wishes is not None:
            running.stored_version, running.heard = wishes.version, time.monotonic()
        if running.ending.done():
            return
        if wishes is None or wishes.saved:
            running.note(None)
        if (status := self._requested_status(running, wishes)) is not None:
            running.ask_to_end(status)

    def _requested_status(self, running: RunningReply, wishes: reply_leases.LeaseSignals | None) -> FinalStatus | None:
        """How the reply is to end; None when it goes on."""
        if wishes is None:
            taken = "reply %s has no draft of this process: taken over by another one, or erased"
            log.warning(taken, running.reply.message_id)
            return "interrupted"
        if wishes.stop_requested:
            return "stopped"
        # A clock that was set back makes no watcher of one who left before that.
        elsewhere = abs(now() - wishes.watched_at) < timedelta(seconds=self._linger)
        if running.watchers == 0 and not elsewhere and time.monotonic() - running.unwatched_since > self._linger:
            return "left"
        return None


def _note(replies: Sequence[RunningReply], error: ChatFeedbackError) -> None:
    for running in replies:
        if not running.ending.done():  # whoever stores the end says what is wrong with that
            running.note(error)

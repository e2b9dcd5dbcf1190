"""Checkpoints: store the text of all running replies about once a second and renew their leases.

One transaction stores all of them: many replies cost little more than one. The lease says that this process is alive.
The transaction returns the signals of other processes (Stop, watchers) and the current conversation versions. A
checkpoint that fails is retried a second later, and watchers get a notice.
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
"""Timeout of one save. The next one then starts beside it: a hanging save must not cost all replies their lease."""

LeaseSignals = Mapping[str, reply_leases.LeaseSignals]


class Checkpointer:
    """Periodic checkpoints of the `running` replies, keyed by message id, while there are any; bound to one event loop.

    A reply that has had no watcher for `linger_seconds` is ended.
    """

    def __init__(self, store: EventStore, running: Mapping[str, RunningReply], linger_seconds: float) -> None:
        self._store = store
        self._running = running
        self._linger_seconds = linger_seconds
        self._task: asyncio.Task[None] | None = None
        self._saves_started = 0
        """Number of the last save that was started."""
        self._newest_save = 0
        """Number of the newest save that was executed."""

    def start(self) -> None:
        """Start the checkpoint task if it is not running; call it when a reply begins."""
        if self._task is None or self._task.done():
            context = contextvars.Context()  # empty: the task outlives the request that starts it
            self._task = asyncio.create_task(self._run(), name="texts so far", context=context)

    def close(self) -> None:
        """Cancel the checkpoint task."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while self._running:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            if replies := tuple(self._running.values()):
                await self._checkpoint(replies)

    async def _checkpoint(self, replies: Sequence[RunningReply]) -> None:
        try:
            await self._save(replies)
        except StoreUnavailable as error:
            _report_error(replies, error)
        except ChatFeedbackError as error:
            if len(replies) > 1:  # one refused reply must not block the checkpoints of the others
                for running in replies:
                    await self._checkpoint([running])
                return
            log.warning("the text so far of reply %s is refused: %s", replies[0].reply.message_id, error)
            _report_error(replies, error)
        except Exception:
            log.exception("the running replies cannot be checkpointed")
            for running in replies:
                running.request_end("interrupted")

    async def _save(self, replies: Sequence[RunningReply]) -> None:
        self._saves_started += 1
        texts = {running.reply.message_id: running.progress.text for running in replies}
        save = partial(self._save_if_newest, number=self._saves_started, texts=texts)
        future = asyncio.wrap_future(self._store.submit(save))
        future.add_done_callback(partial(self._apply_all_signals, replies))  # also after the timeout below
        done, _ = await asyncio.wait([future], timeout=SAVE_SECONDS)
        if not done:
            raise StoreUnavailable("The database does not answer.")
        future.result()

    def _save_if_newest(self, tx: Transaction, number: int, texts: Mapping[str, str]) -> LeaseSignals | None:
        """Save the texts and return the signals; None for a stale save, which would undo the texts of a newer one."""
        if number < self._newest_save:
            return None
        self._newest_save = number
        return reply_leases.save(tx, self._store.lease_owner, texts, now())

    def _apply_all_signals(self, replies: Sequence[RunningReply], future: asyncio.Future[LeaseSignals | None]) -> None:
        if future.cancelled() or future.exception() is not None or (signals := future.result()) is None:
            return
        for running in replies:
            self._apply_signals(running, signals.get(running.reply.message_id))

    def _apply_signals(self, running: RunningReply, signals: reply_leases.LeaseSignals | None) -> None:
        if signals is not None:
            running.stored_version, running.stored_version_at = signals.version, time.monotonic()
        if running.final_status.done():
            return
        if signals is None or signals.saved:
            running.set_store_error(None)
        if (status := self._requested_status(running, signals)) is not None:
            running.request_end(status)

    def _requested_status(self, running: RunningReply, signals: reply_leases.LeaseSignals | None) -> FinalStatus | None:
        """Return the status with which the reply has to end; None if it goes on."""
        if signals is None:
            message = "reply %s has no draft of this process: taken over by another one, or erased"
            log.warning(message, running.reply.message_id)
            return "interrupted"
        if signals.stop_requested:
            return "stopped"
        # `abs`: if the clock was set back, `watched_at` of a watcher that left may lie in the future.
        watched_elsewhere = abs(now() - signals.watched_at) < timedelta(seconds=self._linger_seconds)
        unwatched = running.watchers == 0 and not watched_elsewhere
        if unwatched and time.monotonic() - running.unwatched_since > self._linger_seconds:
            return "left"
        return None


def _report_error(replies: Sequence[RunningReply], error: ChatFeedbackError) -> None:
    for running in replies:
        if not running.final_status.done():  # the task that stores the end reports its own errors
            running.set_store_error(error)

"""The text so far of all replies that this process writes, stored together about once a second.

One transaction for all of them: many replies cost little more than one. With the text goes the lease that says that
this process is alive; back comes what others ask of it, and how far they have taken the conversations meanwhile. What
cannot be stored now is stored a second later, and whoever watches is told.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

from chatfeedback.domain.events import FinalStatus
from chatfeedback.errors import ChatFeedbackError, StoreUnavailable
from chatfeedback.running import RunningReply
from chatfeedback.store import drafts
from chatfeedback.store.clock import now
from chatfeedback.store.event_store import EventStore
from chatfeedback.store.sql import Transaction
from chatfeedback.waiting import committed

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 1.0
SAVE_SECONDS = 5.0
"""That a save may take: one connection that hangs must not cost all the replies their lease."""


class Keeper:
    """Looks after `running`, replies by the id of their message, as long as there are any; in one event loop.

    A reply that nobody has watched for `linger_seconds` is asked to end.
    """

    def __init__(self, store: EventStore, running: Mapping[str, RunningReply], linger_seconds: float) -> None:
        self._store = store
        self._running = running
        self._linger = linger_seconds
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """To be called when a reply begins."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep_on(), name="drafts")

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
        texts = {running.reply.message_id: running.progress.text for running in replies}
        given_up = asyncio.Event()

        def save(tx: Transaction) -> dict[str, drafts.Wishes]:
            # Nobody waits for it any more: it would put an older text in the place of a newer one.
            return {} if given_up.is_set() else drafts.save(tx, self._store.owner, texts, now())

        try:
            wishes = await asyncio.wait_for(committed(self._store.submit(save)), SAVE_SECONDS)
        except TimeoutError:
            given_up.set()
            raise StoreUnavailable("The database does not answer; the text so far is stored when it does.") from None
        for running in replies:
            self._heed(running, wishes.get(running.reply.message_id))

    def _heed(self, running: RunningReply, wishes: drafts.Wishes | None) -> None:
        if wishes is not None:
            running.stored_version, running.heard = wishes.version, time.monotonic()
        if running.ending.done():
            return
        if wishes is None or wishes.saved:
            running.note(None)
        if (status := self._wanted(running, wishes)) is not None:
            running.ask_to_end(status)

    def _wanted(self, running: RunningReply, wishes: drafts.Wishes | None) -> FinalStatus | None:
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

"""Replies whose owner, the process that wrote them, died: found by their drafts, and ended as interrupted, once.

A lease that has run out proves no death by itself: while the database was away or the machines slept, nobody could
renew one. So an owner counts as dead when this process saw the same lease before, longer ago than a living owner needs
to renew it. The same holds for a lease that ends too late, by a clock that was set back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Container, Sequence
from datetime import datetime

from chatfeedback.domain.conversation import decide
from chatfeedback.domain.conversation.events import ReplyFinished
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import ChatFeedbackError, NotFound
from chatfeedback.generation.shielded import await_commit, log_store_error
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database.clock import now
from chatfeedback.store.log.event_store import Command, EventStore

log = logging.getLogger(__name__)

LEASE_GRACE_SECONDS = 4.0
"""A living owner has renewed a lease this long after the moment at which the database can be used again."""


class OrphanRecovery:
    """Those on one database; replies by the ids of their messages. `own`: those that this process writes itself."""

    def __init__(self, store: EventStore, own: Container[str]) -> None:
        self._store = store
        self._own = own
        self._lapsed: dict[str, tuple[datetime, float]] = {}
        """Leases that look lapsed: their end, and since when they have been seen so."""

    # Whether an owner is dead

    def is_orphaned(self, draft: reply_leases.Draft) -> bool:
        """Whether the owner of a draft, whose lease looks lapsed now, has not renewed it for long enough."""
        lease, since = self._lapsed.get(draft.message_id, (None, 0.0))
        if lease != draft.lease_until:
            since = time.monotonic()
            self._lapsed[draft.message_id] = (draft.lease_until, since)
        return time.monotonic() - since >= LEASE_GRACE_SECONDS

    def forget(self) -> None:
        """The database could not be used: what was seen before that proves nothing."""
        self._lapsed.clear()

    # Sweeping

    async def run_sweeper(self) -> None:
        """Sweeps once in the length of a lease until it is cancelled, so that no reply waits for a reader to end.

        Where an owner may have died, it looks again as soon as that can be known.
        """
        while True:
            await asyncio.sleep(LEASE_GRACE_SECONDS if self._lapsed else reply_leases.LEASE.total_seconds())
            await self.sweep()

    async def sweep(self) -> int:
        """Ends the replies whose owner is known to be dead by now; returns how many. What fails is logged."""
        try:
            dead = await self._dead()
            return sum([await self._is_ended(draft) for draft in dead])
        except ChatFeedbackError as error:
            self.forget()
            log_store_error("replies that a dead process left behind could not be looked for", error)
        except Exception:
            log.exception("replies that a dead process left behind could not be looked for")
        return 0

    async def _dead(self) -> Sequence[reply_leases.Draft]:
        def find() -> list[reply_leases.Draft]:
            with self._store.reading() as tx:
                return [*reply_leases.expired(tx, now()), *reply_leases.ahead(tx, now())]

        # A lease of our own that is over, because the store or the machine slept, is not a death.
        found = [draft for draft in await asyncio.to_thread(find) if draft.message_id not in self._own]
        dead = [draft for draft in found if self.is_orphaned(draft)]
        self._lapsed = {draft.message_id: self._lapsed[draft.message_id] for draft in found}
        return dead

    async def _is_ended(self, draft: reply_leases.Draft) -> bool:
        """Ends one of them; where that fails, the others are ended all the same."""
        try:
            return await self.end(draft)
        except ChatFeedbackError as error:
            log_store_error(f"reply {draft.message_id}, which a dead process left behind, is not ended yet", error)
            return False

    # Ending

    async def end(self, found: reply_leases.Draft) -> bool:
        """Ends a reply whose owner died, unless somebody was quicker or it is alive. Raises StoreError."""
        owner, message_id = self._store.owner, found.message_id
        draft = await await_commit(self._store.submit(lambda tx: reply_leases.claim(tx, found, owner, now())))
        if draft is None:
            return False
        conversation = await asyncio.to_thread(self._store.conversation, draft.conversation_id)
        message = conversation.messages.get(message_id) if conversation else None
        if conversation is None or message is None or message.status != "writing":
            log.warning("the draft of %s belongs to no reply that is being written; it is dropped", message_id)
            await await_commit(self._store.submit(lambda tx: reply_leases.end(tx, message_id)))
        else:
            await self.interrupt(conversation, message_id, draft.text)
        return True

    async def interrupt(self, conversation: Conversation, message_id: str, text: str) -> None:
        """Stores the end of a reply of which this text is there. Raises StoreError."""
        model = conversation.messages[message_id].model or ""
        ended = ReplyFinished(message_id=message_id, status="interrupted", text=text, model=model)
        command = Command(conversation.conversation_id, conversation.annotator_id, lambda c: decide.finish(c, ended))
        with contextlib.suppress(NotFound):  # erased since: there is nothing to end
            await await_commit(self._store.execute(command))

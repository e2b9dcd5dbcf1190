"""Orphan recovery: end replies as interrupted, once, if the process that wrote them died.

Orphans are found by their drafts, the rows that hold text and lease. An expired lease alone proves no death: while the
database was down or the machines slept, no process could renew one. So an owner counts as dead if this process saw the
same lease before, longer ago than a living owner needs to renew it. The same holds for a lease that ends too far in
the future, after a clock was set back.
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
"""Time within which a living owner renews its lease once the database is available again."""


class OrphanRecovery:
    """Recovery of orphaned replies on one database. `own`: message ids of the replies of this process."""

    def __init__(self, store: EventStore, own: Container[str]) -> None:
        self._store = store
        self._own = own
        self._lapsed: dict[str, tuple[datetime, float]] = {}
        """Leases that look expired, by message id: their end, and the monotonic time when this was first seen."""

    # Detection of dead owners

    def is_orphaned(self, draft: reply_leases.Draft) -> bool:
        """Return True if the owner of a draft whose lease looks expired is dead: no renewal for the grace period."""
        lease, first_seen = self._lapsed.get(draft.message_id, (None, 0.0))
        if lease != draft.lease_until:
            first_seen = time.monotonic()
            self._lapsed[draft.message_id] = (draft.lease_until, first_seen)
        return time.monotonic() - first_seen >= LEASE_GRACE_SECONDS

    def reset(self) -> None:
        """Forget the expired leases; call it after an outage of the database, when they prove nothing."""
        self._lapsed.clear()

    # Sweeping

    async def run_sweeper(self) -> None:
        """Sweep once per lease duration until cancelled, so that a reply ends even if no page watches it.

        If an owner may have died, sweep again right after the grace period.
        """
        while True:
            await asyncio.sleep(LEASE_GRACE_SECONDS if self._lapsed else reply_leases.LEASE.total_seconds())
            await self.sweep()

    async def sweep(self) -> int:
        """End the orphaned replies and return how many; failures are logged."""
        try:
            orphans = await self._find_orphans()
            return sum([await self._try_end(draft) for draft in orphans])
        except ChatFeedbackError as error:
            self.reset()
            log_store_error("replies that a dead process left behind could not be looked for", error)
        except Exception:
            log.exception("replies that a dead process left behind could not be looked for")
        return 0

    async def _find_orphans(self) -> Sequence[reply_leases.Draft]:
        def load() -> list[reply_leases.Draft]:
            with self._store.reading() as tx:
                return [*reply_leases.expired(tx, now()), *reply_leases.ahead(tx, now())]

        # An expired lease of this process, after the store or the machine slept, is not a death.
        drafts = [draft for draft in await asyncio.to_thread(load) if draft.message_id not in self._own]
        orphans = [draft for draft in drafts if self.is_orphaned(draft)]
        self._lapsed = {draft.message_id: self._lapsed[draft.message_id] for draft in drafts}
        return orphans

    async def _try_end(self, draft: reply_leases.Draft) -> bool:
        """End an orphaned reply; log a failure, so that the others are ended all the same."""
        try:
            return await self.end(draft)
        except ChatFeedbackError as error:
            log_store_error(f"reply {draft.message_id}, which a dead process left behind, is not ended yet", error)
            return False

    # Ending

    async def end(self, draft: reply_leases.Draft) -> bool:
        """Claim the lease of an orphaned reply and end the reply.

        Return False if another process was quicker or the owner is alive. Raises StoreError.
        """
        owner, message_id = self._store.lease_owner, draft.message_id
        claimed = await await_commit(self._store.submit(lambda tx: reply_leases.claim(tx, draft, owner, now())))
        if claimed is None:
            return False
        conversation = await asyncio.to_thread(self._store.conversation, claimed.conversation_id)
        message = conversation.messages.get(message_id) if conversation else None
        if conversation is None or message is None or message.status != "writing":
            log.warning("the draft of %s belongs to no reply that is being written; it is dropped", message_id)
            await await_commit(self._store.submit(lambda tx: reply_leases.end(tx, message_id)))
        else:
            await self.interrupt(conversation, message_id, claimed.text)
        return True

    async def interrupt(self, conversation: Conversation, message_id: str, text: str) -> None:
        """Store the end of a reply as interrupted, with this text. Raises StoreError."""
        model = conversation.messages[message_id].model or ""
        event = ReplyFinished(message_id=message_id, status="interrupted", text=text, model=model)
        command = Command(conversation.conversation_id, conversation.annotator_id, lambda c: decide.finish(c, event))
        with contextlib.suppress(NotFound):  # erased since: there is nothing to end
            await await_commit(self._store.execute(command))

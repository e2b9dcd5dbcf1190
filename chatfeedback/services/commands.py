"""Commands: decisions of users about one conversation, executed in order, checked for ownership, and stored.

All commands of the services go through `CommandExecutor.execute`, and nothing else but the `GenerationManager` appends
events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from weakref import WeakValueDictionary

from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Body
from chatfeedback.domain.text import sanitize
from chatfeedback.errors import NO_CONVERSATION, NotAllowed, NotFound, NotOffered
from chatfeedback.generation.shielded import await_commit, shielded
from chatfeedback.store.log.event_store import Command, Decision, EventStore

NOT_YOURS = "This conversation belongs to another person."
OTHERS_CONVERSATION, NOT_OFFERED = "conversation_of_another", "not_offered"
"""Codes of refusals in the audit log."""
Precheck = Callable[[], Awaitable[Conversation | None]]
OnRefused = Callable[[str, str], None]
"""Callback for refusals, called in a thread with the annotator's id and a code."""


class CommandExecutor:
    """Executor of commands; those of one conversation run one after the other.

    Args:
        store: The event store.
        on_refused: Callback for refusals.
    """

    def __init__(self, store: EventStore, on_refused: OnRefused) -> None:
        self._store = store
        self._on_refused = on_refused
        self.tasks: set[asyncio.Task[Conversation]] = set()
        """Running commands."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def close(self) -> None:
        """Wait for the running commands."""
        while self.tasks:
            await asyncio.wait(self.tasks)

    async def execute(
        self,
        annotator_id: str,
        conversation_id: str,
        decide: Decision,
        after_commit: Callable[[Conversation], None] | None = None,
        *,
        precheck: Precheck | None = None,
        limit: Callable[[], AbstractContextManager[None]] = nullcontext,
        new: bool = False,
        derived_ids: Mapping[str, str] | None = None,
    ) -> Conversation:
        """Decide, append and call `after_commit`, shielded from cancellation: all of it, even if the page disconnects.

        Commands of one conversation run in the order of their arrival: of two quick clicks the second must not
        overtake the first on another connection.

        Args:
            annotator_id: The caller; has to own the conversation.
            conversation_id: The conversation.
            decide: The decision, on the state in the store.
            after_commit: Called with the new state, in the event loop.
            precheck: Reads of the log that the decision needs; a conversation that it returns is the final result.
            limit: Context manager around decision and append.
            new: The conversation may be new.
            derived_ids: Event ids by event kind, for idempotent appends.

        Raises the errors of the decision, NotFound unless `new`, NotAllowed, StoreError.
        """
        check_id(conversation_id)

        def decide_checked(conversation: Conversation) -> Sequence[Body]:
            if not new and not conversation.version:
                raise NotFound(NO_CONVERSATION)
            require_owner(conversation, annotator_id)
            return decide(conversation)

        command = Command(conversation_id, annotator_id, decide_checked, derived_ids=derived_ids or {})
        lock = self._locks.setdefault(conversation_id, asyncio.Lock())

        async def run() -> Conversation:
            async with lock:
                if precheck is not None and (result := await precheck()) is not None:
                    return result
                with limit():
                    conversation = (await await_commit(self._store.execute(command))).conversation
                    if after_commit is not None:
                        after_commit(conversation)
                    return conversation

        task = asyncio.create_task(run())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        try:
            return await shielded(task)
        except NotAllowed:
            await self.refuse(annotator_id, OTHERS_CONVERSATION)
            raise
        except NotOffered:
            await self.refuse(annotator_id, NOT_OFFERED)
            raise

    async def refuse(self, annotator_id: str, code: str) -> None:
        """Record a refusal in the audit. `code` is a constant, never input of a browser."""
        await asyncio.to_thread(self._on_refused, annotator_id, code)


def require_owner(conversation: Conversation, annotator_id: str) -> None:
    """Check that a stored conversation belongs to this annotator. Raises NotAllowed."""
    if conversation.version and conversation.annotator_id != annotator_id:
        raise NotAllowed(NOT_YOURS)


def check_id(conversation_id: str) -> None:
    """Check that a database can look up this id; it may come from a URL. Raises NotFound."""
    if sanitize(conversation_id)[1]:
        raise NotFound(NO_CONVERSATION)

"""Feedback use case: an annotator rates a reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Body
from chatfeedback.domain.feedback.decide import RatingChange, rate, restorable_reasons
from chatfeedback.domain.text import sanitize
from chatfeedback.errors import MessageRejected
from chatfeedback.services.commands import CommandExecutor
from chatfeedback.store.log.event_store import EventStore


class FeedbackService:
    """Service for the ratings of annotators.

    Args:
        store: The event store.
        commands: Executor of commands, the one of the chat.
        reasons: The configured reason codes and their polarity.
        max_comment_chars: Longest comment.
    """

    def __init__(
        self, store: EventStore, commands: CommandExecutor, reasons: Mapping[str, str], *, max_comment_chars: int
    ) -> None:
        self._store = store
        self._commands = commands
        self._reasons = reasons
        self._max_comment_chars = max_comment_chars

    async def rate(
        self,
        annotator_id: str,
        conversation_id: str,
        message_id: str,
        *,
        value: str | None = None,
        reasons: Mapping[str, bool] | None = None,
        comment: str | None = None,
        on_decide: Callable[[int], None] | None = None,
    ) -> Conversation:
        """Set parts of the rating of a message. Never raises Conflict.

        Args:
            annotator_id: The annotator whose rating it is.
            conversation_id: The conversation.
            message_id: The rated message.
            value: The rating; "" clears it, None leaves it.
            reasons: By code, True to select or False to deselect; the other reasons stay.
            comment: The comment; "" clears it, None leaves it.
            on_decide: Callback with the version of the conversation before the rating; called in a writer thread,
                once for each attempt to commit.

        Raises:
            InputError: The comment is too long, the reply cannot be rated, or the value or a reason is not offered.
            NotFound: There is no such conversation or message.
            NotAllowed: The conversation belongs to another annotator.
            StoreError: The database cannot be read or written.
        """
        sanitized = False
        if comment is not None:
            if len(comment) > self._max_comment_chars:
                raise MessageRejected(f"A comment can have at most {self._max_comment_chars:,} characters.")
            comment, sanitized = sanitize(comment if comment.strip() else "")
        change = RatingChange(value, reasons or {}, comment, sanitized)
        restorable: frozenset[str] = frozenset()

        async def load_restorable_reasons() -> None:
            nonlocal restorable
            if not sanitize(message_id)[1]:  # an id that no database stores has no ratings
                events = await asyncio.to_thread(self._store.ratings_of, conversation_id, message_id, annotator_id)
                restorable = restorable_reasons(events)

        def decide(conversation: Conversation) -> Sequence[Body]:
            if on_decide is not None:
                on_decide(conversation.version)
            return rate(
                conversation,
                change,
                message_id=message_id,
                annotator_id=annotator_id,
                reasons=self._reasons,
                restorable_reasons=restorable,
            )

        return await self._commands.execute(
            annotator_id, conversation_id, decide, precheck=load_restorable_reasons if value else None
        )

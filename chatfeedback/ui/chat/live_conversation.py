"""Live view of a conversation: changes by this process at once, changes by other processes within a second.

A page is updated several times a second while a reply is generated. A database query for each update, in a thread,
would cost more than all the recording. Changes by this process are in its cache. Changes by other
processes become known with the checkpoint that renews the leases of all running replies, once a second.
"""

from __future__ import annotations

import time

from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import ChatFeedbackError, StoreError
from chatfeedback.generation.running_reply import NOT_READ_YET
from chatfeedback.services.chat import ChatService

REFRESH_SECONDS = 1.0
"""Shortest time between two queries of the database."""


class LiveConversation:
    """Newest known state of one conversation, for its annotator. `conversation`: the state just read."""

    def __init__(self, service: ChatService, annotator_id: str, conversation: Conversation) -> None:
        self._service = service
        self._annotator_id = annotator_id
        self._conversation = conversation
        self._queried_at = time.monotonic()
        self.notice = ""
        """Error of the last query, as a sentence; "" if it succeeded."""

    async def refresh(self) -> Conversation:
        """Return the newest known state."""
        self._conversation = self._service.cached_conversation(self._conversation)
        is_due = time.monotonic() - self._queried_at >= REFRESH_SECONDS
        if is_due and (self.notice or not self._service.is_newest(self._conversation)):
            self._queried_at = time.monotonic()
            try:
                stored = await self._service.conversation(self._annotator_id, self._conversation.conversation_id)
                self._conversation, self.notice = stored, ""
            except StoreError:
                self.notice = NOT_READ_YET
            except ChatFeedbackError as error:
                self.notice = str(error)
        return self._conversation

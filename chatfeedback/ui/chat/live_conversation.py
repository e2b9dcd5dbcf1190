"""A conversation while it is looked at: what this process does to it at once, what others do within a second.

A page is painted several times a second while a reply is written. To ask the database each time, from a thread, would
cost more than all else that is recorded. What this process has stored itself it knows without asking, and whether
others have stored something it hears once a second, for all replies that it writes, when it stores their texts so far.
"""

from __future__ import annotations

import time

from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import ChatFeedbackError, StoreError
from chatfeedback.generation.running_reply import NOT_READ_YET
from chatfeedback.services.chat import ChatService

ASKED_EVERY_SECONDS = 1.0


class LiveConversation:
    """Of one conversation, for its annotator. `conversation` has just been read."""

    def __init__(self, service: ChatService, annotator_id: str, conversation: Conversation) -> None:
        self._service = service
        self._annotator_id = annotator_id
        self._conversation = conversation
        self._asked = time.monotonic()
        self.trouble = ""
        """What there is to say about the last time that the database was asked; "" when it answered."""

    async def refresh(self) -> Conversation:
        """The newest state that is known."""
        self._conversation = self._service.last_known(self._conversation)
        due = time.monotonic() - self._asked >= ASKED_EVERY_SECONDS
        if due and (self.trouble or not self._service.is_newest(self._conversation)):
            self._asked = time.monotonic()
            try:
                found = await self._service.conversation(self._annotator_id, self._conversation.conversation_id)
                self._conversation, self.trouble = found, ""
            except StoreError:
                self.trouble = NOT_READ_YET
            except ChatFeedbackError as error:
                self.trouble = str(error)
        return self._conversation

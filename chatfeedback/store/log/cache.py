"""Conversations that need not be read again: those used last, as they stood after a commit."""

from __future__ import annotations

import threading
from collections import OrderedDict

from chatfeedback.domain.conversation.state import Conversation

CACHED_CONVERSATIONS = 256


class Cache:
    """Up to `size` conversations by id, for any thread. One counts only for the version that the database names."""

    def __init__(self, size: int = CACHED_CONVERSATIONS) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Conversation] = OrderedDict()

    def get(self, conversation_id: str, version: int) -> Conversation | None:
        """The conversation at this version; None when that is not known."""
        with self._lock:
            found = self._entries.get(conversation_id)
            if found is None or found.version != version:
                return None
            self._entries.move_to_end(conversation_id)
            return found

    def newest(self, conversation_id: str) -> Conversation | None:
        """The conversation as this process last knew it; another one may have changed it since."""
        with self._lock:
            return self._entries.get(conversation_id)

    def put(self, conversation: Conversation) -> None:
        """Remembers it, unless a later version is known."""
        with self._lock:
            known = self._entries.get(conversation.conversation_id)
            if known is not None and known.version > conversation.version:
                return
            self._entries[conversation.conversation_id] = conversation
            self._entries.move_to_end(conversation.conversation_id)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

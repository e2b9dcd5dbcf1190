"""Cache of recently used conversations (LRU), in the state after their last commit."""

from __future__ import annotations

import threading
from collections import OrderedDict

from chatfeedback.domain.conversation.state import Conversation

CACHED_CONVERSATIONS = 256


class Cache:
    """LRU cache of up to `size` conversations by id; thread-safe.

    An entry counts only for the version that the database has.
    """

    def __init__(self, size: int = CACHED_CONVERSATIONS) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Conversation] = OrderedDict()

    def get(self, conversation_id: str, version: int) -> Conversation | None:
        """Return the conversation at this version; None if it is not cached."""
        with self._lock:
            conversation = self._entries.get(conversation_id)
            if conversation is None or conversation.version != version:
                return None
            self._entries.move_to_end(conversation_id)
            return conversation

    def newest(self, conversation_id: str) -> Conversation | None:
        """Return the newest state that this process knows; another process may have changed the conversation since."""
        with self._lock:
            return self._entries.get(conversation_id)

    def put(self, conversation: Conversation) -> None:
        """Cache the conversation, unless a later version is cached."""
        with self._lock:
            cached = self._entries.get(conversation.conversation_id)
            if cached is not None and cached.version > conversation.version:
                return
            self._entries[conversation.conversation_id] = conversation
            self._entries.move_to_end(conversation.conversation_id)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

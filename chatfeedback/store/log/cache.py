"""Cache of recently used conversations (LRU), in the state after their last commit."""

from __future__ import annotations

import threading

from cachetools import LRUCache

from chatfeedback.domain.conversation.state import Conversation

CACHED_CONVERSATIONS = 256


class Cache:
    """LRU cache of up to `size` conversations by id; thread-safe.

    An entry counts only for the version that the database has.
    """

    def __init__(self, size: int = CACHED_CONVERSATIONS) -> None:
        self._lock = threading.Lock()
        self._entries: LRUCache[str, Conversation] = LRUCache(size)

    def get(self, conversation_id: str, version: int) -> Conversation | None:
        """Return the conversation at this version; None if it is not cached."""
        conversation = self.newest(conversation_id)
        return conversation if conversation is not None and conversation.version == version else None

    def newest(self, conversation_id: str) -> Conversation | None:
        """Return the newest state that this process knows; another process may have changed the conversation since."""
        with self._lock:
            return self._entries.get(conversation_id)

    def put(self, conversation: Conversation) -> None:
        """Cache the conversation, unless a later version is cached."""
        with self._lock:
            cached = self._entries.get(conversation.conversation_id)
            if self._entries.maxsize and (cached is None or cached.version <= conversation.version):
                self._entries[conversation.conversation_id] = conversation

"""Refusal log: refusals in the server's log and in the audit, a limited number per person, code and minute.

Each code has its own limit: many trivial refusals cannot hide an important one.
"""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import Engine

from chatfeedback.errors import StoreError
from chatfeedback.store.accounts import audit
from chatfeedback.store.database.availability import StoreFailed
from chatfeedback.store.database.transactions import read_write

log = logging.getLogger(__name__)
MAX_PER_MINUTE = 30
"""Maximum records of one person and code, so that no client can fill the disk."""
NOT_RECORDED = "further ones of this minute are not recorded"


class RefusalLog:
    """Log of refusals. Thread-safe; not to be called within a transaction."""

    def __init__(self, engine: Engine, store_failed: StoreFailed) -> None:
        self._engine = engine
        self._store_failed = store_failed
        self._counter = MinuteCounter()

    def record(self, annotator_id: str, code: str) -> None:
        """Record a refusal. `code` is a constant, never input of a browser. A failing audit raises nothing."""
        count = self._counter.count(annotator_id, code)
        if count > MAX_PER_MINUTE:
            return
        log.warning("refused: %s (%s)%s", code, annotator_id, f"; {NOT_RECORDED}" if count == MAX_PER_MINUTE else "")
        try:
            with read_write(self._engine) as connection:
                audit.record(connection, "refused", actor_id=annotator_id, what=code)
        except StoreError as error:
            self._store_failed(error)

    def too_many_sign_ins(self) -> None:
        """Log, once in a minute, that sign-ins are refused without looking at the password."""
        if self._counter.count("", "too_many_sign_ins") == 1:
            log.warning("too many attempts to sign in; the last ones were not looked at; %s", NOT_RECORDED)


class MinuteCounter:
    """Counter of what happens within a minute. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minute = -1
        self._counts: dict[tuple[str, ...], int] = {}

    def count(self, *key: str) -> int:
        """Count once more under this key; return the count of the current minute."""
        minute = int(time.monotonic() // 60)
        with self._lock:
            if minute != self._minute:
                self._minute, self._counts = minute, {}
            self._counts[key] = count = self._counts.get(key, 0) + 1
        return count

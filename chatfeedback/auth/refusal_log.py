"""Refusal log: every refusal in the server's log, and a limited number per person, code and minute in the audit.

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
"""Maximum audit records of one person and code, so that no client can fill the disk."""


class RefusalLog:
    """Log of refusals. Thread-safe; not to be called within a transaction."""

    def __init__(self, engine: Engine, store_failed: StoreFailed) -> None:
        self._engine = engine
        self._store_failed = store_failed
        self._lock = threading.Lock()
        self._minute = -1
        self._counts: dict[tuple[str, str], int] = {}

    def record(self, annotator_id: str, code: str) -> None:
        """Record a refusal. `code` is a constant, never input of a browser. A failing audit raises nothing."""
        log.warning("refused: %s (%s)", code, annotator_id)
        if not self._is_below_limit(annotator_id, code):
            return
        try:
            with read_write(self._engine) as connection:
                audit.record(connection, "refused", actor_id=annotator_id, what=code)
        except StoreError as error:
            self._store_failed(error)

    def _is_below_limit(self, annotator_id: str, code: str) -> bool:
        key = (annotator_id, code)
        minute = int(time.monotonic() // 60)
        with self._lock:
            if minute != self._minute:
                self._minute, self._counts = minute, {}
            self._counts[key] = count = self._counts.get(key, 0) + 1
        return count <= MAX_PER_MINUTE

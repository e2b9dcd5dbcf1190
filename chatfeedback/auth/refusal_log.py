"""Refusals: each in the log of the server, and as many of one person in a minute in the audit as tell the story.

Those of one kind leave room for those of another: who is refused often for a trifle cannot hide what matters.
"""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import Engine

from chatfeedback.errors import StoreError
from chatfeedback.store.accounts import audit
from chatfeedback.store.database.availability import StoreFailed
from chatfeedback.store.database.transactions import writing

log = logging.getLogger(__name__)
MOST = 30
"""Of one person and kind in a minute that go into the audit: nobody fills a disk with them."""


class Refusals:
    """Notes who was refused what. May be told from any thread, not within a transaction."""

    def __init__(self, engine: Engine, store_failed: StoreFailed) -> None:
        self._engine = engine
        self._store_failed = store_failed
        self._lock = threading.Lock()
        self._minute = -1
        self._counts: dict[tuple[str, str], int] = {}

    def note(self, annotator_id: str, what: str) -> None:
        """`what`: a code of ours, nothing that a browser sent. Raises nothing where the audit cannot be written."""
        log.warning("refused: %s (%s)", what, annotator_id)
        if not self._is_one_more(annotator_id, what):
            return
        try:
            with writing(self._engine) as connection:
                audit.record(connection, "refused", actor_id=annotator_id, what=what)
        except StoreError as error:
            self._store_failed(error)

    def _is_one_more(self, annotator_id: str, what: str) -> bool:
        told = (annotator_id, what)
        minute = int(time.monotonic() // 60)
        with self._lock:
            if minute != self._minute:
                self._minute, self._counts = minute, {}
            self._counts[told] = count = self._counts.get(told, 0) + 1
        return count <= MOST

"""Broken applications that the harness must detect, and one that only hurries."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from torture.server import run


def hurrying(config: str, log: str) -> None:
    """Serve with leases of seconds, so that a test need not wait for those of everyday."""
    from chatfeedback.store.coordination import reply_leases

    reply_leases.LEASE = timedelta(seconds=3)
    run(config, log)


def answering_too_early(config: str, log: str) -> None:
    """Serve, and acknowledge before the commit, which takes its time."""
    from chatfeedback.store.log.writer import SQLiteWriter

    commit = SQLiteWriter._commit_group

    def too_early(self: SQLiteWriter, tx: Any, group: Any) -> None:
        commit(self, _Uncommitted(tx), group)
        time.sleep(60)
        tx.script("COMMIT")

    SQLiteWriter._commit_group = too_early  # type: ignore[method-assign]
    run(config, log)


class _Uncommitted:
    """Transaction in which COMMIT does nothing."""

    def __init__(self, tx: Any) -> None:
        self._tx = tx

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def script(self, text: str) -> None:
        if text != "COMMIT":
            self._tx.script(text)

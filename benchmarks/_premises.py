"""Premises: conditions without which a figure would be meaningless, checked while the benchmark runs."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event, func, select

from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.schema import events

PRAGMAS = "the journal mode and the synchronous level"
DURABLE = ("wal", 2)
"""Required pragmas: a write-ahead log, and FULL, which is 2: a commit waits for the disk."""


def require(holds: bool, sentence: str) -> None:
    """End the benchmark with this sentence and status 1 unless the premise holds."""
    if not holds:
        raise SystemExit(f"A premise of this benchmark does not hold: {sentence}.")


def require_equal(what: str, value: object, expected: object) -> None:
    """End the benchmark unless both are equal; the message has `what` and both values."""
    require(value == expected, f"{what} must be {expected}, and is {value}")


def require_durable(name: str, connection: sqlite3.Connection) -> None:
    """End the benchmark unless the connection has the pragmas of DURABLE."""
    require_equal(f"{PRAGMAS} of {name}", pragmas(connection), DURABLE)


def pragmas(connection: sqlite3.Connection) -> tuple[str, int]:
    """Return the journal mode and the number of the synchronous level of a connection."""
    (mode,), (level,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous"))
    return mode, level


def require_durable_store(store: EventStore) -> None:
    """End the benchmark unless the connection on which the store writes has the pragmas of DURABLE."""
    store_pragmas = store.writer.submit(lambda tx: pragmas(tx.connection)).result()
    require_equal(f"{PRAGMAS} of the store", store_pragmas, DURABLE)


def events_by_kind(store: EventStore) -> Counter[str]:
    """Return the number of events of each kind in the log."""
    with store.engine.connect() as connection:
        rows = connection.execute(select(events.c.kind, func.count()).group_by(events.c.kind))
        return Counter(dict(rows.all()))


def require_events(store: EventStore, before: Mapping[str, int], added: Mapping[str, int]) -> None:
    """End the benchmark unless the log has grown by exactly these events since `before`."""
    grown = events_by_kind(store)
    grown.subtract(before)
    require_equal("the events that were added", {kind: n for kind, n in grown.items() if n}, dict(added))


def require_one_commit(store: EventStore, name: str, action: Callable[[], object], added: Mapping[str, int]) -> None:
    """Run an action once, and end the benchmark unless it commits one transaction with exactly these events."""
    before = events_by_kind(store)
    with _traced_writer(store) as statements:
        action()
    transactions = [text for text in statements if text in ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")]
    require_equal(f"the transactions of {name}", transactions, ["BEGIN IMMEDIATE", "COMMIT"])
    require_events(store, before, added)


@contextmanager
def _traced_writer(store: EventStore) -> Iterator[list[str]]:
    """Collect the statements that the writer runs inside the block."""
    statements: list[str] = []
    store.writer.submit(lambda tx: tx.connection.set_trace_callback(statements.append)).result()
    statements.clear()  # the commit of the line above
    traced: list[str] = []
    yield traced
    traced += statements
    store.writer.submit(lambda tx: tx.connection.set_trace_callback(None)).result()


@contextmanager
def traced_readers(engine: Engine) -> Iterator[list[str]]:
    """Collect the statements of every connection that is taken from the pool inside the block."""
    statements: list[str] = []

    def begin(connection: Any, _record: object, _proxy: object) -> None:
        connection.set_trace_callback(statements.append)

    def end(connection: Any, _record: object) -> None:
        if connection is not None:
            connection.set_trace_callback(None)

    event.listen(engine, "checkout", begin)
    event.listen(engine, "checkin", end)
    yield statements
    event.remove(engine, "checkout", begin)
    event.remove(engine, "checkin", end)


def require_scans(connection: sqlite3.Connection, query: str) -> None:
    """End the benchmark unless the query scans every table that it names NOT INDEXED."""
    plan = [detail for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
    for table in re.findall(r"(\w+) NOT INDEXED", query):
        require(f"SCAN {table}" in plan, f"{table} is not scanned by {' '.join(query.split())!r}, but read by {plan}")

"""Writers: one writer thread with group commit on SQLite, a transaction per unit of work on Postgres.

A unit of work is a function of a `Transaction`. `submit` returns a future at once. The future is resolved only after
the commit that holds the work, or with the error that rolled it back. A failed unit leaves nothing behind. Work may be
run again from the start, so it must have no effect outside its transaction.

SQLite allows one writer at a time, and a commit costs a disk flush. One thread does all the writing and commits
all queued work as one group (docs/adr/0005). If a unit fails after it has written, the whole group is rolled back and
run again with a savepoint for each unit. Postgres has no such limit: a few threads, one transaction for each unit.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from sqlalchemy import Engine

from chatfeedback.errors import ChatFeedbackError, StoreUnavailable
from chatfeedback.store.database.errors import is_transient, translated
from chatfeedback.store.log.statements import Statements, Transaction, begin, invalidate_if_lost, return_to_pool

T = TypeVar("T")
Work = Callable[[Transaction], T]
Group = list[tuple[Callable[[Transaction], Any], "Future[Any]"]]
Outcome = tuple[Any, BaseException | None]
"""Outcome of a unit of work: its result, or the error that refused it."""
GROUP_SIZE = 256
RETRY_DELAYS = (0.0, 0.1, 0.4)
"""Seconds to wait before each retry of a transient fault; there is one more attempt than delays."""
RESERVED_FOR_READS = 3
"""Connections of the pool that the writer leaves free, so that a slow commit never blocks a read."""

_CLOSED = "The store is closed; start chatfeedback again."


class Writer(Protocol):
    """Writer that the store needs: a queue of work, each unit committed before its future is resolved."""

    def submit(self, work: Work[T]) -> Future[T]:
        """Queue the work. The future raises what the work raised, or StoreUnavailable."""

    def close(self) -> None:
        """Finish the queued work, then stop."""


def open_writer(engine: Engine) -> Writer:
    """Return the writer for the engine's database."""
    return SQLiteWriter(engine) if engine.dialect.name == "sqlite" else PostgresWriter(engine)


class SQLiteWriter:
    """Single writer thread with one connection and group commit."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._statements = Statements(engine.dialect)
        # SimpleQueue is implemented in C: a third of the cost of `queue.Queue`.
        self._queue: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="chatfeedback-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T]) -> Future[T]:
        """Queue the work for the next group. Raises StoreUnavailable after `close`."""
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                raise StoreUnavailable(_CLOSED)
            self._queue.put((work, future))
        return future

    def close(self) -> None:
        """Finish the queued work, then stop the thread."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        pooled: Any = None
        while (group := self._next_group()) is not None:
            try:
                if pooled is None:
                    pooled = self._engine.raw_connection()
                self._engine.get_execution_options()["file_identity"].check()
                self._commit_group(Transaction(pooled.driver_connection, self._statements), group)
            except BaseException as error:  # noqa: BLE001 - the thread must survive any error; the futures get it
                self._fail(group, error)
                if pooled is not None:
                    pooled.invalidate()
                    pooled = None
        if pooled is not None:
            pooled.close()

    def _next_group(self) -> Group | None:
        """Return the queued work that was not cancelled; None once the writer is closed."""
        item = self._queue.get()
        if item is None:
            return None
        group = [item] if item[1].set_running_or_notify_cancel() else []
        while len(group) < GROUP_SIZE:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                self._queue.put(None)
                break
            if item[1].set_running_or_notify_cancel():
                group.append(item)
        return group

    def _commit_group(self, tx: Transaction, group: Group) -> None:
        tx.script("BEGIN IMMEDIATE")
        outcomes = self._run_all(tx, group)
        if outcomes is None:
            tx.script("ROLLBACK")
            tx.script("BEGIN IMMEDIATE")
            outcomes = self._run_with_savepoints(tx, group)
        tx.script("COMMIT")
        for (_work, future), (result, refusal) in zip(group, outcomes, strict=True):
            if refusal is None:
                future.set_result(result)
            else:
                future.set_exception(refusal)

    @staticmethod
    def _run_all(tx: Transaction, group: Group) -> list[Outcome] | None:
        """Run the group without savepoints; return None if a unit failed after writing, so that all must run again.

        Two savepoint statements per unit would be a third of the cost of a rating. Most units that fail have written
        nothing: a decision refuses before its first event.
        """
        outcomes: list[Outcome] = []
        for work, _future in group:
            changes_before = tx.connection.total_changes
            try:
                outcomes.append((work(tx), None))
            except Exception as error:
                if not tx.connection.in_transaction:
                    raise  # SQLite undid the whole group (disk full, I/O error)
                if tx.connection.total_changes != changes_before:
                    return None
                outcomes.append((None, translated(error)))
        return outcomes

    @staticmethod
    def _run_with_savepoints(tx: Transaction, group: Group) -> list[Outcome]:
        """Run each unit in a savepoint of its own, so that the writes of a failed one can be undone alone."""
        outcomes: list[Outcome] = []
        for work, _future in group:
            tx.script("SAVEPOINT work")
            try:
                outcomes.append((work(tx), None))
            except Exception as error:
                if not tx.connection.in_transaction:
                    raise  # SQLite undid the whole group (disk full, I/O error)
                tx.script("ROLLBACK TO work")
                outcomes.append((None, translated(error)))
            tx.script("RELEASE work")
        return outcomes

    @staticmethod
    def _fail(group: Group, error: BaseException) -> None:
        for _work, future in group:
            if not future.done():
                future.set_exception(translated(error))


class PostgresWriter:
    """Thread pool that runs each unit of work in a transaction of its own, on all connections but those for reads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._statements = Statements(engine.dialect)
        threads = engine.pool.size() - RESERVED_FOR_READS  # type: ignore[attr-defined]
        self._executor = ThreadPoolExecutor(threads, "chatfeedback-writer")
        # Start all threads now. An executor that cannot start a thread at `submit` raises, yet runs the work later.
        started = threading.Event()
        try:
            for _ in range(threads):
                self._executor.submit(started.wait)
        finally:
            started.set()

    def submit(self, work: Work[T]) -> Future[T]:
        """Start the work on a free thread. Raises StoreUnavailable after `close`."""
        try:
            return self._executor.submit(self._run_with_retries, work)
        except RuntimeError:  # the executor was shut down, or the process ends
            raise StoreUnavailable(_CLOSED) from None

    def close(self) -> None:
        """Finish the queued work, then stop the threads."""
        self._executor.shutdown(wait=True)

    def _run_with_retries(self, work: Work[T]) -> T:
        unanswered: Exception | None = None
        for delay in (*RETRY_DELAYS, None):
            try:
                return self._run_once(work)
            except CommitUnanswered as unknown:
                # The work may be stored, whatever later attempts return: never report that it is not.
                unanswered = unknown.commit
                if delay is None:
                    raise translated(unanswered) from unknown
            except Exception as error:
                if delay is None or not is_transient(error):
                    if unanswered is not None:
                        raise translated(unanswered) from unanswered
                    if isinstance(error, ChatFeedbackError):
                        raise
                    raise translated(error) from error
            time.sleep(delay)  # a failover takes a moment
        raise AssertionError("the last attempt returns or raises")

    def _run_once(self, work: Work[T]) -> T:
        pooled = self._engine.raw_connection()
        try:
            tx = Transaction(pooled.driver_connection, self._statements)
            begin(tx, pooled)
            result = work(tx)
            self._commit(pooled.driver_connection)
            return result
        except BaseException as error:
            invalidate_if_lost(pooled, error)
            raise
        finally:
            return_to_pool(pooled, self._engine.dialect)

    def _commit(self, connection: Any) -> None:
        try:
            connection.commit()
        except Exception as error:
            if is_transient(error) and connection.broken:
                raise CommitUnanswered(error) from error
            raise


class CommitUnanswered(Exception):
    """A COMMIT was sent, and the connection ended before the answer: the outcome is unknown."""

    def __init__(self, commit: Exception) -> None:
        super().__init__("a commit was not answered")
        self.commit = commit

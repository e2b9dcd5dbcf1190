"""Who may write, and when a commit happens.

A piece of work is a function of a `Transaction`. `submit` returns at once with a future that is resolved only after
the commit that holds the work, or with the error that undid it; nothing of a failed piece stays behind. Work may be
run again from the start, so it must have no effect outside its transaction.

SQLite allows one writer at a time, and a commit costs a disk flush: one thread does all the writing and commits
whatever is waiting in one group (docs/adr/0005). When a piece fails that has written something, the whole group is
rolled back and run again with a savepoint for each piece. Postgres has no such limit: a few threads, one transaction
for each piece of work.
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
from chatfeedback.store.log.statements import Statements, Transaction, give_back, let_go_if_lost

T = TypeVar("T")
Work = Callable[[Transaction], T]
Group = list[tuple[Callable[[Transaction], Any], "Future[Any]"]]
Outcome = tuple[Any, BaseException | None]
"""Of a piece of work: its result, or why it was refused."""
GROUP_SIZE = 256
RETRY_DELAYS = (0.0, 0.1, 0.4)
"""Seconds before another attempt after a transient fault; as many attempts as pauses, and one before the first."""
RESERVED_FOR_READS = 3
"""Connections of the pool that the writer leaves alone, so that nobody waits for a slow commit to read."""

_CLOSED = "The store is closed; start chatfeedback again."


class Writer(Protocol):
    """What the store needs of a writer."""

    def submit(self, work: Work[T]) -> Future[T]:
        """Queues the work; the future raises what the work raised, or StoreUnavailable."""

    def close(self) -> None:
        """Finishes what is queued, then stops."""


def open_writer(engine: Engine) -> Writer:
    """The writer that fits the engine's database."""
    return SQLiteWriter(engine) if engine.dialect.name == "sqlite" else PostgresWriter(engine)


class SQLiteWriter:
    """One thread, one connection, group commit."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._statements = Statements(engine.dialect)
        # SimpleQueue is the one queue of the standard library that is implemented in C: a third of the cost.
        self._queue: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="chatfeedback-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T]) -> Future[T]:
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                raise StoreUnavailable(_CLOSED)
            self._queue.put((work, future))
        return future

    def close(self) -> None:
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
                self._engine.get_execution_options()["place"].check()
                self._commit_group(Transaction(pooled.driver_connection, self._statements), group)
            except BaseException as error:  # noqa: BLE001 - the thread must outlive any fault; the callers get it
                self._fail(group, error)
                if pooled is not None:
                    pooled.invalidate()
                    pooled = None
        if pooled is not None:
            pooled.close()

    def _next_group(self) -> Group | None:
        """What is waiting, and was not cancelled meanwhile; None when the writer was closed."""
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
            outcomes = self._run_apart(tx, group)
        tx.script("COMMIT")
        for (_work, future), (result, refusal) in zip(group, outcomes, strict=True):
            if refusal is None:
                future.set_result(result)
            else:
                future.set_exception(refusal)

    @staticmethod
    def _run_all(tx: Transaction, group: Group) -> list[Outcome] | None:
        """Run the pieces without savepoints; None if one failed that had written, so that all must run again.

        Two savepoint statements a piece would be a third of what a rating costs, and most pieces that fail have
        written nothing: a decision refuses before its first event.
        """
        outcomes: list[Outcome] = []
        for work, _future in group:
            written = tx.connection.total_changes
            try:
                outcomes.append((work(tx), None))
            except Exception as error:
                if not tx.connection.in_transaction:
                    raise  # SQLite undid the whole group (disk full, I/O error)
                if tx.connection.total_changes != written:
                    return None
                outcomes.append((None, translated(error)))
        return outcomes

    @staticmethod
    def _run_apart(tx: Transaction, group: Group) -> list[Outcome]:
        """Run each piece in a savepoint of its own, so that what a failed one has written can be undone alone."""
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
    """One transaction for each piece of work, on as many threads as the pool has connections to spare."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._statements = Statements(engine.dialect)
        threads = engine.pool.size() - RESERVED_FOR_READS  # type: ignore[attr-defined]
        self._executor = ThreadPoolExecutor(threads, "chatfeedback-writer")
        # All threads start now. An executor that cannot start one when it is given work refuses it, and does it later.
        started = threading.Event()
        try:
            for _ in range(threads):
                self._executor.submit(started.wait)
        finally:
            started.set()

    def submit(self, work: Work[T]) -> Future[T]:
        try:
            return self._executor.submit(self._attempt, work)
        except RuntimeError:  # it was shut down, or the process ends
            raise StoreUnavailable(_CLOSED) from None

    def close(self) -> None:
        self._executor.shutdown(wait=True)

    def _attempt(self, work: Work[T]) -> T:
        unanswered: Exception | None = None
        for pause in (*RETRY_DELAYS, None):
            try:
                return self._once(work)
            except CommitUnanswered as lost:
                # Whatever comes of further attempts: it may be stored, and nobody must be told that it is not.
                unanswered = lost.commit
                if pause is None:
                    raise translated(unanswered) from lost
            except Exception as error:
                if pause is None or not is_transient(error):
                    if unanswered is not None:
                        raise translated(unanswered) from unanswered
                    if isinstance(error, ChatFeedbackError):
                        raise
                    raise translated(error) from error
            time.sleep(pause)  # a server that fails over needs a moment
        raise AssertionError("the last attempt returns or raises")

    def _once(self, work: Work[T]) -> T:
        pooled = self._engine.raw_connection()
        try:
            result = work(Transaction(pooled.driver_connection, self._statements))
            self._commit(pooled.driver_connection)
            return result
        except BaseException as error:
            let_go_if_lost(pooled, error)
            raise
        finally:
            give_back(pooled, self._engine.dialect)

    def _commit(self, connection: Any) -> None:
        try:
            connection.commit()
        except Exception as error:
            if is_transient(error) and connection.broken:
                raise CommitUnanswered(error) from error
            raise


class CommitUnanswered(Exception):
    """A commit was asked for, and the connection ended before the answer."""

    def __init__(self, commit: Exception) -> None:
        super().__init__("a commit was not answered")
        self.commit = commit

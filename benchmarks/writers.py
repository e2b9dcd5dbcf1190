"""Latency and throughput with 64 concurrent writer threads.

Subject: each thread rates the reply of its own conversation through `EventStore`, as fast as it gets results. Baselines
insert a row of about 600 bytes, one commit per row, with the same pragmas: SQLAlchemy Core in its usual form (one
engine, its default pool, `engine.begin()`), and one sqlite3 connection behind a lock. The benchmark fails unless
afterwards every acknowledged rating is in the log, every row in its table, all connections have the pragmas, and
`db check` finds no problem.

    uv run python -m benchmarks.writers
"""

from __future__ import annotations

import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path

from sqlalchemy import Engine, MetaData, Table, create_engine, event, insert

from benchmarks._measure import Figure, Run, command, percentile
from benchmarks._premises import (
    DURABLE,
    events_by_kind,
    pragmas,
    require_durable,
    require_durable_store,
    require_equal,
    require_events,
)
from benchmarks._stores import RAW_INSERT, count_rows, open_raw, open_raw_table, open_store, raw_rows, url_of
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.store.accounts import annotators
from chatfeedback.store.database.engine import SQLITE_PRAGMAS
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.maintenance import check
from tests.conversation_builder import StoredTalk

THREADS = 64
POOL, LOCK, OURS = "SQLAlchemy's default pool", "raw sqlite3 behind a lock", "chatfeedback"
MakeAction = Callable[[], Callable[[], object]]
"""Function that makes the action of a thread, called once for each before the start."""


def measure(run: Run) -> list[Figure]:
    """Measure throughput and latency of the store and the baselines."""
    rounds, each = run.size(5, 1), run.size(200, 2)
    database, core = run.folder / "writers.db", run.folder / "writers-core.db"
    pool_engine, pool_pragmas = _default_pool(core)
    rates: dict[str, list[float]] = {POOL: [], LOCK: [], OURS: []}
    waits: dict[str, list[float]] = {POOL: [], LOCK: [], OURS: []}
    answered, errors = dict.fromkeys(rates, 0), dict.fromkeys(rates, 0)
    with open_store(database) as store, closing(open_raw_table(run.folder / "writers-raw.db")) as raw:
        lock = threading.Lock()
        ratings = _ratings(store)
        before = events_by_kind(store)
        core_actions = _through_core(pool_engine)
        subjects = {POOL: core_actions, LOCK: lambda: _behind_lock(raw, lock), OURS: lambda: next(ratings)}
        for _ in range(rounds):
            for name, make_action in subjects.items():
                seconds, durations, failed = _run_threads(make_action, each)
                rates[name].append(len(durations) / seconds)
                waits[name].append(percentile(durations, 0.99) * 1000)
                answered[name] += len(durations)
                errors[name] += failed
        pool_engine.dispose()
        require_equal(f"the errors of {OURS} and {LOCK}", errors[OURS] + errors[LOCK], 0)
        require_equal("the calls", [answered[name] + errors[name] for name in rates], [rounds * each * THREADS] * 3)
        require_events(store, before, {"message_rated": answered[OURS]})
        require_equal(f"the rows of {LOCK}", count_rows(raw), answered[LOCK])
        with closing(open_raw(core)) as core_table:
            require_equal(f"the rows of {POOL}", count_rows(core_table), answered[POOL])
        require_durable(LOCK, raw)
        require_durable_store(store)
    require_equal(f"the pragmas of the connections of {POOL}", set(pool_pragmas), {DURABLE})
    require_equal("the problems that db check finds", check(url_of(database)), [])
    if errors[POOL]:
        print(f"(errors of {POOL}: {errors[POOL]})")
    rate = {name: statistics.median(values) for name, values in rates.items()}
    p99 = {name: statistics.median(values) for name, values in waits.items()}
    many = f"{THREADS} writers"
    return [
        Figure(f"{many}, 99th percentile of the wait", p99[OURS], "ms", p99[POOL], POOL, at_most=0.1),
        Figure(f"{many}, ratings a second", rate[OURS], "/s", rate[POOL], POOL, at_least=3),
        Figure(f"{many}, ratings a second", rate[OURS], "/s", rate[LOCK], LOCK, at_least=1),
        Figure(f"{many}, 99th percentile of the wait", p99[OURS], "ms", p99[LOCK], LOCK),
    ]


def _default_pool(path: Path) -> tuple[Engine, list[tuple[str, int]]]:
    """Return a default SQLAlchemy engine on a new raw table, and the pragmas of every connection that it opens."""
    open_raw_table(path).close()
    engine, all_pragmas = create_engine(url_of(path)), list[tuple[str, int]]()

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in SQLITE_PRAGMAS:
            connection.execute(pragma)
        all_pragmas.append(pragmas(connection))

    return engine, all_pragmas


def _run_threads(make_action: MakeAction, each: int) -> tuple[float, list[float], int]:
    """Run `each` calls in each thread; return the total seconds, those of each success, and the number of failures."""
    durations: list[float] = []
    failures: list[Exception] = []
    start = threading.Barrier(THREADS + 1)

    def work(action: Callable[[], object]) -> None:
        start.wait()
        for _ in range(each):
            began = time.perf_counter()
            try:
                action()
            except Exception as error:  # noqa: BLE001 - all failures are counted
                failures.append(error)
            else:
                durations.append(time.perf_counter() - began)

    threads = [threading.Thread(target=work, args=(make_action(),)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began, durations, len(failures)


def _ratings(store: EventStore) -> Iterator[Callable[[], object]]:
    """Yield actions without end: each changes a rating, in the conversations by turns."""
    person = annotators.ensure(store.engine, "ada")
    actions = []
    for _ in range(THREADS):
        talk, votes = StoredTalk(store, person), cycle(["like", "dislike"])
        reply = talk.ask("What is a monad?", "A monoid in the category of endofunctors. " * 10)
        actions.append(lambda talk=talk, reply=reply, votes=votes: talk.rate(reply, person, RatingChange(next(votes))))
    return cycle(actions)


def _through_core(engine: Engine) -> MakeAction:
    table = Table("raw_events", MetaData(), autoload_with=engine)

    def make() -> Callable[[], object]:
        rows = raw_rows()

        def add() -> None:
            with engine.begin() as connection:
                connection.execute(insert(table), next(rows))

        return add

    return make


def _behind_lock(connection: sqlite3.Connection, lock: threading.Lock) -> Callable[[], object]:
    rows = raw_rows()

    def add() -> None:
        row = next(rows)
        with lock:
            connection.execute(RAW_INSERT, row)

    return add


if __name__ == "__main__":
    command(__doc__, measure)

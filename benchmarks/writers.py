"""64 threads write at once: how long the slowest wait, and how much gets through.

The subject: each thread rates the reply of its own conversation through the store's own door, as fast as it gets
answers. The baselines insert a row of about 600 bytes, one commit for each, with the same pragmas: SQLAlchemy Core as
most would write it (one engine, its default pool, `engine.begin()`), and one sqlite3 connection behind a lock.
Afterwards every answered rating must be in the log, and every row in its table, all connections must have the pragmas
and `db check` must be content, or the benchmark fails.

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
from benchmarks._stores import RAW_INSERT, open_raw, open_raw_table, opened, raw_rows, rows_of, url_of
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.store.accounts import annotators
from chatfeedback.store.database.engine import SQLITE_PRAGMAS
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.maintenance import check
from tests.conversation_builder import StoredTalk

THREADS = 64
POOL, LOCK, OURS = "SQLAlchemy's default pool", "raw sqlite3 behind a lock", "chatfeedback"
MakeAction = Callable[[], Callable[[], object]]
"""Called once for each thread, before the start."""


def measure(run: Run) -> list[Figure]:
    rounds, each = run.size(5, 1), run.size(200, 2)
    database, core = run.folder / "writers.db", run.folder / "writers-core.db"
    naive, seen = _default_pool(core)
    rates: dict[str, list[float]] = {POOL: [], LOCK: [], OURS: []}
    waits: dict[str, list[float]] = {POOL: [], LOCK: [], OURS: []}
    answered, errors = dict.fromkeys(rates, 0), dict.fromkeys(rates, 0)
    with opened(database) as store, closing(open_raw_table(run.folder / "writers-raw.db")) as raw:
        lock = threading.Lock()
        ratings = _ratings(store)
        before = events_by_kind(store)
        subjects = {POOL: _through_core(naive), LOCK: lambda: _behind_lock(raw, lock), OURS: lambda: next(ratings)}
        for _ in range(rounds):
            for name, make_action in subjects.items():
                seconds, taken, failed = _all_at_once(make_action, each)
                rates[name].append(len(taken) / seconds)
                waits[name].append(percentile(taken, 0.99) * 1000)
                answered[name] += len(taken)
                errors[name] += failed
        naive.dispose()
        require_equal(f"the errors of {OURS} and {LOCK}", errors[OURS] + errors[LOCK], 0)
        require_equal("the calls", [answered[name] + errors[name] for name in rates], [rounds * each * THREADS] * 3)
        require_events(store, before, {"message_rated": answered[OURS]})
        require_equal(f"the rows of {LOCK}", rows_of(raw), answered[LOCK])
        with closing(open_raw(core)) as written:
            require_equal(f"the rows of {POOL}", rows_of(written), answered[POOL])
        require_durable(LOCK, raw)
        require_durable_store(store)
    require_equal(f"the pragmas of the connections of {POOL}", set(seen), {DURABLE})
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
    """An engine as SQLAlchemy makes it, on a new raw table, and the pragmas of every connection that it opens."""
    open_raw_table(path).close()
    engine, seen = create_engine(url_of(path)), list[tuple[str, int]]()

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in SQLITE_PRAGMAS:
            connection.execute(pragma)
        seen.append(pragmas(connection))

    return engine, seen


def _all_at_once(make_action: MakeAction, each: int) -> tuple[float, list[float], int]:
    """The seconds it took all threads, the seconds of each call that succeeded, and how many failed."""
    taken: list[float] = []
    failures: list[Exception] = []
    start = threading.Barrier(THREADS + 1)

    def work(action: Callable[[], object]) -> None:
        start.wait()
        for _ in range(each):
            began = time.perf_counter()
            try:
                action()
            except Exception as error:  # noqa: BLE001 - whatever fails is counted
                failures.append(error)
            else:
                taken.append(time.perf_counter() - began)

    threads = [threading.Thread(target=work, args=(make_action(),)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began, taken, len(failures)


def _ratings(store: EventStore) -> Iterator[Callable[[], object]]:
    """Actions, without end: for each of the conversations in turn one that changes a rating."""
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

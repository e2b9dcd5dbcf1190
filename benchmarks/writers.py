"""64 threads write at once: how long the slowest wait, and how much gets through.

The subject: each thread rates the reply of its own conversation through the store's own door, as fast as it gets
answers. The baselines insert a row of about 600 bytes, one commit for each, with the same pragmas: SQLAlchemy Core as
most would write it (one engine, its default pool, `engine.begin()`), and one sqlite3 connection behind a lock.
Afterwards every answered rating must be in the log and `db check` must be content, or the benchmark fails.

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

from sqlalchemy import Engine, MetaData, Table, create_engine, event, func, insert, select

from benchmarks._measure import Figure, Run, command, percentile
from benchmarks._stores import RAW_INSERT, open_raw_table, opened, raw_rows, url_of
from chatfeedback.domain.decisions import RatingChange
from chatfeedback.store import admin, annotators
from chatfeedback.store.engine import SQLITE_PRAGMAS
from chatfeedback.store.event_store import EventStore
from chatfeedback.store.schema import events
from tests.talking import StoredTalk

THREADS = 64
POOL, LOCK, OURS = "SQLAlchemy's default pool", "raw sqlite3 behind a lock", "chatfeedback"
MakeAction = Callable[[], Callable[[], object]]
"""Called once for each thread, before the start."""


def measure(run: Run) -> list[Figure]:
    rounds, each = run.size(5, 1), run.size(200, 2)
    database = run.folder / "writers.db"
    raw = open_raw_table(run.folder / "writers-raw.db")
    naive = create_engine(url_of(run.folder / "writers-core.db"))
    open_raw_table(run.folder / "writers-core.db").close()
    event.listen(naive, "connect", lambda connection, _: [connection.execute(pragma) for pragma in SQLITE_PRAGMAS])
    rates: dict[str, list[float]] = {POOL: [], LOCK: [], OURS: []}
    waits: dict[str, list[float]] = {POOL: [], LOCK: [], OURS: []}
    errors = dict.fromkeys(rates, 0)
    with opened(database) as store, closing(raw):
        lock = threading.Lock()
        ratings = _ratings(store)
        before = _events(store)
        subjects = {POOL: _through_core(naive), LOCK: lambda: _behind_lock(raw, lock), OURS: lambda: next(ratings)}
        for _ in range(rounds):
            for name, make_action in subjects.items():
                seconds, taken, failed = _all_at_once(make_action, each)
                rates[name].append(len(taken) / seconds)
                waits[name].append(percentile(taken, 0.99) * 1000)
                errors[name] += failed
        naive.dispose()
        lost = rounds * each * THREADS - errors[OURS] - (_events(store) - before)
    problems = admin.check(url_of(database))
    if errors[OURS] or lost or problems:
        raise SystemExit(f"{errors[OURS]} errors, {lost} events lost, problems: {problems}")
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


def _events(store: EventStore) -> int:
    with store.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(events)).scalar_one()


if __name__ == "__main__":
    command(__doc__, measure)

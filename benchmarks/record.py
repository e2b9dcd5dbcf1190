"""Cost of recording one action after another from one caller, beside a plain insert of a row.

Subject: the whole of `EventStore.execute`: decision, event, projections, commit, and the result in the caller's thread.
Baseline: sqlite3 alone inserts a row of about 600 bytes into a table with the columns and indexes of the log, with the
same pragmas (WAL, synchronous=FULL), one commit per row. The benchmark fails unless both connections have the pragmas,
each action commits one transaction, and log and table have grown by exactly the recorded rows.

    uv run python -m benchmarks.record
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from itertools import cycle

from benchmarks._measure import Figure, Run, command, medians, warm_up
from benchmarks._premises import (
    events_by_kind,
    require_durable,
    require_durable_store,
    require_equal,
    require_events,
    require_one_commit,
)
from benchmarks._stores import RAW_INSERT, count_rows, open_raw_table, open_store, raw_rows
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.store.accounts import annotators
from chatfeedback.store.log.event_store import EventStore
from tests.conversation_builder import StoredTalk

BASELINE = "a raw sqlite3 insert"
RATING, PROMPT, END = "a rating", "a prompt with the start of its reply", "the end of a reply"
EVENTS = {RATING: ("message_rated",), PROMPT: ("message_sent", "reply_started"), END: ("reply_finished",)}
"""Events that each action adds to the log."""


def measure(run: Run) -> list[Figure]:
    """Measure each action, beside an insert."""
    rounds = run.size(2000, 20)
    with open_store(run.folder / "record.db") as store, closing(open_raw_table(run.folder / "record-raw.db")) as raw:
        rows, fresh = raw_rows(), list[str]()
        actions = _actions(store, fresh)
        for name, action in actions.items():
            require_one_commit(store, name, action, Counter(EVENTS[name]))
        before = events_by_kind(store)
        durations = medians({BASELINE: lambda: raw.execute(RAW_INSERT, next(rows)), **actions}, rounds)
        _require_all_recorded(store, raw, before, fresh, rounds + warm_up(rounds))
    baseline = durations.pop(BASELINE)
    return [
        Figure(f"Recording {name}", seconds * 1000, "ms", baseline * 1000, BASELINE, at_most=4)
        for name, seconds in durations.items()
    ]


def _actions(store: EventStore, fresh: list[str]) -> dict[str, Callable[[], object]]:
    """Return the actions by name: a rating that changes each time, and an exchange in one growing conversation.

    When this is long, the exchange continues in a new one, whose id is added to `fresh`.
    """
    person, votes, running = annotators.ensure(store.engine, "ada"), cycle(["like", "dislike"]), list[str]()
    rated, growing = StoredTalk(store, person), StoredTalk(store, person)
    reply = rated.ask("What is a monad?", "A monoid in the category of endofunctors. " * 10)
    growing.ask("What is a functor?", "A mapping between categories.")

    def send() -> None:
        running.append(growing.send("And what would be an example of that? " * 5))

    def finish() -> None:
        growing.finish(running.pop(), "An example is the list: " * 20)
        if len(growing.shown()) > 20:  # annotators start new conversations too
            growing.conversation_id = StoredTalk(store, person).conversation_id
            fresh.append(growing.conversation_id)

    return {RATING: lambda: rated.rate(reply, person, RatingChange(next(votes))), PROMPT: send, END: finish}


def _require_all_recorded(
    store: EventStore, raw: sqlite3.Connection, before: Counter[str], fresh: list[str], times: int
) -> None:
    """End the benchmark unless every action was recorded `times` times, and flushed."""
    started = sum(store.conversation(conversation_id) is not None for conversation_id in fresh)
    added = Counter({kind: times for kinds in EVENTS.values() for kind in kinds})
    require_events(store, before, added + Counter(conversation_started=started))
    require_equal("the rows of the baseline", count_rows(raw), times)
    require_durable("the baseline", raw)
    require_durable_store(store)


if __name__ == "__main__":
    command(__doc__, measure)

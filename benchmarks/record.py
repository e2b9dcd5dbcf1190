"""One caller records one action after another: what the whole way costs, beside the bare insert of a row.

The subject is the store's own door (`EventStore.execute`): decision, event, projections, commit, and the answer back
in the caller's thread. The baseline is sqlite3 alone, which inserts a row of about 600 bytes into a table with the
columns and indexes of the log, with the same pragmas (WAL, synchronous=FULL), one commit for each. The pragmas are read
back on both; each action must commit one transaction, and log and table must have grown by just what was recorded, or
the benchmark fails.

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
from benchmarks._stores import RAW_INSERT, open_raw_table, opened, raw_rows, rows_of
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.store.accounts import annotators
from chatfeedback.store.log.event_store import EventStore
from tests.conversation_builder import StoredTalk

BASELINE = "a raw sqlite3 insert"
RATING, PROMPT, END = "a rating", "a prompt with the start of its reply", "the end of a reply"
EVENTS = {RATING: ("message_rated",), PROMPT: ("message_sent", "reply_started"), END: ("reply_finished",)}
"""The events that each action adds to the log."""


def measure(run: Run) -> list[Figure]:
    rounds = run.size(2000, 20)
    with opened(run.folder / "record.db") as store, closing(open_raw_table(run.folder / "record-raw.db")) as raw:
        rows, fresh = raw_rows(), list[str]()
        actions = _actions(store, fresh)
        for name, action in actions.items():
            require_one_commit(store, name, action, Counter(EVENTS[name]))
        before = events_by_kind(store)
        taken = medians({BASELINE: lambda: raw.execute(RAW_INSERT, next(rows)), **actions}, rounds)
        _require_all_recorded(store, raw, before, fresh, rounds + warm_up(rounds))
    baseline = taken.pop(BASELINE)
    return [
        Figure(f"Recording {name}", seconds * 1000, "ms", baseline * 1000, BASELINE, at_most=4)
        for name, seconds in taken.items()
    ]


def _actions(store: EventStore, fresh: list[str]) -> dict[str, Callable[[], object]]:
    """The actions by name: a rating that changes each time, and an exchange, which goes on in one conversation.

    When that is long, it goes on in a new one, whose id is added to `fresh`.
    """
    person, votes, running = annotators.ensure(store.engine, "ada"), cycle(["like", "dislike"]), list[str]()
    rated, growing = StoredTalk(store, person), StoredTalk(store, person)
    reply = rated.ask("What is a monad?", "A monoid in the category of endofunctors. " * 10)
    growing.ask("What is a functor?", "A mapping between categories.")

    def send() -> None:
        running.append(growing.send("And what would be an example of that? " * 5))

    def finish() -> None:
        growing.finish(running.pop(), "An example is the list: " * 20)
        if len(growing.shown()) > 20:  # people start anew, and so do these
            growing.conversation_id = StoredTalk(store, person).conversation_id
            fresh.append(growing.conversation_id)

    return {RATING: lambda: rated.rate(reply, person, RatingChange(next(votes))), PROMPT: send, END: finish}


def _require_all_recorded(
    store: EventStore, raw: sqlite3.Connection, before: Counter[str], fresh: list[str], times: int
) -> None:
    """End the benchmark unless every action was recorded so many times, and flushed."""
    started = sum(store.conversation(conversation_id) is not None for conversation_id in fresh)
    added = Counter({kind: times for kinds in EVENTS.values() for kind in kinds})
    require_events(store, before, added + Counter(conversation_started=started))
    require_equal("the rows of the baseline", rows_of(raw), times)
    require_durable("the baseline", raw)
    require_durable_store(store)


if __name__ == "__main__":
    command(__doc__, measure)

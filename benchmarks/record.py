"""One caller records one action after another: what the whole way costs, beside the bare insert of a row.

The subject is the store's own door (`EventStore.execute`): decision, event, projections, commit, and the answer back
in the caller's thread. The baseline is sqlite3 alone, which inserts a row of about 600 bytes into a table with the
columns and indexes of the log, with the same pragmas (WAL, synchronous=FULL), one commit for each.

    uv run python -m benchmarks.record
"""

from __future__ import annotations

from contextlib import closing
from itertools import cycle

from benchmarks._measure import Figure, Run, command, medians
from benchmarks._stores import RAW_INSERT, open_raw_table, opened, raw_rows
from chatfeedback.domain.decisions import RatingChange
from chatfeedback.store import annotators
from tests.talking import StoredTalk

BASELINE = "a raw sqlite3 insert"


def measure(run: Run) -> list[Figure]:
    rows, votes = raw_rows(), cycle(["like", "dislike"])
    with opened(run.folder / "record.db") as store, closing(open_raw_table(run.folder / "record-raw.db")) as raw:
        person = annotators.ensure(store.engine, "ada")
        rated, growing = StoredTalk(store, person), StoredTalk(store, person)
        reply = rated.ask("What is a monad?", "A monoid in the category of endofunctors. " * 10)
        running = []

        def send() -> None:
            running.append(growing.send("And what would be an example of that? " * 5))

        def finish() -> None:
            growing.finish(running.pop(), "An example is the list: " * 20)
            if len(growing.shown()) > 20:  # people start anew, and so do these
                growing.conversation_id = StoredTalk(store, person).conversation_id

        taken = medians(
            {
                BASELINE: lambda: raw.execute(RAW_INSERT, next(rows)),
                "a rating": lambda: rated.rate(reply, person, RatingChange(next(votes))),
                "a prompt with the start of its reply": send,
                "the end of a reply": finish,
            },
            rounds=run.size(2000, 20),
        )
    baseline = taken.pop(BASELINE)
    return [
        Figure(f"Recording {name}", seconds * 1000, "ms", baseline * 1000, BASELINE, at_most=4)
        for name, seconds in taken.items()
    ]


if __name__ == "__main__":
    command(__doc__, measure)

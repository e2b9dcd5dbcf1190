"""What recording costs when half a million events are stored already, beside an empty database.

The same actions on both, in turns: a whole exchange in a new conversation (prompt, reply, rating: three commits), and
a change of rating somewhere in the conversations that are there already, for which the small database has a hundredth
of the events of the large one. The cache of conversations is off: it would hold all of the small one.

    uv run python -m benchmarks.growth
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import select

from benchmarks._measure import Figure, Run, command, medians
from benchmarks._stores import opened, populated
from chatfeedback.domain.decisions import RatingChange
from chatfeedback.store import annotators, event_store
from chatfeedback.store.event_store import EventStore
from chatfeedback.store.schema import messages
from tests.talking import StoredTalk

EVENTS = 500_000


def measure(run: Run) -> list[Figure]:
    size = run.size(EVENTS, 5_000)
    rounds = run.size(600, 10)
    # Copies: what is measured here must not be found by the next run.
    large = Path(shutil.copy(populated(run.data, size), run.folder / "large.db"))
    small = Path(shutil.copy(populated(run.data, size // 100), run.folder / "small.db"))
    with ExitStack() as stack:
        empty, few, many = (stack.enter_context(opened(path)) for path in (run.folder / "empty.db", small, large))
        exchange = medians({"empty": _exchange(empty), "many": _exchange(many)}, rounds)
        event_store.CACHED_CONVERSATIONS = 0
        rating = medians({"few": _rating(few), "many": _rating(many)}, rounds)
    name = f"at {size:,} events"
    return [
        Figure(
            f"An exchange {name}",
            exchange["many"] * 1000,
            "ms",
            exchange["empty"] * 1000,
            "an empty database",
            at_most=1.5,
        ),
        Figure(
            f"A rating in any conversation {name}",
            rating["many"] * 1000,
            "ms",
            rating["few"] * 1000,
            f"{size // 100:,} events",
            at_most=1.5,
        ),
    ]


def _exchange(store: EventStore) -> Callable[[], object]:
    person = annotators.ensure(store.engine, "ada")

    def exchange() -> None:
        talk = StoredTalk(store, person)
        reply = talk.ask("What is a monad?", "A monoid in the category of endofunctors. " * 10)
        talk.rate(reply, person, RatingChange("like"))

    return exchange


def _rating(store: EventStore) -> Callable[[], object]:
    person = annotators.ensure(store.engine, "ada")
    of_replies = select(messages.c.conversation_id, messages.c.message_id).where(
        messages.c.model.is_not(None), messages.c.text != ""
    )
    with store.engine.connect() as connection:
        replies = connection.execute(of_replies).all()
    chance, liked = random.Random(7), set()

    def rate() -> None:
        conversation_id, message_id = reply = chance.choice(replies)
        liked.symmetric_difference_update({reply})
        vote = RatingChange("like" if reply in liked else "dislike")
        StoredTalk(store, person, conversation_id).rate(message_id, person, vote)

    return rate


if __name__ == "__main__":
    command(__doc__, measure)

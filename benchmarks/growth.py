"""What recording costs when half a million events are stored already, beside an empty database.

The same actions on both, in turns: a whole exchange in a new conversation (prompt, reply, rating: three commits), and
a change of rating somewhere in the conversations that are there already, for which the small database has a hundredth
of the events of the large one. For the ratings the stores have no cache: it would hold all of the small one. How many
events there are is counted before and after, and that no conversation came from a cache, or the benchmark fails.

    uv run python -m benchmarks.growth
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select

from benchmarks._measure import Figure, Run, command, medians, warm_up
from benchmarks._premises import events_by_kind, require, require_equal, require_events
from benchmarks._stores import opened, populated
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.store.accounts import annotators
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.schema import messages, ratings
from tests.conversation_builder import StoredTalk

EVENTS = 500_000
EXCHANGE = ("conversation_started", "message_sent", "reply_started", "reply_finished", "message_rated")


def measure(run: Run) -> list[Figure]:
    size = run.size(EVENTS, 5_000)
    rounds = run.size(600, 10)
    # Copies: what is measured here must not be found by the next run.
    large = Path(shutil.copy(populated(run.data, size), run.folder / "large.db"))
    small = Path(shutil.copy(populated(run.data, size // 100), run.folder / "small.db"))
    with opened(run.folder / "empty.db") as empty, opened(large) as many:
        exchange = _exchanges(empty, many, size, rounds)
    with opened(small, cached_conversations=0) as few, opened(large, cached_conversations=0) as many:
        rating = _ratings(few, many, size, rounds)
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


def _exchanges(empty: EventStore, many: EventStore, size: int, rounds: int) -> dict[str, float]:
    before = {store: events_by_kind(store) for store in (empty, many)}
    require_equal("the events of the empty database", before[empty].total(), 0)
    _require_size(many, size)
    seconds = medians({"empty": _exchange(empty), "many": _exchange(many)}, rounds)
    for store, events in before.items():
        require_events(store, events, dict.fromkeys(EXCHANGE, rounds + warm_up(rounds)))
    return seconds


def _ratings(few: EventStore, many: EventStore, size: int, rounds: int) -> dict[str, float]:
    _require_size(few, size // 100)
    before = {store: events_by_kind(store) for store in (few, many)}
    seconds = medians({"few": _rating(few), "many": _rating(many)}, rounds)
    for store, events in before.items():
        require_events(store, events, {"message_rated": rounds + warm_up(rounds)})
    return seconds


def _require_size(store: EventStore, size: int) -> None:
    """End the benchmark unless the log has about this many events: the last conversation may go beyond it."""
    events = events_by_kind(store).total()
    require(size <= events < size + 200, f"{events} events are not about {size}")


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
    of_likes = select(ratings.c.message_id).where(ratings.c.value == "like", ratings.c.annotator_id == person)
    with store.engine.connect() as connection:
        replies = connection.execute(of_replies).all()
        liked = set(connection.execute(of_likes).scalars())
    chance = random.Random(7)

    def rate() -> None:
        conversation_id, message_id = chance.choice(replies)
        liked.symmetric_difference_update({message_id})
        vote = RatingChange("like" if message_id in liked else "dislike")  # another one than before, so it is stored
        StoredTalk(store, person, conversation_id).rate(message_id, person, vote)
        require(store.last_known(conversation_id) is None, "a rated conversation is kept in the cache")

    return rate


if __name__ == "__main__":
    command(__doc__, measure)

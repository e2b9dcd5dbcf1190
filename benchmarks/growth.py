"""Cost of recording with half a million stored events, beside an empty database.

The same actions run on both, in turns: a whole exchange in a new conversation (prompt, reply, rating: three commits),
and a changed rating in any existing conversation. For the ratings, the small database has a hundredth of the events
of the large one, and the stores have no cache, because it would hold all of the small one. The benchmark fails unless
the events before and after have the expected numbers, and no conversation comes from a cache.

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
from benchmarks._stores import open_store, populated
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.store.accounts import annotators
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.schema import messages, ratings
from tests.conversation_builder import StoredTalk

EVENTS = 500_000
EXCHANGE = ("conversation_started", "message_sent", "reply_started", "reply_finished", "message_rated")


def measure(run: Run) -> list[Figure]:
    """Measure an exchange and a rating on the large and the small database."""
    size = run.size(EVENTS, 5_000)
    rounds = run.size(600, 10)
    # Copies, so that the next run does not find the events of this one.
    large = Path(shutil.copy(populated(run.data, size), run.folder / "large.db"))
    small = Path(shutil.copy(populated(run.data, size // 100), run.folder / "small.db"))
    with open_store(run.folder / "empty.db") as empty, open_store(large) as many:
        exchange = _exchanges(empty, many, size, rounds)
    with open_store(small, cached_conversations=0) as few, open_store(large, cached_conversations=0) as many:
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
    """End the benchmark unless the log has about this many events; the last conversation may exceed the number."""
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
    select_replies = select(messages.c.conversation_id, messages.c.message_id).where(
        messages.c.model.is_not(None), messages.c.text != ""
    )
    select_likes = select(ratings.c.message_id).where(ratings.c.value == "like", ratings.c.annotator_id == person)
    with store.engine.connect() as connection:
        replies = connection.execute(select_replies).all()
        liked = set(connection.execute(select_likes).scalars())
    rng = random.Random(7)

    def rate() -> None:
        conversation_id, message_id = rng.choice(replies)
        liked.symmetric_difference_update({message_id})
        vote = RatingChange("like" if message_id in liked else "dislike")  # differs from the last one, so it is stored
        StoredTalk(store, person, conversation_id).rate(message_id, person, vote)
        require(store.cached_conversation(conversation_id) is None, "a rated conversation is kept in the cache")

    return rate


if __name__ == "__main__":
    command(__doc__, measure)

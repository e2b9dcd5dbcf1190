"""Loading a conversation of 200 messages that is not cached.

Subject: `EventStore.conversation` of a store without a cache, on a warm connection pool. It returns all messages with
their parameters, and the ratings, as objects. Baseline: sqlite3 alone fetches the same rows. The benchmark fails unless
every call builds the conversation anew, from five SELECTs and as many rows as the baseline reads.

    uv run python -m benchmarks.opening
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

from benchmarks._measure import Figure, Run, command, medians
from benchmarks._premises import require, require_equal, traced_readers
from benchmarks._stores import open_raw, open_store
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.store.accounts import annotators
from chatfeedback.store.log.event_store import EventStore
from tests.conversation_builder import StoredTalk

BASELINE = "reading the same rows with sqlite3"
SELECTS = 5
"""SELECTs of one load: the version, the conversation, its messages, their ratings, and the reasons of these."""
_ROWS = (
    "SELECT * FROM conversations WHERE conversation_id = ?",
    "SELECT * FROM messages WHERE conversation_id = ? ORDER BY version",
    "SELECT * FROM ratings WHERE conversation_id = ?",
    "SELECT r.* FROM rating_reasons r JOIN ratings USING (message_id, annotator_id) WHERE conversation_id = ?",
)


def measure(run: Run, cached_conversations: int = 0) -> list[Figure]:
    """Measure a load, beside reading the same rows."""
    database, messages = run.folder / "opening.db", run.size(200, 10)
    with open_store(database, cached_conversations) as store, closing(open_raw(database)) as raw:
        conversation_id = _talk(store, messages)
        read, load = _reading(raw, conversation_id), _loading(store, conversation_id)
        rounds = run.size(400, 5)
        _require_same_rows(store, load, read, messages)
        seconds = medians({"open": load, "read": read}, rounds)
        _require_same_rows(store, load, read, messages)
    return [
        Figure(
            f"Opening a conversation of {messages} messages",
            seconds["open"] * 1000,
            "ms",
            seconds["read"] * 1000,
            BASELINE,
            at_most=5,
        )
    ]


def _talk(store: EventStore, messages: int) -> str:
    """Store a conversation of `messages` messages, with a rating on every other reply; return its id."""
    person = annotators.ensure(store.engine, "ada")
    talk = StoredTalk(store, person)
    for turn in range(messages // 2):
        reply = talk.ask("And what would be an example? " * 4, "An example is the list: " * 40)
        if turn % 2:
            talk.rate(reply, person, RatingChange("like", {"accurate": True}))
    return talk.conversation_id


def _loading(store: EventStore, conversation_id: str) -> Callable[[], Conversation]:
    newest: Conversation | None = None

    def load() -> Conversation:
        nonlocal newest
        before, newest = newest, store.conversation(conversation_id)
        require(newest is not None, "the conversation is not found")
        assert newest is not None
        cached = newest is before or store.cached_conversation(conversation_id) is not None
        require(not cached, "the conversation comes from a cache")
        return newest

    return load


def _reading(raw: sqlite3.Connection, conversation_id: str) -> Callable[[], int]:
    def read() -> int:
        raw.execute("BEGIN")
        rows = [raw.execute(query, (conversation_id,)).fetchall() for query in _ROWS]
        raw.execute("ROLLBACK")
        return sum(map(len, rows))

    return read


def _require_same_rows(
    store: EventStore, load: Callable[[], Conversation], read: Callable[[], int], messages: int
) -> None:
    with traced_readers(store.engine) as statements:
        conversation = load()
    require_equal("the SELECTs of an opening", sum(text.startswith("SELECT") for text in statements), SELECTS)
    require_equal("the messages of the conversation", len(conversation.messages), messages)
    reasons = sum(len(rating.reasons) for rating in conversation.ratings.values())
    built = 1 + len(conversation.messages) + len(conversation.ratings) + reasons
    require_equal("the rows that an opening reads", built, read())


if __name__ == "__main__":
    command(__doc__, measure)

"""Opening a conversation of 200 messages that nobody has opened lately.

The subject: `EventStore.conversation`, with the cache of conversations switched off, on a warm connection pool: all
messages with what made them, and the ratings, as objects. The baseline: sqlite3 alone fetches the same rows.

    uv run python -m benchmarks.opening
"""

from __future__ import annotations

from contextlib import closing

from benchmarks._measure import Figure, Run, command, medians
from benchmarks._stores import open_raw, opened
from chatfeedback.domain.decisions import RatingChange
from chatfeedback.store import annotators, event_store
from tests.talking import StoredTalk

BASELINE = "reading the same rows with sqlite3"
_ROWS = (
    "SELECT * FROM conversations WHERE conversation_id = ?",
    "SELECT * FROM messages WHERE conversation_id = ? ORDER BY version",
    "SELECT * FROM ratings WHERE conversation_id = ?",
    "SELECT r.* FROM rating_reasons r JOIN ratings USING (message_id, annotator_id) WHERE conversation_id = ?",
)


def measure(run: Run) -> list[Figure]:
    database, messages = run.folder / "opening.db", run.size(200, 10)
    event_store.CACHED_CONVERSATIONS = 0  # every opening is a first one
    with opened(database) as store:
        person = annotators.ensure(store.engine, "ada")
        talk = StoredTalk(store, person)
        for turn in range(messages // 2):
            reply = talk.ask("And what would be an example? " * 4, "An example is the list: " * 40)
            if turn % 2:
                talk.rate(reply, person, RatingChange("like", ("accurate",)))
        with closing(open_raw(database)) as raw:

            def read() -> None:
                raw.execute("BEGIN")
                rows = [raw.execute(query, (talk.conversation_id,)).fetchall() for query in _ROWS]
                raw.execute("ROLLBACK")
                assert len(rows[1]) == messages

            def open_it() -> None:
                conversation = store.conversation(talk.conversation_id)
                assert conversation is not None and len(conversation.messages) == messages

            seconds = medians({"open": open_it, "read": read}, rounds=run.size(400, 5))
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


if __name__ == "__main__":
    command(__doc__, measure)

"""List of conversations in the sidebar."""

from __future__ import annotations

from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.projections import listing
from conversation_builder import People, StoredTalk


def test_latest_lists_own_conversations_newest_first(store: EventStore, people: People) -> None:
    others = [StoredTalk(store, people.ada) for _ in range(3)]
    for number, other in enumerate(others):
        other.ask(f"Talk {number}", "Yes")
    StoredTalk(store, people.bob).ask("Of somebody else", "Yes")
    others[0].ask("More", "No")
    with store.reading() as tx:
        assert [line.title for line in listing.latest(tx, people.ada, 10)] == ["Talk 0", "Talk 2", "Talk 1"]
        assert [line.title for line in listing.latest(tx, people.ada, 1, offset=1)] == ["Talk 2"]
        assert listing.latest(tx, people.cyd, 10) == []

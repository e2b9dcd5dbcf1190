"""Load of concurrent conversations during other work on the database."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from sqlalchemy import text

from chatfeedback.domain.events import Event
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log.event_store import Decision, EventStore
from chatfeedback.store.maintenance import check
from conversation_builder import StoredTalk

THREADS = 4


class Load:
    """Ids of the events that the store has acknowledged."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._more = threading.Condition()
        self._acknowledged: list[str] = []

    def add(self, events: Sequence[Event]) -> None:
        with self._more:
            self._acknowledged += [event.event_id for event in events]
            self._more.notify_all()

    def acknowledged(self) -> set[str]:
        """Return the ids of the events so far."""
        with self._more:
            return set(self._acknowledged)

    def wait_for_more(self, events: int) -> None:
        """Wait until this many more events are stored."""
        with self._more:
            target = len(self._acknowledged) + events
            assert self._more.wait_for(lambda: len(self._acknowledged) >= target, timeout=60)


class _Talk(StoredTalk):
    def __init__(self, store: EventStore, actor: str, load: Load) -> None:
        super().__init__(store, actor)
        self._load = load

    def do(self, decide: Decision, actor: str | None = None) -> tuple[Event, ...]:
        events = super().do(decide, actor)
        self._load.add(events)
        return events


@contextmanager
def load(store: EventStore, actor: str) -> Iterator[Load]:
    """Run threads that talk until the end of the block, each in one conversation after the other."""
    going = Load()

    def talk_on() -> None:
        while not going.ended.is_set():
            talk = _Talk(store, actor, going)
            reply = talk.retry(talk.ask("What is a river?", "Water " * 100))
            talk.finish(reply, "Much water")
            talk.rate(reply, actor, RatingChange("like", {"funny": True}, "Well said"))

    with ThreadPoolExecutor(THREADS) as threads:
        talking = [threads.submit(talk_on) for _ in range(THREADS)]
        try:
            going.wait_for_more(events=50)
            yield going
        finally:
            going.ended.set()
        for each in talking:
            each.result()


def assert_holds(url: str, acknowledged: set[str]) -> None:
    """Assert that the database is sound, and contains these events and no partial commit."""
    assert check(url) == []
    engine = open_engine(url)
    with engine.connect() as connection:
        stored = set(connection.scalars(text("SELECT event_id FROM events")))
        halves = connection.scalar(
            text(
                "SELECT count(*) FROM events AS sent WHERE kind = 'message_sent' AND NOT EXISTS (SELECT 1 FROM events"
                " AS begun WHERE begun.conversation_id = sent.conversation_id AND begun.version = sent.version + 1)"
            )
        )
    engine.dispose()
    assert acknowledged <= stored
    assert halves == 0

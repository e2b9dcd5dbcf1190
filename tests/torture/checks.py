"""Checks of the database after a kill of the application or of the database server.

Each acknowledged deed is in the log, once; what one command wrote is there whole or not at all; the log has only
grown; the projections are what a rebuild would make (`chatfeedback db check`); every conversation opens; each reply
without an end is in the drafts, and ends as interrupted with all that was stored of it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sqlalchemy import Column, Connection, Engine, select, text

from chatfeedback.domain.conversation.events import ReplyFinished
from chatfeedback.domain.conversation.evolve import fold
from chatfeedback.domain.events import Event
from chatfeedback.store.database import migrate
from chatfeedback.store.log.event_rows import event_from
from chatfeedback.store.log.writer import open_writer
from chatfeedback.store.maintenance import check
from chatfeedback.store.opening import open_event_store
from chatfeedback.store.schema import conversations, events, messages, reply_drafts
from torture.event_groups import half_applied, untrue_replies
from torture.ledger import Deed, Ledger, deeds_in

CHEAP_SECONDS = 1.0
"""A check of the whole database that costs more is made in every tenth round only."""
SEVERAL = 10


@dataclass(slots=True)
class Checks:
    """Checks of one run. Each returns a list of problems; empty if the database is sound."""

    url: str
    ledger: Ledger
    sent: Mapping[str, Sequence[str]]
    """Answers that the model sent, by prompt."""
    known: dict[str, list[Event]] = field(default_factory=dict)
    """The events of each conversation, as they were found last."""
    touched: list[str] = field(default_factory=list)
    """The conversations that the last check found changed."""
    orphans: dict[str, str] = field(default_factory=dict)
    """The replies of processes that were killed: what was stored of them when they died."""
    logged: Counter[Deed] = field(default_factory=Counter)
    _rounds: int = 0
    _cost: float = 0.0

    def after_kill(self, *, app_died: bool) -> list[str]:
        """Check what has changed since the last check; from time to time the whole database."""
        self._rounds += 1
        whole = self._cost < CHEAP_SECONDS or self._rounds % SEVERAL == 0
        with migrate.opened(self.url) as engine:
            problems = self._changes(engine, app_died=app_died)
            if self._rounds % SEVERAL == 1:
                problems += _integrity(engine)
        return problems + (self._whole() if whole else [])

    def at_the_end(self) -> list[str]:
        """Check everything, once no reply is being written any more."""
        with migrate.opened(self.url) as engine:
            problems = self._changes(engine, app_died=False, everything=True) + _integrity(engine)
        return problems + self._whole() + list(self._ends())

    def conversation_of(self, message_id: str) -> str | None:
        """Return the conversation of a reply; None if there is no such reply."""
        for conversation_id, its_events in self.known.items():
            if any(end.message_id == message_id for end in _ends_in(its_events)):
                return conversation_id
        return None

    def writing(self) -> int:
        """Return the number of replies that are not ended yet."""
        with migrate.opened(self.url) as engine, engine.connect() as connection:
            return len(connection.execute(select(messages.c.message_id).where(messages.c.status == "writing")).all())

    def _whole(self) -> list[str]:
        began = time.perf_counter()
        problems = check(self.url)
        self._cost = time.perf_counter() - began
        return problems

    def _changes(self, engine: Engine, *, app_died: bool, everything: bool = False) -> list[str]:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                versions = _pairs(connection, conversations.c.conversation_id, conversations.c.version)
                self.touched = [
                    one for one, version in versions.items() if everything or version != self._version_of(one)
                ]
                problems = [f"Conversation {one} is gone." for one in self.known.keys() - versions.keys()]
                found_events = _events(connection, None if everything else self.touched)
                problems += self._drafts(connection, app_died=app_died)
        problems += [f"There is no row of conversation {one}." for one in found_events.keys() - versions.keys()]
        for conversation_id, its_events in found_events.items():
            problems += [f"Conversation {conversation_id}: {one}" for one in self._conversation(its_events)]
        problems += self._opening(engine, found_events)
        surplus = self.ledger.surplus(self.logged)
        problems += [f"{_describe(deed)} is in the log {times} times too often." for deed, times in surplus.items()]
        problems += [
            f"{_describe(deed)} was acknowledged ({self.ledger.where[deed]}), and is not in the log."
            for deed in self.ledger.lost(self.logged)
        ]
        return problems

    def _version_of(self, conversation_id: str) -> int:
        return len(self.known.get(conversation_id, ()))

    def _conversation(self, its_events: list[Event]) -> Iterator[str]:
        """Yield the problems of the events of one conversation, and record them as known."""
        conversation_id = its_events[0].conversation_id
        before = self.known.get(conversation_id, [])
        if its_events[: len(before)] != before:
            yield "what was in the log is not there any more, or has changed."
        self.known[conversation_id] = its_events
        self.logged += Counter(deeds_in(its_events)) - Counter(deeds_in(before))
        yield from half_applied(its_events)
        yield from untrue_replies(its_events, self.sent)

    def _opening(self, engine: Engine, found_events: Mapping[str, list[Event]]) -> Iterator[str]:
        with closing(open_writer(engine)) as writer:
            store = open_event_store(engine, writer)
            for conversation_id, its_events in found_events.items():
                opened = store.conversation(conversation_id)
                if opened is None:
                    yield f"Conversation {conversation_id} does not open."
                elif opened.version == len(its_events) and opened != fold(conversation_id, its_events):
                    yield f"Conversation {conversation_id} opens as something else than its events add up to."

    def _drafts(self, connection: Connection, *, app_died: bool) -> list[str]:
        stored = _pairs(connection, reply_drafts.c.message_id, reply_drafts.c.text)
        writing = set(connection.scalars(select(messages.c.message_id).where(messages.c.status == "writing")))
        if app_died:
            # The application that lives now has not been asked for anything yet.
            self.orphans |= stored
        return [f"Reply {one} is neither ended nor in the drafts." for one in writing - stored.keys()] + [
            f"The draft of {one} belongs to no reply that is being written." for one in stored.keys() - writing
        ]

    def _ends(self) -> Iterator[str]:
        """Yield the problems of replies whose process was killed."""
        ends = {end.message_id: end for its_events in self.known.values() for end in _ends_in(its_events)}
        for message_id, text_so_far in self.orphans.items():
            end = ends.get(message_id)
            if end is None:
                yield f"Reply {message_id} was never ended."
            elif end.status != "interrupted" or not end.text.startswith(text_so_far):
                yield f"Reply {message_id} ended as {end.status} with {end.text!r}, stored was {text_so_far!r}."


def _ends_in(its_events: Sequence[Event]) -> Iterator[ReplyFinished]:
    return (event.body for event in its_events if isinstance(event.body, ReplyFinished))


def _pairs(connection: Connection, key: Column[str], value: Column[Any]) -> dict[str, Any]:
    return {row[0]: row[1] for row in connection.execute(select(key, value))}


def _events(connection: Connection, conversation_ids: list[str] | None) -> dict[str, list[Event]]:
    log = select(events).order_by(events.c.conversation_id, events.c.version)
    if conversation_ids is not None:
        log = log.where(events.c.conversation_id.in_(conversation_ids))
    rows = (event_from(tuple(row)) for row in connection.execute(log))
    return {one: list(its) for one, its in groupby(rows, key=lambda event: event.conversation_id)}


def _integrity(engine: Engine) -> list[str]:
    """Return the complaints of SQLite about its file."""
    if engine.dialect.name != "sqlite":
        return []
    with engine.connect() as connection:
        answers = [str(row[0]) for row in connection.execute(text("PRAGMA integrity_check"))]
    return [f"SQLite says: {one}" for one in answers if one != "ok"]


def _describe(deed: Deed) -> str:
    return f"“{' | '.join(deed)}”"

"""Event store: append to the log and read from it.

An append decides and stores in one transaction. It loads the current state of the conversation and passes it to a
decision. Then it stores the returned events and their projections, or nothing. So two writers cannot both act on the
same state.

Appends are idempotent, because event ids are generated before the first attempt. If the answer of a commit is lost, the
retry finds the events by these ids and returns them. It looks only after it has locked the conversation, because the
database server may still be executing the first commit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Engine, bindparam, insert, select

from chatfeedback.domain.conversation.events import ConversationErased
from chatfeedback.domain.conversation.evolve import evolve
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Body, Event
from chatfeedback.domain.feedback.events import MessageRated, RatingCleared
from chatfeedback.domain.types import new_id
from chatfeedback.errors import NO_CONVERSATION, EventIdReused, NotFound, StoreUnavailable, VersionTaken
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database.availability import Availability
from chatfeedback.store.database.clock import now
from chatfeedback.store.log.cache import CACHED_CONVERSATIONS, Cache
from chatfeedback.store.log.event_rows import event_from, event_row
from chatfeedback.store.log.projector import Projector, StateReader
from chatfeedback.store.log.statements import Statements, Transaction, reading
from chatfeedback.store.log.writer import Work, Writer
from chatfeedback.store.schema import events

T = TypeVar("T")
Decision = Callable[[Conversation], Sequence[Body]]
MAX_EVENTS_PER_COMMAND = 4
"""Upper bound on the events that one decision returns."""

_INSERT = insert(events)
_INSERT_RETURNING = _INSERT.returning(events.c.position)
_BY_ID = select(*events.c).where(events.c.event_id == bindparam("event_id"))
_BY_CONVERSATION = (
    select(*events.c).where(events.c.conversation_id == bindparam("of_conversation")).order_by(events.c.version)
)
_RATINGS = (
    select(*events.c)
    .where(
        events.c.conversation_id == bindparam("of_conversation"),
        events.c.message_id == bindparam("of_message"),
        events.c.actor_id == bindparam("of_actor"),
    )
    .order_by(events.c.version)
)
_RECEIPT = select(events.c.version).where(
    events.c.conversation_id == bindparam("of_conversation"), events.c.kind == bindparam("of_kind")
)


@dataclass(frozen=True, slots=True)
class Command:
    """A decision about one conversation, with all inputs that must stay the same when it is retried."""

    conversation_id: str
    actor_id: str
    decide: Decision
    occurred_at: datetime = field(default_factory=now)
    event_ids: tuple[str, ...] = field(default_factory=lambda: tuple(new_id() for _ in range(MAX_EVENTS_PER_COMMAND)))
    derived_ids: Mapping[str, str] = field(default_factory=dict)
    """Ids derived from the caller's input, by event kind; they replace generated ones."""


@dataclass(frozen=True, slots=True)
class Appended:
    """Result of an append: the stored events (empty if nothing changed) and the current conversation."""

    events: tuple[Event, ...]
    conversation: Conversation


OnCommit = Callable[[Sequence[Event], float], None]
"""Callback after a commit: its events, and the seconds from submission to commit. Called on any thread."""


class EventStore:
    """Append-only log of one database. `engine` must be at the newest schema.

    Args:
        engine: Engine of the database; the caller disposes of it.
        writer: Writer that commits the work.
        states: Reader of the current states of conversations.
        projectors: Projectors, called in this order by each append.
        lease_owner: Id of this process as the owner of the leases of its replies.
        on_commit: Callback after each commit of events.
        cached_conversations: Size of the cache; 0 reads each conversation from the database every time.
    """

    def __init__(
        self,
        engine: Engine,
        writer: Writer,
        *,
        states: StateReader,
        projectors: Sequence[Projector],
        lease_owner: str,
        on_commit: OnCommit | None = None,
        cached_conversations: int = CACHED_CONVERSATIONS,
    ) -> None:
        self.engine = engine
        self.writer = writer
        self.availability = Availability(self._probe)
        self._states = states
        self._projectors = tuple(projectors)
        self._on_commit = on_commit
        self._pending = 0
        self._pending_lock = threading.Lock()
        self.lease_owner = lease_owner
        self._statements = Statements(engine.dialect)
        self._insert = _INSERT if engine.dialect.name == "sqlite" else _INSERT_RETURNING
        self._cache = Cache(cached_conversations)

    # Writing

    def execute(self, command: Command) -> Future[Appended]:
        """Decide and append. Raises StoreUnavailable if the store is closed.

        The future raises the error of the decision, or a StoreError. If the conversation has been erased, it raises
        NotFound without calling the decision.
        """
        tried = False

        def work(tx: Transaction) -> Appended:
            nonlocal tried
            before = self._current(tx, command.conversation_id)
            if tried and (known := self._known(tx, command.event_ids)):
                return Appended(known, before)
            tried = True
            bodies = command.decide(before)
            new = tuple(
                Event(
                    command.derived_ids.get(body.KIND, event_id),
                    command.conversation_id,
                    version,
                    command.actor_id,
                    command.occurred_at,
                    body,
                )
                for version, (event_id, body) in enumerate(
                    zip(command.event_ids, bodies, strict=False), before.version + 1
                )
            )
            if len(new) != len(bodies):
                raise AssertionError(f"a decision returned more than {MAX_EVENTS_PER_COMMAND} events")
            return self._append(tx, before, new)

        return self._submit(work)

    def submit(self, work: Work[T]) -> Future[T]:
        """Queue other work, such as on a lease. Raises StoreUnavailable if the store is closed.

        The future raises the error of the work, or a StoreError.
        """
        with self._pending_lock:
            self._pending += 1
        try:
            future = self.writer.submit(work)
        except StoreUnavailable:
            self._work_done(None)
            raise
        future.add_done_callback(self._work_done)
        return future

    def append(self, new: Sequence[Event], expected_version: int) -> Future[Appended]:
        """Append events unchanged, all of one conversation.

        Idempotent: events that are stored with the same content are returned with the current conversation.

        Args:
            new: The events, in the order of their versions.
            expected_version: Version of the conversation before them.

        Returns:
            A future. It raises EventIdReused if an event id is stored with other content, VersionTaken if the
            conversation is not at `expected_version`, NotFound if it has been erased, or another StoreError.

        Raises:
            StoreUnavailable: The store is closed.
        """
        conversation_id = new[0].conversation_id

        def work(tx: Transaction) -> Appended:
            before = self._current(tx, conversation_id)
            if known := self._known(tx, [event.event_id for event in new]):
                if [_content(event) for event in known] != [_content(event) for event in new]:
                    raise EventIdReused(f"Event {known[0].event_id} is already stored with other content.")
                return Appended(known, before)
            if before.version != expected_version:
                raise VersionTaken(
                    f"Conversation {conversation_id} is at version {before.version}, not {expected_version}."
                )
            return self._append(tx, before, tuple(new))

        return self._submit(work)

    def _submit(self, work: Work[Appended]) -> Future[Appended]:
        submitted_at = time.perf_counter()

        def remember(future: Future[Appended]) -> None:
            # Cache only after the commit, never a state that may be rolled back.
            if not future.cancelled() and future.exception() is None:
                appended = future.result()
                self._cache.put(appended.conversation)
                if self._on_commit is not None:
                    self._on_commit(appended.events, time.perf_counter() - submitted_at)

        future = self.submit(work)
        future.add_done_callback(remember)
        return future

    def _work_done(self, future: Future[Any] | None) -> None:
        with self._pending_lock:
            self._pending -= 1
        if future is not None and not future.cancelled() and isinstance(error := future.exception(), StoreUnavailable):
            self.availability.failed(error)

    def _probe(self) -> None:
        """Write a lease and delete it in the same transaction."""
        message_id = new_id()

        def work(tx: Transaction) -> None:
            reply_leases.begin(tx, message_id, message_id, self.lease_owner, now())
            reply_leases.end(tx, message_id)

        self.writer.submit(work).result()

    def _append(self, tx: Transaction, before: Conversation, new: tuple[Event, ...]) -> Appended:
        if not new:
            return Appended((), before)
        recorded_at = now()
        stored = []
        for event in new:
            position = tx.inserted(self._insert, event_row(event, recorded_at))
            stored.append(
                Event(
                    event.event_id,
                    event.conversation_id,
                    event.version,
                    event.actor_id,
                    event.occurred_at,
                    event.body,
                    position,
                    recorded_at,
                )
            )
        after, changes = evolve(before, stored)
        for projector in self._projectors:
            projector.project(tx, before, after, changes, recorded_at)
        return Appended(tuple(stored), after)

    def _current(self, tx: Transaction, conversation_id: str) -> Conversation:
        version = self._states.lock_version(tx, conversation_id)
        if version is None:
            if tx.one(_RECEIPT, {"of_conversation": conversation_id, "of_kind": ConversationErased.KIND}):
                raise NotFound(NO_CONVERSATION)
            return Conversation(conversation_id)
        cached = self._cache.get(conversation_id, version)
        return cached or self._states.load(tx, conversation_id) or Conversation(conversation_id)

    def _known(self, tx: Transaction, event_ids: Iterable[str]) -> tuple[Event, ...]:
        rows = (tx.one(_BY_ID, {"event_id": event_id}) for event_id in event_ids)
        return tuple(event_from(row) for row in rows if row is not None)

    # Reading

    def conversation(self, conversation_id: str) -> Conversation | None:
        """Return the current state of a conversation; None if there is none. Raises StoreUnavailable."""
        with self.reading() as tx:
            version = self._states.version(tx, conversation_id)
            if version is None:
                return None
            cached = self._cache.get(conversation_id, version)
            conversation = cached or self._states.load(tx, conversation_id)
        if conversation is not None and cached is None:
            self._cache.put(conversation)
        return conversation

    def owner_and_version(self, conversation_id: str) -> tuple[str, int] | None:
        """Return the owner's id and the version; None if there is no such conversation. Raises StoreUnavailable."""
        with self.reading() as tx:
            return self._states.owner_and_version(tx, conversation_id)

    def cached_conversation(self, conversation_id: str) -> Conversation | None:
        """Return the cached state of a conversation, as this process last stored or read it, without a query."""
        return self._cache.newest(conversation_id)

    def events_of(self, conversation_id: str) -> list[Event]:
        """Return the events of one conversation, oldest first."""
        with self.reading() as tx:
            return [event_from(row) for row in tx.all(_BY_CONVERSATION, {"of_conversation": conversation_id})]

    def ratings_of(
        self, conversation_id: str, message_id: str, annotator_id: str
    ) -> list[MessageRated | RatingCleared]:
        """Return the ratings of one reply by one annotator, oldest first."""
        key = {"of_conversation": conversation_id, "of_message": message_id, "of_actor": annotator_id}
        with self.reading() as tx:
            bodies = [event_from(row).body for row in tx.all(_RATINGS, key)]
        return [body for body in bodies if isinstance(body, MessageRated | RatingCleared)]

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Open a read-only transaction. Raises StoreUnavailable."""
        try:
            with reading(self.engine, self._statements) as tx:
                yield tx
        except StoreUnavailable as error:
            self.availability.failed(error)
            raise

    @property
    def pending(self) -> int:
        """Number of units of work that wait for their commit."""
        return self._pending

    def close(self) -> None:
        """Finish the queued work, then refuse all writes. The caller disposes of the engine."""
        self.availability.close()
        self.writer.close()


def _content(event: Event) -> tuple[Any, ...]:
    return (event.conversation_id, event.version, event.actor_id, event.occurred_at, event.body)

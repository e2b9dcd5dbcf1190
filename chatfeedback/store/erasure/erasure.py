"""Erasure: the one sanctioned way around a log that only grows (docs/adr/0007).

A conversation is erased whole; an annotator with the conversations that are hers, her name and account, and what she
wrote in the conversations of others. Each erasure is one transaction, which keeps appends out, lifts the guards of the
log and puts them back before it commits: it has happened or it has not. What stays are receipts in the log, which hold
no content, and an entry in the audit. Versions and positions are never used again.

After the commit the files are cleaned of what databases leave behind (`cleaning`). Erasing what is erased already
only cleans, so an erasure whose cleaning was in somebody's way is finished by doing it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, text, update

from chatfeedback.domain.conversation.events import AnnotatorRedacted, ConversationErased, ConversationStarted
from chatfeedback.domain.events import Body, Event
from chatfeedback.domain.redaction import KINDS_WITH_WORDS, redacted
from chatfeedback.domain.types import new_id
from chatfeedback.errors import NotFound, StoreCorrupt
from chatfeedback.store.accounts.audit import record
from chatfeedback.store.database.clock import now
from chatfeedback.store.database.errors import translating
from chatfeedback.store.erasure import purge
from chatfeedback.store.log import append_only
from chatfeedback.store.log.event_store import NO_CONVERSATION, event_row
from chatfeedback.store.projections.rebuild import LOCK, delete_projections, rebuild_conversations
from chatfeedback.store.schema import (
    annotators,
    consents,
    events,
    identities,
    reply_drafts,
    sessions,
    users,
)

T = TypeVar("T")
_AT_ONCE = 200
"""Conversations that one statement is about."""
_ACCOUNT = (sessions, identities, consents, users)
"""What an annotator has besides her name, in the order in which foreign keys let it go."""
_REDACT = update(events).where(events.c.position == bindparam("at_position")).values(payload=bindparam("left"))


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure takes, or would take, away."""

    conversations: int = 0
    events: int = 0
    """Of these conversations."""
    redacted: int = 0
    """Events in the conversations of others that lose their words."""
    account: int = 0
    """The name of an annotator, and rows of her account: how she signs in, sessions, consents."""

    def __bool__(self) -> bool:
        """Whether there is anything to erase."""
        return bool(self.conversations or self.events or self.redacted or self.account)


class _Log(NamedTuple):
    """What the log has of a conversation that is to go."""

    owner_id: str
    events: int
    version: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that one erasure is about."""

    subject_id: str
    removed: dict[str, _Log] = field(default_factory=dict)
    """By conversation."""
    redacted: dict[str, dict[int, str]] = field(default_factory=dict)
    """By conversation: what is left of each payload, by position."""
    annotator_id: str | None = None
    account: int = 0

    @property
    def extent(self) -> Erased:
        return Erased(
            conversations=len(self.removed),
            events=sum(log.events for log in self.removed.values()),
            redacted=sum(map(len, self.redacted.values())),
            account=self.account,
        )


# Doors


def extent_of_conversation(engine: Engine, conversation_id: str) -> Erased:
    """What `erase_conversation` would take away. Raises NotFound, StoreError."""
    with translating(), engine.connect() as connection:
        return _conversation(connection, conversation_id).extent


def extent_of_annotator(engine: Engine, annotator_id: str) -> Erased:
    """What `erase_annotator` would take away. Raises NotFound, StoreError."""
    with translating(), engine.connect() as connection:
        return _annotator(connection, annotator_id).extent


def erase_conversation(engine: Engine, conversation_id: str, actor_id: str | None) -> Erased:
    """Erases all that is stored of a conversation. `actor_id`: who asked for it; None: whoever runs the command line.

    Raises NotFound for one that never was, StoreCorrupt when the log has lost a guard, StoreUnavailable when nothing
    could be erased or when the files could not be cleaned: the sentence says which.
    """
    plan = _erase(engine, lambda connection: _conversation(connection, conversation_id), actor_id)
    purge.vacuum(engine, f"--conversation {conversation_id}")
    return plan.extent


def erase_annotator(engine: Engine, annotator_id: str, actor_id: str | None) -> Erased:
    """Erases an annotator: her conversations, what she wrote in those of others, her name and her account.

    Raises as `erase_conversation` does, and StoreCorrupt for a conversation of others whose log does not add up.
    """

    def planned(connection: Connection) -> _Plan:
        # Whoever signs in at this moment gets a session before this, which goes, or none.
        hers = select(users.c.annotator_id).where(users.c.annotator_id == annotator_id)
        connection.execute(hers.with_for_update()).all()
        return _annotator(connection, annotator_id)

    plan = _erase(engine, planned, actor_id)
    purge.vacuum(engine, f"--annotator {annotator_id}")
    return plan.extent


# What is to go


def _conversation(connection: Connection, conversation_id: str) -> _Plan:
    log = events.c.conversation_id == conversation_id
    first = connection.execute(select(events.c.actor_id, events.c.kind).where(log).order_by(events.c.version)).first()
    if first is None:
        raise NotFound(NO_CONVERSATION)
    owner_id, kind = first
    if kind == ConversationErased.KIND:
        return _Plan(conversation_id)
    return _Plan(conversation_id, removed=_logs(connection, owner_id, [conversation_id]))


def _annotator(connection: Connection, annotator_id: str) -> _Plan:
    name = connection.scalar(select(annotators.c.name).where(annotators.c.annotator_id == annotator_id))
    if name is None:
        raise NotFound("There is no such annotator.")
    account = int(name != _nameless(annotator_id))
    for table in _ACCOUNT:
        owned = select(func.count()).select_from(table).where(table.c.annotator_id == annotator_id)
        account += connection.scalar(owned) or 0
    hers = list(
        connection.scalars(
            select(events.c.conversation_id)
            .where(events.c.kind == ConversationStarted.KIND, events.c.actor_id == annotator_id)
            .order_by(events.c.position)
        )
    )
    return _Plan(
        annotator_id,
        removed=_logs(connection, annotator_id, hers),
        redacted=_words(connection, annotator_id, set(hers)),
        annotator_id=annotator_id,
        account=account,
    )


def _nameless(annotator_id: str) -> str:
    return f"erased-{annotator_id[-12:]}"


def _logs(connection: Connection, owner_id: str, conversation_ids: Sequence[str]) -> dict[str, _Log]:
    query = select(events.c.conversation_id, func.count(), func.max(events.c.version)).group_by(
        events.c.conversation_id
    )
    return {
        conversation_id: _Log(owner_id, count, version)
        for some in _parts(conversation_ids)
        for conversation_id, count, version in connection.execute(query.where(events.c.conversation_id.in_(some)))
    }


def _words(connection: Connection, annotator_id: str, hers: set[str]) -> dict[str, dict[int, str]]:
    """What is left of the events with words of this annotator in conversations that are not hers."""
    query = (
        select(events.c.position, events.c.event_id, events.c.conversation_id, events.c.kind, events.c.payload)
        .where(events.c.kind.in_(KINDS_WITH_WORDS), events.c.actor_id == annotator_id)
        .order_by(events.c.position)
    )
    found: dict[str, dict[int, str]] = {}
    with connection.execute(query, execution_options={"yield_per": 1000}) as rows:
        for position, event_id, conversation_id, kind, payload in rows:
            if conversation_id in hers:
                continue
            try:
                left = redacted(kind, payload)
            except ValueError as error:
                raise StoreCorrupt(f"Event {event_id} cannot be read: {error}.") from error
            if left != payload:
                found.setdefault(conversation_id, {})[position] = left
    return found


# Erasing


def _erase(engine: Engine, planned: Callable[[Connection], _Plan], actor_id: str | None) -> _Plan:
    """One transaction: all of the plan or nothing."""
    with (
        translating(),
        engine.connect().execution_options(sqlite_begin="BEGIN IMMEDIATE") as connection,
        purge.secure_delete(connection),
        connection.begin(),
    ):
        if connection.dialect.name == "postgresql":
            connection.execute(text(LOCK))
        plan = planned(connection)
        if plan.extent:
            with append_only.lifted(connection):
                _remove(connection, list(plan.removed))
                for left in plan.redacted.values():
                    connection.execute(_REDACT, [{"at_position": at, "left": what} for at, what in left.items()])
            _leave_receipts(connection, plan)
            for some in _parts(list(plan.redacted)):
                rebuild_conversations(connection, some)
            if plan.annotator_id is not None:
                _forget(connection, plan.annotator_id)
            _record(connection, plan, actor_id)
        return plan


def _remove(connection: Connection, conversation_ids: Sequence[str]) -> None:
    for some in _parts(conversation_ids):
        delete_projections(connection, some)
        for table in (reply_drafts, events):
            connection.execute(delete(table).where(table.c.conversation_id.in_(some)))


def _leave_receipts(connection: Connection, plan: _Plan) -> None:
    receipts = [
        _receipt(conversation_id, log.version, log.owner_id, ConversationErased(events=log.events))
        for conversation_id, log in plan.removed.items()
    ]
    if plan.annotator_id is not None:
        standing = _logs(connection, plan.annotator_id, list(plan.redacted))
        receipts += [
            _receipt(conversation_id, standing[conversation_id].version, plan.annotator_id, AnnotatorRedacted(events=n))
            for conversation_id, n in ((one, len(left)) for one, left in plan.redacted.items())
        ]
    if receipts:
        connection.execute(insert(events), receipts)


def _receipt(conversation_id: str, after: int, actor_id: str, body: Body) -> dict[str, Any]:
    at = now()
    return event_row(Event(new_id(), conversation_id, after + 1, actor_id, at, body), at)


def _forget(connection: Connection, annotator_id: str) -> None:
    """Drops the account, and takes the name from the row that the log refers to."""
    for table in _ACCOUNT:
        connection.execute(delete(table).where(table.c.annotator_id == annotator_id))
    nameless = update(annotators).where(annotators.c.annotator_id == annotator_id)
    connection.execute(nameless.values(name=_nameless(annotator_id)))


def _record(connection: Connection, plan: _Plan, actor_id: str | None) -> None:
    extent = plan.extent
    record(
        connection,
        "conversation_erased" if plan.annotator_id is None else "annotator_erased",
        actor_id=actor_id,
        subject_id=plan.subject_id,
        conversations=extent.conversations,
        events=extent.events,
        redacted=extent.redacted,
    )


def _parts(whole: Sequence[T]) -> Iterator[Sequence[T]]:
    return (whole[start : start + _AT_ONCE] for start in range(0, len(whole), _AT_ONCE))

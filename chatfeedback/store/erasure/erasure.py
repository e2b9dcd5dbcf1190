"""Erasure: the one way to remove content from the append-only log (docs/adr/0007).

A conversation is erased whole. An annotator is erased with their conversations, their name and account, and what they
wrote in the conversations of others. Each erasure is one transaction: it keeps appends out, disables the triggers of
the log and restores them before the commit. Receipts without content stay in the log, and an entry in the audit.
Versions and positions are never reused.

After the commit the files are purged of remnants (`purge`). Erasing again only purges: so an erasure whose purge was
blocked is completed by a second run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, text, update

from chatfeedback.domain.conversation.events import AnnotatorRedacted, ConversationErased, ConversationStarted
from chatfeedback.domain.events import Body, Event
from chatfeedback.domain.redaction import KINDS_WITH_TEXT, redact
from chatfeedback.domain.types import new_id
from chatfeedback.errors import NO_CONVERSATION, NotFound, StoreCorrupt
from chatfeedback.store.accounts.audit import record
from chatfeedback.store.database.clock import now
from chatfeedback.store.database.errors import translating
from chatfeedback.store.erasure import purge
from chatfeedback.store.log import append_only
from chatfeedback.store.log.event_rows import event_row
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
_CONVERSATION_BATCH = 200
"""Conversations per statement."""
_ACCOUNT_TABLES = (sessions, identities, consents, users)
"""Tables with an annotator's account, in the order in which foreign keys allow deletion."""
_REDACT = (
    update(events).where(events.c.position == bindparam("at_position")).values(payload=bindparam("redacted_payload"))
)


@dataclass(frozen=True, slots=True)
class Erased:
    """Extent of an erasure, planned or done."""

    conversations: int = 0
    events: int = 0
    """Events of these conversations."""
    redacted: int = 0
    """Events in the conversations of others that lose their text."""
    account: int = 0
    """Rows of an annotator's account (identities, sessions, consents, user), and 1 for the name."""

    def __bool__(self) -> bool:
        """Return True if there is anything to erase."""
        return bool(self.conversations or self.events or self.redacted or self.account)


class _Log(NamedTuple):
    """Events of one conversation that is to be erased."""

    owner_id: str
    events: int
    version: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """Complete content of one erasure."""

    subject_id: str
    erased: dict[str, _Log] = field(default_factory=dict)
    """By conversation."""
    redacted: dict[str, dict[int, str]] = field(default_factory=dict)
    """By conversation: the remaining payload by position."""
    annotator_id: str | None = None
    account: int = 0

    @property
    def extent(self) -> Erased:
        return Erased(
            conversations=len(self.erased),
            events=sum(log.events for log in self.erased.values()),
            redacted=sum(map(len, self.redacted.values())),
            account=self.account,
        )


# Public functions


def extent_of_conversation(engine: Engine, conversation_id: str) -> Erased:
    """Return what `erase_conversation` would erase. Raises NotFound, StoreError."""
    with translating(), engine.connect() as connection:
        return _plan_conversation(connection, conversation_id).extent


def extent_of_annotator(engine: Engine, annotator_id: str) -> Erased:
    """Return what `erase_annotator` would erase. Raises NotFound, StoreError."""
    with translating(), engine.connect() as connection:
        return _plan_annotator(connection, annotator_id).extent


def erase_conversation(engine: Engine, conversation_id: str, actor_id: str | None) -> Erased:
    """Erase everything stored of a conversation; return the extent.

    Args:
        engine: Engine of the database.
        conversation_id: Id of the conversation.
        actor_id: Annotator id of the administrator; None for the command line.

    Raises:
        NotFound: There is no such conversation.
        StoreCorrupt: A trigger of the log is missing.
        StoreUnavailable: Nothing was erased, or the files were not purged; the message says which.
    """
    plan = _erase(engine, lambda connection: _plan_conversation(connection, conversation_id), actor_id)
    purge.vacuum(engine, f"--conversation {conversation_id}")
    return plan.extent


def erase_annotator(engine: Engine, annotator_id: str, actor_id: str | None) -> Erased:
    """Erase an annotator: conversations, text in the conversations of others, name and account; return the extent.

    Raises:
        NotFound: There is no such annotator.
        StoreCorrupt: As for `erase_conversation`, or the log of another's conversation cannot be folded.
        StoreUnavailable: As for `erase_conversation`.
    """

    def plan_locked(connection: Connection) -> _Plan:
        # Lock the user: a concurrent sign-in either has its session already, which is deleted, or gets none.
        user = select(users.c.annotator_id).where(users.c.annotator_id == annotator_id)
        connection.execute(user.with_for_update()).all()
        return _plan_annotator(connection, annotator_id)

    plan = _erase(engine, plan_locked, actor_id)
    purge.vacuum(engine, f"--annotator {annotator_id}")
    return plan.extent


# Planning


def _plan_conversation(connection: Connection, conversation_id: str) -> _Plan:
    log = events.c.conversation_id == conversation_id
    first = connection.execute(select(events.c.actor_id, events.c.kind).where(log).order_by(events.c.version)).first()
    if first is None:
        raise NotFound(NO_CONVERSATION)
    owner_id, kind = first
    if kind == ConversationErased.KIND:
        return _Plan(conversation_id)
    return _Plan(conversation_id, erased=_logs(connection, owner_id, [conversation_id]))


def _plan_annotator(connection: Connection, annotator_id: str) -> _Plan:
    name = connection.scalar(select(annotators.c.name).where(annotators.c.annotator_id == annotator_id))
    if name is None:
        raise NotFound("There is no such annotator.")
    account = int(name != _erased_name(annotator_id))
    for table in _ACCOUNT_TABLES:
        owned = select(func.count()).select_from(table).where(table.c.annotator_id == annotator_id)
        account += connection.scalar(owned) or 0
    own_ids = list(
        connection.scalars(
            select(events.c.conversation_id)
            .where(events.c.kind == ConversationStarted.KIND, events.c.actor_id == annotator_id)
            .order_by(events.c.position)
        )
    )
    return _Plan(
        annotator_id,
        erased=_logs(connection, annotator_id, own_ids),
        redacted=_redacted_payloads(connection, annotator_id, set(own_ids)),
        annotator_id=annotator_id,
        account=account,
    )


def _erased_name(annotator_id: str) -> str:
    return f"erased-{annotator_id[-12:]}"


def _logs(connection: Connection, owner_id: str, conversation_ids: Sequence[str]) -> dict[str, _Log]:
    query = select(events.c.conversation_id, func.count(), func.max(events.c.version)).group_by(
        events.c.conversation_id
    )
    return {
        conversation_id: _Log(owner_id, count, version)
        for batch in _batches(conversation_ids)
        for conversation_id, count, version in connection.execute(query.where(events.c.conversation_id.in_(batch)))
    }


def _redacted_payloads(connection: Connection, annotator_id: str, own_ids: set[str]) -> dict[str, dict[int, str]]:
    """Return the remaining payloads of events with this annotator's text in the conversations of others."""
    query = (
        select(events.c.position, events.c.event_id, events.c.conversation_id, events.c.kind, events.c.payload)
        .where(events.c.kind.in_(KINDS_WITH_TEXT), events.c.actor_id == annotator_id)
        .order_by(events.c.position)
    )
    payloads: dict[str, dict[int, str]] = {}
    with connection.execute(query, execution_options={"yield_per": 1000}) as rows:
        for position, event_id, conversation_id, kind, payload in rows:
            if conversation_id in own_ids:
                continue
            try:
                remaining = redact(kind, payload)
            except ValueError as error:
                raise StoreCorrupt(f"Event {event_id} cannot be read: {error}.") from error
            if remaining != payload:
                payloads.setdefault(conversation_id, {})[position] = remaining
    return payloads


# Erasing


def _erase(engine: Engine, make_plan: Callable[[Connection], _Plan], actor_id: str | None) -> _Plan:
    """Execute the plan in one transaction."""
    with (
        translating(),
        engine.connect().execution_options(sqlite_begin="BEGIN IMMEDIATE") as connection,
        purge.secure_delete(connection),
        connection.begin(),
    ):
        if connection.dialect.name == "postgresql":
            connection.execute(text(LOCK))
        plan = make_plan(connection)
        if plan.extent:
            with append_only.triggers_disabled(connection):
                _remove(connection, list(plan.erased))
                for payloads in plan.redacted.values():
                    connection.execute(
                        _REDACT,
                        [
                            {"at_position": position, "redacted_payload": payload}
                            for position, payload in payloads.items()
                        ],
                    )
            _append_receipts(connection, plan)
            for batch in _batches(list(plan.redacted)):
                rebuild_conversations(connection, batch)
            if plan.annotator_id is not None:
                _delete_account(connection, plan.annotator_id)
            _record(connection, plan, actor_id)
        return plan


def _remove(connection: Connection, conversation_ids: Sequence[str]) -> None:
    for batch in _batches(conversation_ids):
        delete_projections(connection, batch)
        for table in (reply_drafts, events):
            connection.execute(delete(table).where(table.c.conversation_id.in_(batch)))


def _append_receipts(connection: Connection, plan: _Plan) -> None:
    receipts = [
        _receipt(conversation_id, log.version, log.owner_id, ConversationErased(events=log.events))
        for conversation_id, log in plan.erased.items()
    ]
    if plan.annotator_id is not None:
        logs = _logs(connection, plan.annotator_id, list(plan.redacted))
        receipts += [
            _receipt(conversation_id, logs[conversation_id].version, plan.annotator_id, AnnotatorRedacted(events=n))
            for conversation_id, n in ((redacted_id, len(payloads)) for redacted_id, payloads in plan.redacted.items())
        ]
    if receipts:
        connection.execute(insert(events), receipts)


def _receipt(conversation_id: str, version: int, actor_id: str, body: Body) -> dict[str, Any]:
    instant = now()
    return event_row(Event(new_id(), conversation_id, version + 1, actor_id, instant, body), instant)


def _delete_account(connection: Connection, annotator_id: str) -> None:
    """Delete the account, and the name in the row that the log refers to."""
    for table in _ACCOUNT_TABLES:
        connection.execute(delete(table).where(table.c.annotator_id == annotator_id))
    row = update(annotators).where(annotators.c.annotator_id == annotator_id)
    connection.execute(row.values(name=_erased_name(annotator_id)))


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


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _CONVERSATION_BATCH] for start in range(0, len(items), _CONVERSATION_BATCH))

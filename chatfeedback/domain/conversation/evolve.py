"""Fold of the events of a conversation: the only place that defines the meaning of an event.

A conversation is a value here: `evolve` returns a new one and leaves the old one unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from chatfeedback.domain.conversation.events import (
    AlternativeChosen,
    AnnotatorRedacted,
    Assignment,
    ConversationCleared,
    ConversationErased,
    ConversationStarted,
    MessageEdited,
    MessageSent,
    ReplyFinished,
    ReplyRetried,
    ReplyStarted,
    TurnUndone,
)
from chatfeedback.domain.conversation.state import Conversation, Message, Outcome, Rating
from chatfeedback.domain.events import Body, Event
from chatfeedback.domain.feedback.events import MessageRated, RatingCleared

TITLE_LENGTH = 80


@dataclass(slots=True)
class Changes:
    """Parts of a conversation that a run of events touched, for the projections."""

    added: set[str] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    """Messages whose `shown` or `active_child_id` may differ."""
    rated: set[tuple[str, str]] = field(default_factory=set)


def evolve(before: Conversation, events: Iterable[Event]) -> tuple[Conversation, Changes]:
    """Return the conversation after `events`, and what they touched; `before` is not changed.

    Raises:
        ValueError: The events do not continue at the next version.
    """
    after = Conversation(  # by hand: `replace` looks up the fields each time
        before.conversation_id,
        before.annotator_id,
        before.title,
        before.version,
        before.tree_version,
        before.head_id,
        before.writing_id,
        before.started_at,
        before.updated_at,
        before.cleared_at,
        before.consent_version,
        before.assignment,
        dict(before.messages),
        dict(before.ratings),
        before.erased,
    )
    changes = Changes()
    for event in events:
        _apply(after, event, changes)
    return after, changes


def fold(conversation_id: str, events: Iterable[Event]) -> Conversation:
    """Return the conversation that these events, oldest first, fold to."""
    return evolve(Conversation(conversation_id), events)[0]


def _apply(state: Conversation, event: Event, changes: Changes) -> None:
    body = event.body
    if event.version != _next_version(state, body) or event.conversation_id != state.conversation_id:
        raise ValueError(f"event {event.event_id} does not follow version {state.version}")
    state.version = event.version
    if isinstance(body, AnnotatorRedacted):
        return  # a receipt changes no state
    state.updated_at = event.occurred_at
    match body:
        case ConversationStarted():
            state.annotator_id, state.started_at = event.actor_id, event.occurred_at
            state.consent_version = body.consent_version
            state.assignment = Assignment(study=body.study, condition=body.condition, external_id=body.external_id)
        case MessageSent() | MessageEdited():
            _add(state, _human_message(event, body), changes)
            if body.parent_id is None:
                state.title = _title(body.text)
        case ReplyStarted():
            _add(state, _reply_message(event, body), changes)
            state.writing_id = body.message_id
        case ReplyFinished():
            _finish(state, event, body, changes)
        case ReplyRetried():
            _move_head(state, state.messages[body.message_id].parent_id, changes)
        case TurnUndone():
            _move_head(state, state.messages[body.message_id].parent_id, changes)
        case AlternativeChosen():
            _move_head(state, state.tip(body.message_id), changes)
        case MessageRated() | RatingCleared():
            _rate(state, event, body, changes)
        case ConversationCleared():
            state.cleared_at = event.occurred_at
        case ConversationErased():
            state.annotator_id, state.erased = event.actor_id, True


def _next_version(state: Conversation, body: Body) -> int | None:
    """Return the version that this event must have; None if no event may follow."""
    if isinstance(body, ConversationErased):
        return body.events + 1 if state.version == 0 else None
    return None if state.erased else state.version + 1


def _title(text: str) -> str:
    line = " ".join(text[: 4 * TITLE_LENGTH].split())
    if not line:
        return "…"  # redacted: no prompt is empty
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1] + "…"


def _human_message(event: Event, body: MessageSent | MessageEdited) -> Message:
    return Message(
        message_id=body.message_id,
        version=event.version,
        role=body.role if isinstance(body, MessageEdited) else "user",
        author_id=event.actor_id,
        parent_id=body.parent_id,
        replaces_id=body.replaces_id if isinstance(body, MessageEdited) else None,
        text=body.text,
        altered=body.altered,
        status="complete",
        created_at=event.occurred_at,
        created_event_id=event.event_id,
    )


def _reply_message(event: Event, body: ReplyStarted) -> Message:
    return Message(
        message_id=body.message_id,
        version=event.version,
        role="assistant",
        author_id=None,
        parent_id=body.parent_id,
        replaces_id=body.replaces_id,
        text="",
        altered=False,
        status="writing",
        created_at=event.occurred_at,
        created_event_id=event.event_id,
        generation=body.generation,
    )


def _add(state: Conversation, message: Message, changes: Changes) -> None:
    state.messages[message.message_id] = message
    changes.added.add(message.message_id)
    _move_head(state, message.message_id, changes)


def _finish(state: Conversation, event: Event, body: ReplyFinished, changes: Changes) -> None:
    reply = state.messages[body.message_id]
    generation = reply.generation
    if body.sent_ids is not None and generation is not None:
        generation = replace(generation, sent_ids=body.sent_ids)
    outcome = Outcome(
        finished_at=event.occurred_at,
        finished_event_id=event.event_id,
        finish_reason=body.finish_reason,
        error=body.error,
        time_to_first_token=body.time_to_first_token,
        duration=body.duration,
        prompt_tokens=body.prompt_tokens,
        completion_tokens=body.completion_tokens,
        provenance=body.provenance,
    )
    state.messages[body.message_id] = replace(
        reply,
        text=body.text,
        altered=body.altered,
        status=body.status,
        generation=generation,
        outcome=outcome,
    )
    changes.finished.add(body.message_id)
    if state.writing_id == body.message_id:
        state.writing_id = None
    # A retry without text leaves the old reply on the screen. A reply edited by a human counts even if its text was
    # redacted since: a redaction must not move the head.
    old = state.messages.get(reply.replaces_id) if reply.replaces_id else None
    if not body.text and state.head_id == body.message_id and old is not None and (old.text or old.author_id):
        _move_head(state, old.message_id, changes)


def _move_head(state: Conversation, head_id: str | None, changes: Changes) -> None:
    """Move the head, and update `shown` and `active_child_id` of the messages on both paths."""
    messages, old_head = state.messages, state.head_id
    state.head_id, state.tree_version = head_id, state.version
    if head_id is not None and messages[head_id].parent_id == old_head:
        # The common case, a child of the head, costs the same at any length of the conversation.
        leaving: list[Message] = []
        entering = [messages[old_head], messages[head_id]] if old_head else [messages[head_id]]
    else:
        entering = state.thread(head_id)
        entering_ids = {message.message_id for message in entering}
        leaving = [message for message in state.thread(old_head) if message.message_id not in entering_ids]
    for message in leaving:
        _set_position(state, message, False, message.active_child_id, changes)
    for message, child in zip_longest(entering, entering[1:]):
        _set_position(state, message, True, child.message_id if child else None, changes)


def _set_position(state: Conversation, message: Message, shown: bool, child: str | None, changes: Changes) -> None:
    if message.shown != shown or message.active_child_id != child:
        state.messages[message.message_id] = Message(  # by hand, as in `evolve`: twice for each prompt
            message.message_id,
            message.version,
            message.role,
            message.author_id,
            message.parent_id,
            message.replaces_id,
            message.text,
            message.altered,
            message.status,
            message.created_at,
            message.created_event_id,
            message.generation,
            message.outcome,
            shown,
            child,
        )
        changes.moved.add(message.message_id)


def _rate(state: Conversation, event: Event, body: MessageRated | RatingCleared, changes: Changes) -> None:
    key = (body.message_id, event.actor_id)
    before = state.ratings.pop(key, None)
    changes.rated.add(key)
    value, reasons = (body.value, body.reasons) if isinstance(body, MessageRated) else (None, ())
    if value is None and not reasons and body.comment is None:
        return
    state.ratings[key] = Rating(
        value=value,
        reasons=reasons,
        comment=body.comment,
        created_at=before.created_at if before else event.occurred_at,
        updated_at=event.occurred_at,
        event_id=event.event_id,
    )

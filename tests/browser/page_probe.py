"""Events as text, one line each, so that a test can state the expected log word for word.

Messages are numbered in the order of their creation. A line has everything of an event that depends on the action; ids,
times, seeds and durations are left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from chatfeedback.domain.conversation.events import (
    AlternativeChosen,
    ConversationCleared,
    ConversationStarted,
    MessageEdited,
    MessageSent,
    ReplyFinished,
    ReplyRetried,
    ReplyStarted,
    TurnUndone,
)
from chatfeedback.domain.events import Body, Event
from chatfeedback.domain.feedback.events import MessageRated, RatingCleared


def told(events: Iterable[Event]) -> list[str]:
    """Return the events of one conversation as lines, oldest first."""
    numbers: dict[str | None, str] = {None: "the start"}
    return [f"{event.body.KIND}{_rest(event.body, numbers)}" for event in events]


def _rest(body: Body, numbers: dict[str | None, str]) -> str:
    if not isinstance(body, ConversationStarted | ConversationCleared):
        numbers.setdefault(body.message_id, str(len(numbers)))
        number = numbers[body.message_id]
    match body:
        case MessageSent():
            return f" {number} after {numbers[body.parent_id]}: {body.text}"
        case ReplyStarted():
            instead = f" instead of {numbers[body.replaces_id]}" if body.replaces_id else ""
            sent = " ".join(numbers[sent_id] for sent_id in body.generation.sent_ids)
            return f" {number} after {numbers[body.parent_id]}{instead}, {body.model} told {sent}"
        case ReplyFinished():
            error = f" ({body.error})" if body.error else ""
            return f" {number} {body.status}{error}: {body.text}"
        case MessageEdited():
            after = numbers[body.parent_id]
            return f" {number} after {after} instead of {numbers[body.replaces_id]} as {body.role}: {body.text}"
        case MessageRated():
            now = _rating(body.value, body.reasons, body.comment)
            before = _rating(body.previous_value, body.previous_reasons, body.previous_comment)
            return f" {number}: {before} -> {now}"
        case RatingCleared():
            now = _rating(None, (), body.comment)
            before = _rating(body.previous_value, body.previous_reasons, body.comment)
            return f" {number}: {before} -> {now}"
        case AlternativeChosen():
            return f" {number} instead of {numbers[body.previous_id]}"
        case ReplyRetried() | TurnUndone():
            return f" {number}"
        case _:
            return ""


def _rating(value: str | None, reasons: Iterable[str], comment: str | None) -> str:
    parts = [value or "", ", ".join(reasons), f"“{comment}”" if comment is not None else ""]
    return " ".join(part for part in parts if part) or "nothing"


def asked(*prompts: str) -> list[str]:
    """Return the expected lines for these prompts, each with its reply."""
    lines = ["conversation_started"]
    for at, prompt in enumerate(prompts):
        before, sent, reply = 2 * at, 2 * at + 1, 2 * at + 2
        earlier = " ".join(str(number) for number in range(1, sent + 1))
        lines += [
            f"message_sent {sent} after {before or 'the start'}: {prompt}",
            f"reply_started {reply} after {sent}, parrot told {earlier}",
            f"reply_finished {reply} complete: You said: {prompt}",
        ]
    return lines

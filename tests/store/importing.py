"""Events of another system, and their form for comparison with stored ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from chatfeedback.domain.conversation.events import ConversationStarted, MessageSent
from chatfeedback.domain.events import Body, Event
from chatfeedback.domain.types import new_id
from conversation_builder import People

LONG_AGO = datetime(2019, 4, 1, 12, 0, 0, 123456, tzinfo=UTC)


def imported(people: People, texts: list[str]) -> list[Event]:
    """Return the events of a conversation from another system."""
    conversation_id = new_id()
    bodies: list[Body] = [ConversationStarted()]
    parent_id = None
    for words in texts:
        message = MessageSent(message_id=new_id(), parent_id=parent_id, text=words)
        bodies.append(message)
        parent_id = message.message_id
    return [
        Event(new_id(), conversation_id, version, people.ada, LONG_AGO, body) for version, body in enumerate(bodies, 1)
    ]


def stored(events: tuple[Event, ...]) -> list[Event]:
    """Return the events without the fields that the store adds."""
    return [replace(event, position=None, recorded_at=None) for event in events]

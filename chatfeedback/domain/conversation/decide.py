"""Decisions on a conversation: each function returns the bodies of new events, or refuses by raising.

Decisions are pure, and return `()` if nothing changes. Whatever alters what is shown (send, retry, undo, edit, choose)
expects the `tree_version` that the annotator saw (`expected_version`; None: the current one). It raises Conflict for an
outdated page. Ratings and the end of a reply name a message instead, and Clear changes nothing that is shown: they
never conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from chatfeedback.domain.conversation.events import (
    UNASSIGNED,
    AlternativeChosen,
    Assignment,
    ConversationCleared,
    ConversationStarted,
    Generation,
    MessageEdited,
    MessageSent,
    ReplyFinished,
    ReplyRetried,
    ReplyStarted,
    TurnUndone,
)
from chatfeedback.domain.conversation.state import Conversation, Message
from chatfeedback.domain.events import Body
from chatfeedback.domain.types import MessageRole
from chatfeedback.errors import Conflict, InputError, NotFound, ReplyRunning

CHANGED_ELSEWHERE = "This conversation was changed in another tab; here is its newest state."


class ThreadMessage(NamedTuple):
    """A message as the model gets it."""

    message_id: str
    role: MessageRole
    text: str


Plan = Callable[[Sequence[ThreadMessage]], Generation]
"""Plans a generation from the thread to be answered, oldest first."""


def message_of(conversation: Conversation, message_id: str) -> Message:
    """Return the message with this id. Raises NotFound."""
    try:
        return conversation.messages[message_id]
    except KeyError:
        raise NotFound("There is no such message in this conversation.") from None


def thread_of(messages: Sequence[Message]) -> list[ThreadMessage]:
    """Return these messages as the model gets them: all that have a text."""
    return [ThreadMessage(m.message_id, m.role, m.text) for m in messages if m.text]


def send(
    conversation: Conversation,
    text: str,
    plan: Plan,
    *,
    message_id: str,
    reply_id: str,
    altered: bool = False,
    consent_version: str | None = None,
    assignment: Assignment = UNASSIGNED,
    event_id: str | None = None,
    viewed_id: str | None = None,
    expected_version: int | None,
) -> tuple[Body, ...]:
    """Return a prompt after what is on view and the start of its reply; also the start of a new conversation.

    Args:
        conversation: Current state; version 0 for a new conversation.
        text: The prompt.
        plan: Plans the generation.
        message_id: Id of the prompt.
        reply_id: Id of the reply.
        altered: Whether characters of the prompt were replaced.
        consent_version: Consent text that the annotator agreed to, for a new conversation.
        assignment: Study assignment, for a new conversation.
        event_id: Id of the prompt's event, if derived. Idempotent: if that event exists, nothing changes.
        viewed_id: Alternative of the last reply that the annotator views, if not the stored one; going on from it
            chooses it.
        expected_version: Tree version that the annotator saw; not checked if the event exists.

    Raises:
        InputError: `viewed_id` is not an alternative of the last reply.
        Conflict: The page is outdated, or a reply is running.
    """
    if event_id is not None and conversation.has_event(event_id):
        return ()
    _expect(conversation, expected_version)
    on_view, chosen = _on_view(conversation, viewed_id)
    sent = MessageSent(message_id=message_id, parent_id=on_view.head_id, text=text, altered=altered)
    start: tuple[Body, ...] = () if conversation.version else (_started(consent_version, assignment),)
    thread = [*thread_of(on_view.shown()), ThreadMessage(message_id, "user", text)]
    return (*start, *chosen, sent, _reply(message_id, plan(thread), reply_id))


def retry(
    conversation: Conversation,
    plan: Plan,
    *,
    message_id: str,
    reply_id: str,
    viewed_id: str | None = None,
    expected_version: int | None,
) -> tuple[Body, ...]:
    """Return the start of another reply beside `message_id`, which must be the last message on view.

    An alternative that is retried is not chosen: it was not good enough.
    """
    _expect(conversation, expected_version)
    reply = message_of(conversation, message_id)
    on_view, chosen = _on_view(conversation, viewed_id)
    if message_id != on_view.head_id or reply.role != "assistant" or reply.parent_id is None:
        raise InputError("Only the last reply can be retried.")
    generation = plan(thread_of(conversation.thread(reply.parent_id)))
    return (
        *(chosen if message_id != viewed_id else ()),
        ReplyRetried(message_id=message_id, model=reply.model),
        _reply(reply.parent_id, generation, reply_id, replaces_id=message_id),
    )


def undo(
    conversation: Conversation, *, viewed_id: str | None = None, expected_version: int | None
) -> tuple[*tuple[AlternativeChosen, ...], TurnUndone]:
    """Return the removal of the last prompt on view and what followed it; it chooses no alternative."""
    _expect(conversation, expected_version)
    on_view, chosen = _on_view(conversation, viewed_id)
    shown = on_view.shown()
    prompt = next((message for message in reversed(shown) if message.role == "user"), None)
    if prompt is None:
        raise InputError("There is nothing to undo.")
    undone = TurnUndone(message_id=prompt.message_id, model=shown[-1].model)
    return (*(chosen if on_view.head_id != viewed_id else ()), undone)


def edit(
    conversation: Conversation,
    text: str,
    plan: Plan,
    *,
    message_id: str,
    new_id: str,
    reply_id: str,
    altered: bool = False,
    viewed_id: str | None = None,
    expected_version: int | None,
) -> tuple[Body, ...]:
    """Return a human's version of a message on view; an edited prompt gets a new reply.

    Editing an alternative, or what follows it, chooses it.
    """
    _expect(conversation, expected_version)
    old = message_of(conversation, message_id)
    on_view, chosen = _on_view(conversation, viewed_id)
    if all(message is not old for message in on_view.shown()):
        raise InputError("Only a message on the screen can be edited.")
    if text == old.text:
        return ()
    edited = MessageEdited(
        message_id=new_id,
        replaces_id=message_id,
        parent_id=old.parent_id,
        role=old.role,
        text=text,
        altered=altered,
        model=old.model,
    )
    if old.shown:
        chosen = ()  # the message comes before the alternatives
    if old.role == "assistant":
        return (*chosen, edited)
    thread = [*thread_of(conversation.thread(old.parent_id)), ThreadMessage(new_id, "user", text)]
    return (*chosen, edited, _reply(new_id, plan(thread), reply_id))


def check_has_text(conversation: Conversation, message_id: str) -> None:
    """Check that a message has a text or a human author. Raises InputError: an error sentence is shown in its place."""
    message = message_of(conversation, message_id)
    if not message.text and message.author_id is None:
        raise InputError("This reply has no text that could be edited; press Retry for another one.")


def choose(
    conversation: Conversation, *, message_id: str, expected_version: int | None
) -> tuple[()] | tuple[AlternativeChosen]:
    """Return the choice of another alternative of the last reply to go on from; viewing one writes nothing."""
    _expect(conversation, expected_version)
    head = conversation.messages.get(conversation.head_id or "")
    chosen = message_of(conversation, message_id)
    if head is None or head.role != "assistant" or chosen not in conversation.alternatives(head.message_id):
        raise InputError("Only an alternative of the last reply can be chosen.")
    if chosen is head:
        return ()
    return (AlternativeChosen(message_id=message_id, previous_id=head.message_id, model=chosen.model),)


def clear(conversation: Conversation) -> tuple[Body, ...]:
    """Return the end of this conversation for the annotator; a running reply finishes by itself."""
    just_cleared = conversation.cleared_at is not None and conversation.cleared_at == conversation.updated_at
    return () if just_cleared or not conversation.version else (ConversationCleared(),)


def finish(conversation: Conversation, finished: ReplyFinished) -> tuple[Body, ...]:
    """Return the end of a reply; `()` if it has ended already.

    One exception: an owner that was declared dead while the store was unreachable, and returns with more text than was
    checkpointed.
    """
    reply = message_of(conversation, finished.message_id)
    came_back = reply.status == "interrupted" and len(finished.text) > len(reply.text)
    return (finished,) if reply.status == "writing" or came_back else ()


def _expect(conversation: Conversation, expected_version: int | None) -> None:
    if expected_version is not None and conversation.tree_version != expected_version:
        raise Conflict(CHANGED_ELSEWHERE)
    if conversation.writing_id is not None:
        raise ReplyRunning


def _started(consent_version: str | None, assignment: Assignment) -> ConversationStarted:
    return ConversationStarted(
        consent_version=consent_version,
        study=assignment.study,
        condition=assignment.condition,
        external_id=assignment.external_id,
    )


def _on_view(
    conversation: Conversation, viewed_id: str | None
) -> tuple[Conversation, tuple[()] | tuple[AlternativeChosen]]:
    """Return the conversation with its head where the annotator looks, and the event that would move it there."""
    if viewed_id is None or viewed_id == conversation.head_id:
        return conversation, ()
    chosen = choose(conversation, message_id=viewed_id, expected_version=None)
    return replace(conversation, head_id=conversation.tip(viewed_id)), chosen


def _reply(parent_id: str, generation: Generation, reply_id: str, replaces_id: str | None = None) -> ReplyStarted:
    return ReplyStarted(message_id=reply_id, parent_id=parent_id, replaces_id=replaces_id, generation=generation)

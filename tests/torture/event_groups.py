"""Checks on the events of one conversation by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from chatfeedback.domain.conversation.events import (
    ConversationStarted,
    MessageEdited,
    MessageSent,
    ReplyFinished,
    ReplyRetried,
    ReplyStarted,
)
from chatfeedback.domain.events import Event


def half_applied(log: Sequence[Event]) -> Iterator[str]:
    """Yield the events that are there without those that were written together with them, as sentences."""
    if [event.version for event in log] != list(range(1, len(log) + 1)):
        yield f"its versions are {[event.version for event in log]}."
    if not isinstance(log[0].body, ConversationStarted) or not isinstance(log[1:2][0].body, MessageSent):
        yield "it does not begin with its start and a prompt."
    ended: dict[str, list[ReplyFinished]] = {}
    for event, following in zip_longest(log, log[1:]):
        body = event.body
        if _asks(event) and not _belongs_to(following, event):
            yield f"version {event.version} ({body.KIND}) is not followed by the start of its reply."
        if isinstance(body, ReplyFinished):
            ended.setdefault(body.message_id, []).append(body)
    for message_id, ends in ended.items():
        # A process that was taken for dead and comes back with more text ends its reply a second time.
        if len(ends) > 1 and [one.status for one in ends[:-1]] != ["interrupted"]:
            yield f"reply {message_id} ended {len(ends)} times."


def _asks(event: Event) -> bool:
    body = event.body
    return isinstance(body, (MessageSent, ReplyRetried)) or (isinstance(body, MessageEdited) and body.role == "user")


def _belongs_to(following: Event | None, event: Event) -> bool:
    return (
        following is not None
        and isinstance(following.body, ReplyStarted)
        and (following.actor_id, following.occurred_at) == (event.actor_id, event.occurred_at)
    )


def untrue_replies(log: Sequence[Event], sent: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the ends of replies that the model did not send, as sentences. `sent`: prompt -> its answers, whole."""
    prompts = {e.body.message_id: e.body.text for e in log if isinstance(e.body, (MessageSent, MessageEdited))}
    prompt_ids = {e.body.message_id: e.body.parent_id for e in log if isinstance(e.body, ReplyStarted)}
    for ended in (event.body for event in log if isinstance(event.body, ReplyFinished)):
        answers = sent.get(prompts[prompt_ids[ended.message_id]], ())
        if ended.text and not any(answer.startswith(ended.text) for answer in answers):
            yield f"the text of reply {ended.message_id} is not what the model sent: {ended.text!r}."
        if ended.status == "complete" and ended.text not in answers:
            yield f"reply {ended.message_id} is called complete, and is not whole: {ended.text!r}."
        if ended.status == "failed":
            yield f"reply {ended.message_id} failed, though the model did not: {ended.error}"

"""Concurrent commands of three people, at random: the log and its projections always agree."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from chatfeedback.domain.conversation.events import ReplyFinished, ReplyStarted
from chatfeedback.domain.conversation.evolve import fold
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import Conflict, InputError, NotAllowed
from chatfeedback.inference.client import Endpoint
from chatfeedback.store.maintenance import check
from chatfeedback.store.projections import conversation as projections
from chatfeedback.store.schema import reply_drafts
from conversation_builder import People
from openai_server import Body, ScriptedServer
from services.service_harness import Room, open_room

EXAMPLES = 25
VALUES = (None, "", "like", "dislike")
REASONS = (None, {"funny": False}, {"accurate": True}, {"wrong": True, "funny": True, "accurate": False})
COMMENTS = (None, "", "Hm \0 \ud800 😀")


@dataclass(frozen=True)
class Step:
    """Command of one annotator in one conversation; `pick` selects the message."""

    annotator: int
    conversation_index: int
    command: str
    pick: int
    stale: bool


steps = st.builds(
    Step,
    annotator=st.integers(0, 2),
    conversation_index=st.integers(0, 1),
    command=st.sampled_from(
        ["send", "retry", "edit", "undo", "choose", "clear", "rate", "rate", "rate", "stop", "watch"]
    ),
    pick=st.integers(0, 10**6),
    stale=st.booleans(),
)
batches = st.lists(st.lists(steps, min_size=1, max_size=4), min_size=1, max_size=8)
"""Batches of concurrent commands, one batch after the other."""


def answer(_request: Body, number: int) -> str:
    """Return an empty text, which is a failure, for every third reply."""
    return "" if number % 3 == 0 else f"Answer {number}. " * (number % 40)


async def do(room: Room, step: Step, conversation: Conversation) -> object:
    """Run the step, with the tree version of the start of its batch where it is `stale`."""
    service, annotator, conversation_id = room.service, room.people[step.annotator], conversation.conversation_id
    expected_version = conversation.tree_version if step.stale else None
    message_id = list(conversation.messages)[step.pick % len(conversation.messages)]
    tip = conversation.head_id or message_id
    match step.command:
        case "send":
            return await service.send(
                annotator, conversation_id, f"Prompt {step.pick} \0", expected_version=expected_version
            )
        case "retry":
            return await service.retry(annotator, conversation_id, tip, expected_version=expected_version)
        case "edit":
            return await service.edit(
                annotator, conversation_id, message_id, f"Edited {step.pick}", expected_version=expected_version
            )
        case "undo":
            return await service.undo(annotator, conversation_id, expected_version=expected_version)
        case "choose":
            siblings = [message.message_id for message in conversation.alternatives(tip)] or [tip]
            return await service.choose(
                annotator, conversation_id, siblings[step.pick % len(siblings)], expected_version=expected_version
            )
        case "clear":
            return await service.clear(annotator, conversation_id)
        case "rate":
            value, reasons = VALUES[step.pick % 4], REASONS[step.pick // 4 % 4]
            comment = COMMENTS[step.pick // 16 % 3]
            return await service.feedback.rate(
                annotator, conversation_id, message_id, value=value, reasons=reasons, comment=comment
            )
        case "stop":
            return await service.stop(annotator, conversation_id)
        case _:
            return [progress async for progress in service.watch(conversation_id, tip)]


async def live(room: Room, batches: list[list[Step]]) -> list[str]:
    """Run the batches in two conversations of two annotators, and return their ids."""
    ids = [
        (await room.service.send(annotator, None, "Hello", expected_version=0)).conversation_id
        for annotator in room.people[:2]
    ]
    for batch in batches:
        conversations = [room.store.conversation(conversation_id) for conversation_id in ids]
        results = await asyncio.gather(
            *(do(room, step, conversations[step.conversation_index]) for step in batch), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, (Conflict, InputError, NotAllowed)):
                raise result
    for annotator, conversation_id in zip(room.people, ids, strict=False):
        conversation = await room.service.conversation(annotator, conversation_id)
        if conversation.writing_id is not None:
            await room.ended(conversation)
    return ids


def assert_consistent(room: Room, conversation_id: str) -> None:
    """Assert that the projections equal the folded log, and that each reply ended once."""
    events = room.store.events_of(conversation_id)
    folded = fold(conversation_id, events)
    with room.store.reading() as tx:
        assert projections.load(tx, conversation_id) == folded == room.store.conversation(conversation_id)
    with room.store.engine.connect() as connection:
        drafts = select(reply_drafts).where(reply_drafts.c.conversation_id == conversation_id)
        assert connection.execute(drafts).all() == []
    assert {event.actor_id for event in events} == {folded.annotator_id}
    started = [event.body.message_id for event in events if isinstance(event.body, ReplyStarted)]
    finished = [event.body.message_id for event in events if isinstance(event.body, ReplyFinished)]
    assert started == finished, "one ended before the next one began"


def test_projections_equal_folded_log_after_concurrent_commands(
    database_url: str, people: People, server: ScriptedServer, endpoint: Endpoint
) -> None:
    server.default = answer

    @settings(max_examples=EXAMPLES)
    @given(batches=batches)
    def lived(batches: list[list[Step]]) -> None:
        for conversation_id in runner.run(live(room, batches)):
            assert_consistent(room, conversation_id)

    opening = open_room(database_url, people, [endpoint])
    with asyncio.Runner() as runner:
        room = runner.run(opening.__aenter__())
        try:
            lived()
        finally:
            runner.run(opening.__aexit__(None, None, None))
    assert check(database_url) == []

"""Whatever three people do in whatever order and at the same moment, the log and what is made of it agree."""

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
class Deed:
    """Somebody does something in one of the conversations; `pick` says with which of its messages."""

    who: int
    where: int
    what: str
    pick: int
    stale: bool


deeds = st.builds(
    Deed,
    who=st.integers(0, 2),
    where=st.integers(0, 1),
    what=st.sampled_from(["send", "retry", "edit", "undo", "choose", "clear", "rate", "rate", "rate", "stop", "watch"]),
    pick=st.integers(0, 10**6),
    stale=st.booleans(),
)
moments = st.lists(st.lists(deeds, min_size=1, max_size=4), min_size=1, max_size=8)
"""What happens at the same moment, one moment after the other."""


def answer(_request: Body, number: int) -> str:
    """Every third reply is empty, and so a failure."""
    return "" if number % 3 == 0 else f"Answer {number}. " * (number % 40)


async def do(room: Room, deed: Deed, conversation: Conversation) -> object:
    """Apply the deed to one of the messages, as the person says, on the newest state or on an older one."""
    service, who, of = room.service, room.people[deed.who], conversation.conversation_id
    expected_version = conversation.tree_version if deed.stale else None
    message_id = list(conversation.messages)[deed.pick % len(conversation.messages)]
    tip = conversation.head_id or message_id
    match deed.what:
        case "send":
            return await service.send(who, of, f"Prompt {deed.pick} \0", expected_version=expected_version)
        case "retry":
            return await service.retry(who, of, tip, expected_version=expected_version)
        case "edit":
            return await service.edit(who, of, message_id, f"Edited {deed.pick}", expected_version=expected_version)
        case "undo":
            return await service.undo(who, of, expected_version=expected_version)
        case "choose":
            siblings = [message.message_id for message in conversation.alternatives(tip)] or [tip]
            return await service.choose(who, of, siblings[deed.pick % len(siblings)], expected_version=expected_version)
        case "clear":
            return await service.clear(who, of)
        case "rate":
            value, reasons = VALUES[deed.pick % 4], REASONS[deed.pick // 4 % 4]
            comment = COMMENTS[deed.pick // 16 % 3]
            return await service.feedback.rate(who, of, message_id, value=value, reasons=reasons, comment=comment)
        case "stop":
            return await service.stop(who, of)
        case _:
            return [expected_version async for expected_version in service.watch(of, tip)]


async def live(room: Room, moments: list[list[Deed]]) -> list[str]:
    """Lets it all happen in two conversations, of two of the three; returns their ids."""
    ids = [(await room.service.send(who, None, "Hello", expected_version=0)).conversation_id for who in room.people[:2]]
    for moment in moments:
        stand = [room.store.conversation(conversation_id) for conversation_id in ids]
        results = await asyncio.gather(*(do(room, deed, stand[deed.where]) for deed in moment), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, (Conflict, InputError, NotAllowed)):
                raise result
    for who, conversation_id in zip(room.people, ids, strict=False):
        conversation = await room.service.conversation(who, conversation_id)
        if conversation.writing_id is not None:
            await room.ended(conversation)
    return ids


def judge(room: Room, conversation_id: str) -> None:
    """The projections are what the log adds up to, and every reply has ended, once."""
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


def test_the_projections_are_the_fold_of_the_log_whatever_happens_at_the_same_moment(
    database_url: str, people: People, server: ScriptedServer, endpoint: Endpoint
) -> None:
    server.default = answer

    @settings(max_examples=EXAMPLES)
    @given(moments=moments)
    def lived(moments: list[list[Deed]]) -> None:
        for conversation_id in runner.run(live(room, moments)):
            judge(room, conversation_id)

    opening = open_room(database_url, people, [endpoint])
    with asyncio.Runner() as runner:
        room = runner.run(opening.__aenter__())
        try:
            lived()
        finally:
            runner.run(opening.__aexit__(None, None, None))
    assert check(database_url) == []

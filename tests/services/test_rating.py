"""Ratings: each call sets the requested state, and each change is in the log."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

import pytest

from chatfeedback.domain.conversation.state import Conversation, Rating
from chatfeedback.domain.feedback.events import MessageRated, RatingCleared
from chatfeedback.errors import InputError, MessageRejected, NotRateable
from openai_server import ScriptedServer
from services.service_harness import MAX_COMMENT_CHARS, Room, held, last

pytestmark = pytest.mark.sqlite

SLOW_SECONDS = 0.5


def rating_of(
    room: Room, conversation: Conversation, message_id: str
) -> tuple[str | None, tuple[str, ...], str | None]:
    rating: Rating = conversation.ratings[message_id, room.ada]
    return rating.value, rating.reasons, rating.comment


async def test_rate_sets_value_reasons_and_comment_separately_or_together(room: Room) -> None:
    conversation = await room.ask()
    reply = conversation.head_id
    await room.rate(conversation, reply, value="like")
    await room.rate(conversation, reply, reasons={"funny": True, "accurate": True})
    after = await room.rate(conversation, reply, comment="  Well said!\n")
    assert rating_of(room, after, reply) == ("like", ("accurate", "funny"), "  Well said!\n")
    other = await room.ask("Two", after)
    after = await room.rate(other, other.head_id, value="dislike", reasons={"wrong": True}, comment="No.")
    assert rating_of(room, after, other.head_id) == ("dislike", ("wrong",), "No.")
    assert rating_of(room, await room.now(after), reply) == ("like", ("accurate", "funny"), "  Well said!\n")
    assert room.kinds(after).count("message_rated") == 4


async def test_rate_accepts_comment_or_reasons_without_value(room: Room) -> None:
    conversation = await room.ask()
    after = await room.rate(conversation, conversation.head_id, comment="Hm.")
    assert rating_of(room, after, conversation.head_id) == (None, (), "Hm.")
    after = await room.rate(conversation, conversation.head_id, comment="", reasons={"wrong": True})
    assert rating_of(room, after, conversation.head_id) == (None, ("wrong",), None)
    after = await room.rate(conversation, conversation.head_id, reasons={"wrong": False})
    assert after.ratings == {}


async def test_rate_clears_reasons_and_keeps_comment_when_value_is_cleared(room: Room) -> None:
    conversation = await room.ask()
    reply = conversation.head_id
    await room.rate(conversation, reply, value="like", reasons={"accurate": True}, comment="Nice")
    after = await room.rate(conversation, reply, value="")
    assert rating_of(room, after, reply) == (None, (), "Nice")
    *_, cleared = room.log(after)
    assert isinstance(cleared, RatingCleared)
    assert (cleared.previous_value, cleared.previous_reasons, cleared.comment) == ("like", ("accurate",), "Nice")
    after = await room.rate(conversation, reply, comment=" \n")
    assert after.ratings == {}


async def test_rate_restores_reasons_when_their_value_returns(room: Room) -> None:
    conversation = await room.ask()
    reply = conversation.head_id
    await room.rate(conversation, reply, value="like", reasons={"accurate": True, "funny": True})
    await room.rate(conversation, reply, value="dislike")
    await room.rate(conversation, reply, reasons={"wrong": True, "funny": False})
    after = await room.rate(conversation, reply, value="like")
    assert rating_of(room, after, reply) == ("like", ("accurate",), None)
    after = await room.rate(conversation, reply, value="dislike")
    assert rating_of(room, after, reply) == ("dislike", ("wrong",), None)
    await room.rate(conversation, reply, value="")
    after = await room.rate(conversation, reply, value="dislike")
    assert rating_of(room, after, reply) == ("dislike", ("wrong",), None)
    *_, rated = room.log(after)
    assert isinstance(rated, MessageRated)
    assert (rated.previous_value, rated.reasons) == (None, ("wrong",))


async def test_rate_drops_reasons_that_contradict_changed_value(room: Room) -> None:
    conversation = await room.ask()
    reply = conversation.head_id
    await room.rate(conversation, reply, value="like", reasons={"accurate": True, "funny": True})
    after = await room.rate(conversation, reply, value="dislike")
    assert rating_of(room, after, reply) == ("dislike", ("funny",), None)
    after = await room.rate(conversation, reply, reasons={"accurate": True, "wrong": True, "funny": False})
    assert rating_of(room, after, reply) == ("dislike", ("wrong",), None)
    *_, rated = room.log(after)
    assert isinstance(rated, MessageRated)
    assert (rated.previous_value, rated.previous_reasons, rated.model) == ("dislike", ("funny",), "zephyr")


async def test_rate_writes_nothing_when_state_is_unchanged(room: Room) -> None:
    conversation = await room.ask()
    reply = conversation.head_id
    assert await room.rate(conversation, reply) == conversation
    assert await room.rate(conversation, reply, value="") == conversation
    assert await room.rate(conversation, reply, value="", reasons={"funny": False}, comment="") == conversation
    rated = await room.rate(
        conversation, reply, value="like", reasons={"accurate": True, "funny": True}, comment="Nice"
    )
    for change in (
        {"value": "like"},
        {"reasons": {"funny": True, "accurate": True}},
        {"comment": "Nice"},
        {"value": "like", "reasons": {"accurate": True, "funny": True}, "comment": "Nice"},
        {},
    ):
        assert await room.rate(conversation, reply, **change) == rated
    assert room.kinds(conversation).count("message_rated") == 1


async def test_rate_refuses_unknown_value_or_reason(room: Room) -> None:
    conversation = await room.ask()
    for change in (
        {"value": "love"},
        {"value": "Like"},
        {"reasons": {"accurate": True, "pretty": True}},
        {"reasons": {"\ud800": True}},
    ):
        with pytest.raises(InputError):
            await room.rate(conversation, conversation.head_id, **change)
    assert await room.now(conversation) == conversation


async def test_rate_accepts_only_replies_with_text(room: Room, server: ScriptedServer) -> None:
    server.fail(500, "oops")
    failed = await room.ask("Hello")
    for message in failed.shown():
        with pytest.raises(NotRateable, match=r"Only a reply can be rated|no text that could be rated"):
            await room.rate(failed, message.message_id, value="like")
    server.break_after("Half")
    half = await room.ended(await room.retry(failed))
    assert (await room.rate(half, half.head_id, value="dislike")).ratings
    assert room.kinds(half).count("message_rated") == 1


async def test_rate_accepts_hidden_replies_and_human_replies(room: Room) -> None:
    first = await room.ask("One")
    second = await room.ended(await room.retry(first))
    edited = await room.service.edit(room.ada, second.conversation_id, second.head_id, "By hand", expected_version=None)
    for message_id in (first.head_id, second.head_id, edited.head_id):
        after = await room.rate(edited, message_id, value="like")
    assert len(after.ratings) == 3
    *_, human = room.log(after)
    assert isinstance(human, MessageRated) and human.model is None


async def test_rate_refuses_comment_that_is_too_long(room: Room) -> None:
    conversation = await room.ask()
    after = await room.rate(conversation, conversation.head_id, comment="ж" * MAX_COMMENT_CHARS)
    with pytest.raises(MessageRejected, match="at most 100 characters"):
        await room.rate(conversation, conversation.head_id, value="like", comment="ж" * (MAX_COMMENT_CHARS + 1))
    assert await room.now(conversation) == after


async def test_comment_is_altered_and_flagged_when_characters_cannot_be_stored(room: Room) -> None:
    conversation = await room.ask()
    after = await room.rate(conversation, conversation.head_id, comment="a\0b\udfff 😀")
    assert rating_of(room, after, conversation.head_id) == (None, (), "a\ufffdb\ufffd 😀")
    assert await room.now(conversation) == after
    *_, rated = room.log(after)
    assert isinstance(rated, MessageRated) and rated.altered


async def test_ratings_survive_retry_undo_and_new_prompt(room: Room) -> None:
    first = await room.ask("One")
    rated = await room.rate(first, first.head_id, value="like", reasons={"funny": True}, comment="Ha")
    retried = await room.ended(await room.retry(rated))
    undone, _ = await room.service.undo(room.ada, retried.conversation_id, expected_version=None)
    again = await room.ask("Two", undone)
    assert again.ratings == rated.ratings


# During a running reply


async def test_rate_and_running_reply_do_not_disturb_each_other(room: Room, server: ScriptedServer) -> None:
    first = await room.ask("One")
    script = server.reply("one two three", hold_after=[1, 2])
    running = await room.send("Two", first)
    await room.shows(running, "one ")
    on_it = await room.rate(running, running.writing_id, value="like", comment="So far")
    on_the_other = await room.rate(running, first.head_id, value="dislike")
    assert on_it.writing_id == on_the_other.writing_id == running.writing_id
    script.release()
    await room.shows(running, "one two ")
    await room.rate(running, running.writing_id, value="dislike")
    script.release()
    ended = await room.ended(running)
    assert (last(ended).text, last(ended).status) == ("one two three", "complete")
    assert rating_of(room, ended, ended.head_id) == ("dislike", (), "So far")
    assert rating_of(room, ended, first.head_id) == ("dislike", (), None)


async def test_rate_keeps_all_votes_when_reply_ends_meanwhile(room: Room, server: ScriptedServer) -> None:
    script = server.reply("one two three", hold_after=2)
    running = await room.send()
    await held(script)
    voting = [room.rate(running, running.writing_id, value=value) for value in ("like", "dislike", "", "like") * 3]
    script.release()
    await asyncio.gather(room.ended(running), *voting)
    after = await room.now(running)
    assert (last(after).text, last(after).status) == ("one two three", "complete")
    assert rating_of(room, after, after.head_id) == ("like", (), None)
    assert len(room.log(running)) == 4 + 12 - 2, "like after like changes nothing"


# Order


async def test_rate_keeps_order_of_concurrent_votes_when_commits_are_slow(room: Room) -> None:
    conversation = None
    for _ in range(3):
        conversation = await room.ask(to=conversation)
    assert conversation is not None
    replies = [message.message_id for message in conversation.shown() if message.role == "assistant"]
    requested = [(replies[n % 3], ("like", "dislike", "", "like")[n // 3]) for n in range(10)]
    with slow_commits(room):
        await asyncio.gather(*(room.rate(conversation, message_id, value=value) for message_id, value in requested))
    votes = [body for body in room.log(conversation) if isinstance(body, (MessageRated, RatingCleared))]
    assert [(vote.message_id, vote.value if isinstance(vote, MessageRated) else "") for vote in votes] == requested
    after = await room.now(conversation)
    assert {message_id: rating.value for (message_id, _), rating in after.ratings.items()} == {replies[0]: "like"}


@contextlib.contextmanager
def slow_commits(room: Room) -> Iterator[None]:
    """Delay each commit by half a second."""

    def watch(callback: Callable[[str], None] | None) -> None:
        room.store.writer.submit(lambda tx: tx.connection.set_trace_callback(callback)).result(10)

    watch(lambda statement: time.sleep(SLOW_SECONDS) if statement == "COMMIT" else None)
    yield
    watch(None)

"""Retry, undo, edit, choose, clear: they change the messages that are shown, and remove none."""

from __future__ import annotations

import pytest

from chatfeedback.domain.conversation.events import MessageEdited, ReplyFinished, ReplyStarted, TurnUndone
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import Conflict, InputError, NotFound, ReplyRunning
from chatfeedback.inference.client import Endpoint
from conversation_builder import People
from openai_server import ScriptedServer
from services.service_harness import Room, held, last, open_room, texts

pytestmark = pytest.mark.sqlite


async def undo(room: Room, conversation: Conversation) -> tuple[Conversation, str]:
    return await room.service.undo(room.ada, conversation.conversation_id, expected_version=conversation.tree_version)


async def edit(room: Room, conversation: Conversation, index: int, text: str) -> Conversation:
    message_id = conversation.shown()[index].message_id
    return await room.service.edit(
        room.ada, conversation.conversation_id, message_id, text, expected_version=conversation.tree_version
    )


async def choose(room: Room, conversation: Conversation, message_id: str) -> Conversation:
    return await room.service.choose(
        room.ada, conversation.conversation_id, message_id, expected_version=conversation.tree_version
    )


# Retry


async def test_retry_shows_new_reply_and_keeps_old_one_as_alternative(room: Room) -> None:
    first = await room.ask("Hello")
    second = await room.ended(await room.retry(first))
    old, new = second.messages[first.head_id], last(second)
    assert texts(second) == ["Hello", "Answer 2 to: Hello"]
    assert (old.text, old.status, old.shown) == ("Answer 1 to: Hello", "complete", False)
    assert (new.parent_id, new.replaces_id) == (old.parent_id, old.message_id)
    assert [reply.text for reply in second.alternatives(new.message_id)] == [old.text, new.text]
    assert room.kinds(second)[-3:] == ["reply_retried", "reply_started", "reply_finished"]


async def test_retry_repeats_request_with_new_seed_and_without_cache(room: Room, server: ScriptedServer) -> None:
    conversation = await room.ask("One")
    conversation = await room.ask("Two", conversation)
    for _ in range(3):
        conversation = await room.ended(await room.retry(conversation))
    await room.ask("Three", conversation)
    original, *retried, afterwards = server.requests[1:]
    assert all(request["messages"] == original["messages"] for request in retried)
    assert len({request["seed"] for request in (original, *retried)}) == 4
    assert {**original, "seed": 0} == {**retried[0], "seed": 0}
    past_caches = [headers.get("x-use-cache") for headers in server.headers]
    assert past_caches == [None, None, "false", "false", "false", None]
    assert afterwards["messages"][-1]["content"] == "Three"
    seeds = [body.generation.seed for body in room.log(conversation) if isinstance(body, ReplyStarted)]
    assert seeds == [request["seed"] for request in server.requests]


async def test_retry_records_another_model_and_keeps_that_of_old_reply(
    database_url: str, people: People, server: ScriptedServer, endpoint: Endpoint
) -> None:
    other = Endpoint("other", provider="somebody", base_url=server.url)
    async with open_room(database_url, people, [endpoint, other]) as room:
        first = await room.ask()
        of = (room.ada, first.conversation_id, first.head_id)
        with pytest.raises(NotFound, match="not offered here"):
            await room.service.retry(*of, model="gone", expected_version=None)
        assert await room.now(first) == first
        second = await room.ended(await room.service.retry(*of, model="other", expected_version=None))
    assert [request["model"] for request in server.requests] == ["zephyr", "other"]
    replies = second.alternatives(last(second).message_id)
    generations = [reply.generation for reply in replies if reply.generation]
    assert [(generation.model, generation.provider) for generation in generations] == [
        ("zephyr", None),
        ("other", "somebody"),
    ]


async def test_retry_is_recorded_and_old_reply_stays_shown_when_it_fails(room: Room, server: ScriptedServer) -> None:
    first = await room.ask("Hello")
    for fail in (lambda: server.fail(500, "oops"), lambda: server.reply("")):
        fail()
        after = await room.ended(await room.retry(first))
        assert texts(after) == texts(first)
        assert after.head_id == first.head_id
        *_, ended = room.log(after)
        assert isinstance(ended, ReplyFinished)
        assert (ended.status, ended.text) == ("failed", "")
        assert (after.messages[ended.message_id].replaces_id, ended.error is None) == (first.head_id, False)
        assert after.alternatives(first.head_id) == [after.messages[first.head_id]]
    again = await room.ended(await room.retry(after))
    assert texts(again) == ["Hello", "Answer 4 to: Hello"]


async def test_retry_shows_partial_text_when_connection_breaks(room: Room, server: ScriptedServer) -> None:
    first = await room.ask("Hello")
    server.break_after("Half an answ")
    after = await room.ended(await room.retry(first))
    assert texts(after) == ["Hello", "Half an answ"]
    back = await choose(room, after, first.head_id)
    assert texts(back) == texts(first)


async def test_retry_leaves_old_reply_shown_when_stopped_before_first_token(room: Room, server: ScriptedServer) -> None:
    first = await room.ask("Hello")
    script = server.hang()
    running = await room.retry(first)
    await held(script)
    stopped = await room.stop(running)
    assert texts(stopped) == texts(first)
    assert room.kinds(stopped)[-1] == "reply_finished"


async def test_retry_replaces_failed_reply(room: Room, server: ScriptedServer) -> None:
    server.fail(429, "{}")
    failed = await room.ask("Hello")
    assert last(failed).status == "failed"
    after = await room.ended(await room.retry(failed))
    assert texts(after) == ["Hello", "Answer 2 to: Hello"]
    assert last(after).replaces_id == failed.head_id


async def test_retry_refuses_messages_other_than_last_reply(room: Room, server: ScriptedServer) -> None:
    first = await room.ask("One")
    second = await room.ask("Two", first)
    for message in second.shown()[:-1]:
        with pytest.raises(InputError, match="Only the last reply"):
            await room.retry(second, message.message_id)
    assert await room.now(second) == second
    assert len(server.requests) == 2


# Undo


async def test_undo_hides_last_exchange_and_returns_its_prompt(room: Room) -> None:
    first = await room.ask("One")
    second = await room.ask("Two", first)
    after, prompt = await undo(room, second)
    assert (texts(after), prompt) == (texts(first), "Two")
    assert [message.text for message in after.messages.values()] == texts(second), "nothing is lost"
    *_, undone = room.log(after)
    assert isinstance(undone, TurnUndone)
    after, prompt = await undo(room, after)
    assert (texts(after), prompt) == ([], "One")
    with pytest.raises(InputError, match="nothing to undo"):
        await undo(room, after)
    again = await room.ask("One, but better", after)
    assert texts(again) == ["One, but better", "Answer 3 to: One, but better"]
    assert again.title == "One, but better"


async def test_undo_removes_exchange_from_messages_sent_to_model(room: Room, server: ScriptedServer) -> None:
    conversation, _ = await undo(room, await room.ask("Two", await room.ask("One")))
    await room.ask("Three", conversation)
    sent = [message["content"] for message in server.requests[-1]["messages"][1:]]
    assert sent == ["One", "Answer 1 to: One", "Three"]


# Edit


async def test_edit_of_prompt_starts_branch_and_generates_reply(room: Room, server: ScriptedServer) -> None:
    first = await room.ask("One")
    second = await room.ask("Two", first)
    third = await room.ended(await edit(room, second, 0, "Uno"))
    assert texts(third) == ["Uno", "Answer 3 to: Uno"]
    edited = third.shown()[0]
    assert (edited.replaces_id, edited.author_id) == (second.shown()[0].message_id, room.ada)
    assert [message["content"] for message in server.requests[-1]["messages"][1:]] == ["Uno"]
    assert "x-use-cache" not in server.headers[-1]
    assert len(third.messages) == 6, "the old branch is still there"


async def test_edit_of_reply_records_human_author_and_calls_no_model(room: Room, server: ScriptedServer) -> None:
    second = await room.ask("Two", await room.ask("One"))
    after = await edit(room, second, 1, "A better answer")
    assert texts(after) == ["One", "A better answer"]
    original, corrected = after.messages[second.shown()[1].message_id], last(after)
    assert (corrected.role, corrected.author_id, corrected.model) == ("assistant", room.ada, None)
    assert (corrected.replaces_id, corrected.parent_id) == (original.message_id, original.parent_id)
    assert (original.text, original.model) == ("Answer 1 to: One", "zephyr")
    assert after.writing_id is None and len(server.requests) == 2
    *_, edited = room.log(after)
    assert isinstance(edited, MessageEdited) and edited.model == "zephyr"
    await room.ask("Go on", after)
    sent = [message["content"] for message in server.requests[-1]["messages"][1:]]
    assert sent == ["One", "A better answer", "Go on"]


async def test_edit_writes_nothing_when_text_is_unchanged(room: Room, server: ScriptedServer) -> None:
    conversation = await room.ask("One")
    for index in (0, 1):
        assert await edit(room, conversation, index, texts(conversation)[index]) == conversation
    assert await room.now(conversation) == conversation
    assert len(server.requests) == 1


async def test_edit_refuses_reply_without_text(room: Room, server: ScriptedServer) -> None:
    server.reply("")
    conversation = await room.ask()
    with pytest.raises(InputError, match="no text that could be edited"):
        await edit(room, conversation, -1, "What I would have said")


async def test_edit_refuses_messages_that_are_not_shown(room: Room) -> None:
    first = await room.ask("One")
    after, _ = await undo(room, first)
    with pytest.raises(InputError, match="on the screen"):
        await room.service.edit(room.ada, first.conversation_id, first.head_id, "Other", expected_version=None)
    assert await room.now(first) == after


# Choose


async def test_choose_switches_alternatives_and_conversation_continues_from_there(
    room: Room, server: ScriptedServer
) -> None:
    first = await room.ask("One")
    second = await room.ended(await room.retry(first))
    back = await choose(room, second, first.head_id)
    assert texts(back) == texts(first)
    forth = await choose(room, back, second.head_id)
    assert texts(forth) == texts(second)
    assert await choose(room, forth, second.head_id) == forth, "what changes nothing writes nothing"
    back = await choose(room, forth, first.head_id)
    assert room.kinds(back).count("alternative_chosen") == 3
    await room.ask("Two", back)
    sent = [message["content"] for message in server.requests[-1]["messages"][1:]]
    assert sent == ["One", "Answer 1 to: One", "Two"]


async def test_choose_refuses_messages_other_than_alternatives_of_last_reply(room: Room) -> None:
    first = await room.ask("One")
    retried = await room.ended(await room.retry(first))
    second = await room.ask("Two", retried)
    for message_id in (first.head_id, second.shown()[0].message_id):
        with pytest.raises(InputError, match="alternative of the last reply"):
            await choose(room, second, message_id)
    assert await room.now(second) == second


# During a running reply, and from an outdated page


async def test_commands_except_clear_are_refused_while_reply_runs(room: Room, server: ScriptedServer) -> None:
    first = await room.ask("One")
    script = server.reply("Answer", hold_after=1)
    running = await room.send("Two", first)
    await held(script)
    for refused in (
        room.send("Three", running),
        room.retry(running, first.head_id),
        undo(room, running),
        edit(room, running, 0, "Uno"),
        choose(room, running, first.head_id),
    ):
        with pytest.raises(ReplyRunning):
            await refused
    assert (await room.now(running)).version == running.version
    cleared = await room.service.clear(room.ada, running.conversation_id)
    assert cleared.cleared_at is not None and cleared.writing_id == running.writing_id
    script.release()
    ended = await room.ended(running)
    assert (last(ended).text, last(ended).status, ended.cleared_at) == ("Answer", "complete", cleared.cleared_at)


async def test_commands_conflict_when_tree_version_is_outdated(room: Room, server: ScriptedServer) -> None:
    old = await room.ask("One")
    await room.ended(await room.retry(old))
    newest = await room.now(old)
    outdated = {"expected_version": old.tree_version}
    of = (room.ada, old.conversation_id)
    for refused in (
        room.service.send(*of, "Two", **outdated),
        room.service.retry(*of, newest.head_id, **outdated),
        room.service.undo(*of, **outdated),
        room.service.edit(*of, newest.head_id, "Better", **outdated),
        room.service.choose(*of, old.head_id, **outdated),
    ):
        with pytest.raises(Conflict, match="another tab"):
            await refused
    assert await room.now(old) == newest
    assert len(server.requests) == 2


async def test_rate_does_not_change_tree_version(room: Room) -> None:
    conversation = await room.ask("One")
    rated = await room.rate(conversation, conversation.head_id, value="like")
    assert rated.tree_version == conversation.tree_version < rated.version
    after, _ = await undo(room, conversation)
    assert texts(after) == []


async def test_clear_keeps_conversation_and_next_prompt_starts_new_one(room: Room) -> None:
    old = await room.ask("One")
    await room.service.clear(room.ada, old.conversation_id)
    new = await room.ask("Two")
    assert new.conversation_id != old.conversation_id
    assert texts(await room.now(old)) == texts(old)
    assert [line.title for line in await room.service.conversations(room.ada, 10)] == ["Two", "One"]
    assert room.kinds(old)[-1] == "conversation_cleared"
    assert texts(await room.ask("Three", old))[-1] == "Answer 3 to: Three", "it can be taken up again"


async def test_commands_raise_not_found_for_unknown_message(room: Room) -> None:
    conversation = await room.ask()
    of = (room.ada, conversation.conversation_id)
    for message_id in ("", "no-such-message", "nul\0", "\ud800"):
        for refused in (
            room.service.retry(*of, message_id, expected_version=None),
            room.service.edit(*of, message_id, "Other", expected_version=None),
            room.service.choose(*of, message_id, expected_version=None),
            room.service.feedback.rate(*of, message_id, value="like"),
        ):
            with pytest.raises(NotFound, match="no such message"):
                await refused
    assert await room.now(conversation) == conversation

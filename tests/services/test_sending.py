"""Send: a prompt is stored before the model is called, and the log records the messages that were sent."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select

from chatfeedback.domain.conversation.events import MessageSent
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import Conflict, MessageRejected, NotFound, ReplyRunning
from chatfeedback.inference.client import Endpoint
from chatfeedback.store.schema import metadata
from conversation_builder import People
from openai_server import Body, ScriptedServer
from services.service_harness import MAX_MESSAGE_CHARS, SAMPLING, SYSTEM_PROMPT, Room, held, last, open_room, texts

pytestmark = pytest.mark.sqlite

TOO_LONG = {"error": {"code": "context_length_exceeded", "message": "This model's maximum context length is 64."}}


def sent_texts(request: Body) -> list[str]:
    """Return the texts that were sent to the model after the system prompt."""
    assert request["messages"][0] == {"role": "system", "content": SYSTEM_PROMPT}
    return [message["content"] for message in request["messages"][1:]]


def recorded(conversation: Conversation) -> list[str]:
    """Return the texts that the log records as sent for the last reply."""
    generation = last(conversation).generation
    assert generation is not None
    return [conversation.messages[message_id].text for message_id in generation.sent_ids]


async def test_send_stores_prompt_and_start_of_reply_before_model_is_called(room: Room, server: ScriptedServer) -> None:
    first = await room.ask()
    stored_kinds: list[str] = []

    def answer(_request: Body, _number: int) -> str:
        stored_kinds.extend(room.kinds(first))
        return "Yes"

    server.default = answer
    after = await room.ask("Is it stored?", first)
    assert stored_kinds == ["conversation_started", *["message_sent", "reply_started", "reply_finished"] * 2][:-1]
    assert texts(after)[2:] == ["Is it stored?", "Yes"]


async def test_send_passes_recorded_messages_to_model(room: Room, server: ScriptedServer) -> None:
    conversation = await room.ask("One")
    conversation = await room.ask("Two", conversation)
    conversation = await room.ask("Three", conversation)
    assert sent_texts(server.requests[-1]) == texts(conversation)[:-1] == recorded(conversation)
    assert [message["role"] for message in server.requests[-1]["messages"]] == [
        "system",
        *["user", "assistant"] * 2,
        "user",
    ]


async def test_reply_records_request_and_outcome(room: Room, server: ScriptedServer, endpoint: Endpoint) -> None:
    server.reply("Hello yourself", finish_reason="length", usage=(23, 5))
    conversation = await room.ask()
    generation, outcome = last(conversation).generation, last(conversation).outcome
    assert generation is not None and outcome is not None
    request = server.requests[0]
    assert (generation.model, generation.endpoint, generation.provider) == ("zephyr", endpoint.base_url, None)
    assert (generation.temperature, generation.top_p, generation.max_tokens) == (0.95, 0.9, SAMPLING.max_tokens)
    assert (request["temperature"], request["top_p"], request["max_tokens"]) == (0.95, 0.9, SAMPLING.max_tokens)
    assert request["seed"] == generation.seed
    assert generation.system_prompt == SYSTEM_PROMPT
    assert (outcome.finish_reason, outcome.prompt_tokens, outcome.completion_tokens) == ("length", 23, 5)
    assert outcome.time_to_first_token is not None and outcome.duration is not None
    assert 0 < outcome.time_to_first_token <= outcome.duration


async def test_token_counts_are_none_when_server_does_not_report_them(room: Room, server: ScriptedServer) -> None:
    server.reply("Hello", usage=None)
    outcome = last(await room.ask()).outcome
    assert outcome is not None
    assert (outcome.prompt_tokens, outcome.completion_tokens) == (None, None)


async def test_database_contains_no_secret_of_endpoint(
    database_url: str, people: People, server: ScriptedServer
) -> None:
    address = server.url.replace("//", "//someone:s3cret-word@")
    endpoint = Endpoint("zephyr", base_url=address, api_key="sk-very-secret", attempts=1)
    server.fail(401, {"error": {"message": "Incorrect API key provided: sk-very-secret"}})
    server.fail(500, {"error": {"message": "No luck with the key sk-very-secret"}})
    async with open_room(database_url, people, [endpoint]) as room:
        conversation = await room.ask()
        for _ in range(2):
            conversation = await room.ended(await room.retry(conversation))
        generation = last(conversation).generation
        assert generation is not None and generation.endpoint == server.url
        with room.store.engine.connect() as connection:
            rows = [str(row) for table in metadata.tables.values() for row in connection.execute(select(table))]
    assert any("No luck with the key" in row for row in rows)
    assert not [row for row in rows if "s3cret-word" in row or "sk-very-secret" in row]


async def test_send_calls_and_records_chosen_model(database_url: str, people: People) -> None:
    with ScriptedServer() as one, ScriptedServer() as other:
        other.default = lambda _request, _number: "I am the other"
        endpoints = [Endpoint("one", base_url=one.url), Endpoint("other", base_url=other.url)]
        async with open_room(database_url, people, endpoints) as room:
            conversation = await room.ask("Who are you?")
            assert last(conversation).model == "one"
            conversation = await room.ended(await room.send("And you?", conversation, model="other"))
            assert (last(conversation).model, last(conversation).text) == ("other", "I am the other")
            assert (len(one.requests), len(other.requests)) == (1, 1)


async def test_send_refuses_unknown_model_and_stores_nothing(room: Room, server: ScriptedServer) -> None:
    with pytest.raises(NotFound, match="choose another one"):
        await room.send("Hello", model="gone")
    assert await room.service.conversations(room.ada, 10) == []
    assert server.requests == []


# Context window


async def test_context_window_drops_oldest_turns_when_conversation_outgrows_it(
    database_url: str, people: People, server: ScriptedServer, endpoint: Endpoint
) -> None:
    async with open_room(database_url, people, [endpoint], window=400) as room:
        conversation = None
        for turn in range(30):
            conversation = await room.ask(f"Question number {turn} is what?", conversation)
            assert last(conversation).status == "complete"
            thread, sent = texts(conversation)[:-1], recorded(conversation)
            assert sent_texts(server.requests[-1]) == sent == thread[-len(sent) :]
            assert len(sent) % 2 == 1, "whole turns, and the question"
        assert conversation is not None
        assert 1 < len(recorded(conversation)) < 30
        assert len(texts(conversation)) == 60


async def test_send_repeats_and_records_shorter_request_when_context_is_exceeded(
    room: Room, server: ScriptedServer
) -> None:
    conversation = None
    for turn in range(5):
        conversation = await room.ask(f"Question {turn}", conversation)
    server.fail(400, TOO_LONG)
    server.fail(400, TOO_LONG)
    conversation = await room.ask("Still there?", conversation)
    full, shorter, shortest = (sent_texts(request) for request in server.requests[-3:])
    assert full == texts(conversation)[:-1]
    assert full[-len(shorter) :] == shorter and shorter[-len(shortest) :] == shortest
    assert len(full) > len(shorter) > len(shortest) > 0
    assert recorded(conversation) == shortest
    assert last(conversation).status == "complete"
    *_, end = room.log(conversation)
    assert end.sent_ids == last(conversation).generation.sent_ids
    *_, started, _ = room.log(conversation)
    assert len(started.generation.sent_ids) == len(full)


async def test_reply_fails_when_prompt_alone_exceeds_context(room: Room, server: ScriptedServer) -> None:
    server.fail(400, TOO_LONG)
    conversation = await room.ask("A very long question")
    assert last(conversation).status == "failed"
    assert "too long" in last(conversation).outcome.error
    assert len(server.requests) == 1


# Prompts


async def test_send_and_edit_refuse_blank_text(room: Room, server: ScriptedServer) -> None:
    conversation = await room.ask()
    prompt_id = conversation.shown()[0].message_id
    for text in ("", "   ", "\n\t ", "\x00", "\x01\x1b\x7f", "\u200b\u2060", "\ud800"):
        with pytest.raises(MessageRejected, match="type a message"):
            await room.send(text)
        with pytest.raises(MessageRejected, match="type a message"):
            await room.send(text, conversation)
        with pytest.raises(MessageRejected, match="type a message"):
            await room.service.edit(room.ada, conversation.conversation_id, prompt_id, text, expected_version=None)
    assert await room.now(conversation) == conversation
    assert len(await room.service.conversations(room.ada, 10)) == len(server.requests) == 1


async def test_send_refuses_prompt_that_is_too_long(room: Room) -> None:
    conversation = await room.ask("ж" * MAX_MESSAGE_CHARS)
    with pytest.raises(MessageRejected, match=f"has 201 characters; at most {MAX_MESSAGE_CHARS} are allowed"):
        await room.send("ж" * (MAX_MESSAGE_CHARS + 1), conversation)
    assert await room.now(conversation) == conversation


async def test_prompt_is_altered_and_flagged_when_characters_cannot_be_stored(
    room: Room, server: ScriptedServer
) -> None:
    conversation = await room.ask("a\0b\ud800c 😀")
    prompt = conversation.shown()[0]
    assert (prompt.text, prompt.altered) == ("a\ufffdb\ufffdc 😀", True)
    assert sent_texts(server.requests[0]) == [prompt.text]
    edited = await room.service.edit(
        room.ada, conversation.conversation_id, prompt.message_id, "\udc00!", expected_version=None
    )
    assert (edited.shown()[0].text, edited.shown()[0].altered) == ("\ufffd!", True)
    (sent,) = (body for body in room.log(conversation) if isinstance(body, MessageSent))
    assert sent.altered


async def test_prompt_is_stored_as_typed(room: Room) -> None:
    text = "  two\r\nlines\t<b>&amp;</b> 😀 ｎｆｋｃ e\u0301 \ufffd "
    prompt = (await room.ask(text)).shown()[0]
    assert (prompt.text, prompt.altered) == (text, False)


# Order


async def test_send_is_refused_while_reply_runs(room: Room, server: ScriptedServer) -> None:
    script = server.reply("Hello yourself", hold_after=1)
    conversation = await room.send()
    await held(script)
    with pytest.raises(ReplyRunning, match="press Stop"):
        await room.send("And another thing", conversation)
    script.release()
    assert texts(await room.ended(conversation)) == ["Hello", "Hello yourself"]
    assert room.kinds(conversation).count("message_sent") == 1


async def test_send_conflicts_only_when_tree_version_is_outdated(room: Room) -> None:
    first = await room.ask()
    second = await room.ask("From another tab", first)
    with pytest.raises(Conflict, match="another tab"):
        await room.service.send(room.ada, first.conversation_id, "Too late", expected_version=first.tree_version)
    assert await room.now(first) == second
    await room.service.send(room.ada, first.conversation_id, "In time", expected_version=second.tree_version)
    assert (await room.now(first)).tree_version > second.tree_version


async def test_send_stores_one_of_two_concurrent_prompts(room: Room, server: ScriptedServer) -> None:
    first = await room.ask()
    script = server.reply("Only one of them", hold_after=1)
    tree_version, results = first.tree_version, []

    async def send(text: str) -> None:
        try:
            results.append(
                await room.service.send(room.ada, first.conversation_id, text, expected_version=tree_version)
            )
        except Conflict as error:
            results.append(error)

    await asyncio.gather(send("Left"), send("Right"))
    await held(script)
    script.release()
    assert sorted(isinstance(result, Conflict) for result in results) == [False, True]
    conversation = next(result for result in results if isinstance(result, Conversation))
    await room.ended(conversation)
    assert room.kinds(first).count("message_sent") == 2
    assert len(server.requests) == 2


async def test_conversations_are_listed_newest_first_for_their_annotator_only(room: Room) -> None:
    one, two = await room.ask("One"), await room.ask("Two")
    three = await room.service.send(room.people.bob, None, "Three", expected_version=0)
    await room.ask("Again", one)
    listed = await room.service.conversations(room.ada, 10)
    assert [line.conversation_id for line in listed] == [one.conversation_id, two.conversation_id]
    assert [line.title for line in listed] == ["One", "Two"]
    assert [line.title for line in await room.service.conversations(room.ada, 1)] == ["One"]
    assert [line.title for line in await room.service.conversations(room.people.bob, 10)] == ["Three"]
    assert await room.service.conversations(room.people.cyd, 10) == []
    assert three.annotator_id == room.people.bob

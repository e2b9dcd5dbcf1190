"""Ends of replies: each keeps the text received and a true status, once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace
from typing import Any

import pytest

from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.generation import checkpoints
from chatfeedback.inference.chat_model import Pieces
from chatfeedback.inference.client import Delta, Endpoint, ModelClient, ReplyRequest
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.log.statements import Transaction
from conversation_builder import People
from openai_server import Body, ScriptedServer, delta
from services.service_harness import LINGER_SECONDS, Room, escaped, held, last, open_room, pass_time, texts, until

pytestmark = pytest.mark.sqlite

UNSTORABLE = "nul \0, half a smile \ud83d, whole 😀"
STORED = "nul \ufffd, half a smile \ufffd, whole 😀"


# The model


async def test_reply_is_complete_when_model_finishes(room: Room, server: ScriptedServer) -> None:
    server.reply("A whole reply.\n\n- with *Markdown* & <b>HTML</b> 😀")
    conversation = await room.ask()
    assert last(conversation).text == "A whole reply.\n\n- with *Markdown* & <b>HTML</b> 😀"
    assert (last(conversation).status, last(conversation).altered) == ("complete", False)
    assert conversation.writing_id is None and room.finished(conversation).error is None
    assert await room.now(conversation) == conversation
    assert room.draft(replace(conversation, writing_id=last(conversation).message_id)) is None


async def test_reply_records_model_id_and_provenance_when_it_ends(room: Room, server: ScriptedServer) -> None:
    chunk = delta("Hello", "stop") | {"model": "zephyr-7b \0", "system_fingerprint": "fp_1"}
    server.stream(chunk, "[DONE]", headers={"x-inference-provider": "together"})
    conversation = await room.ask()
    known = room.finished(conversation).provenance
    assert (known.reported_model, known.system_fingerprint, known.reported_provider) == (
        "zephyr-7b \ufffd",
        "fp_1",
        "together",
    )
    generation, (request,) = last(conversation).generation, server.requests
    assert generation is not None and generation.model_id == request["model"]
    sent = (known.sent_temperature, known.sent_top_p, known.sent_max_tokens, known.sent_seed)
    assert sent == (request["temperature"], request["top_p"], request["max_tokens"], request["seed"])
    assert sent == (generation.temperature, generation.top_p, generation.max_tokens, generation.seed)
    assert await room.now(conversation) == conversation


async def test_reply_records_provenance_when_stopped(room: Room, server: ScriptedServer) -> None:
    script = server.reply("one two three", hold_after=1)
    conversation = await room.send()
    await held(script)
    await room.shows(conversation, "one")
    stopped = await room.stop(conversation)
    assert room.finished(stopped).provenance.reported_model == "m"


async def test_reply_keeps_rating_when_it_ends_without_text(room: Room, server: ScriptedServer) -> None:
    script = server.stream(None, breaks=True)
    conversation = await room.send()
    await held(script)
    reply = last(conversation).message_id
    await room.rate(conversation, reply, value="like", comment="It begins well")
    script.release()
    ended = await room.ended(conversation)
    assert (last(ended).status, last(ended).text) == ("failed", "")
    rating = ended.ratings[reply, room.ada]
    assert (rating.value, rating.comment) == ("like", "It begins well")


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, {"error": {"message": "Invalid key"}}, "refused its key"),
        (404, {"error": {"message": "The model `zephyr` does not exist"}}, "does not know the model"),
        (429, {"error": {"message": "Slow down"}}, "takes no more requests"),
        (500, {"error": {"message": "It fell over"}}, "It fell over"),
        (503, "<html><body>Bad gateway</body></html>", "failed with HTTP status 503"),
    ],
)
async def test_reply_fails_with_one_sentence_when_model_refuses_request(
    room: Room, server: ScriptedServer, status: int, body: Body | str, sentence: str
) -> None:
    server.fail(status, body)
    conversation = await room.ask("Is anybody there?")
    assert texts(conversation) == ["Is anybody there?", ""]
    assert last(conversation).status == "failed"
    assert sentence in last(conversation).outcome.error
    assert last(conversation).outcome.time_to_first_token is None
    assert texts(await room.ask("Again?", conversation))[-1] == "Answer 2 to: Is anybody there?\n\nAgain?"


async def test_reply_fails_when_first_token_does_not_come_in_time(
    database_url: str, people: People, server: ScriptedServer
) -> None:
    server.hang()
    async with open_room(
        database_url, people, [Endpoint("zephyr", base_url=server.url, first_token_seconds=0.1)]
    ) as room:
        conversation = await room.ask()
    assert last(conversation).status == "failed"
    assert "did not begin to answer in 0.1 seconds" in last(conversation).outcome.error


async def test_reply_fails_when_connection_is_refused(database_url: str, people: People) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # without listening
        endpoint = Endpoint("zephyr", base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        async with open_room(database_url, people, [endpoint]) as room:
            conversation = await room.ask()
    assert last(conversation).status == "failed"
    assert "cannot be reached" in last(conversation).outcome.error


async def test_reply_keeps_partial_text_when_connection_breaks(room: Room, server: ScriptedServer) -> None:
    server.break_after("The beginning of")
    conversation = await room.ask()
    assert (last(conversation).text, last(conversation).status) == ("The beginning of", "failed")
    assert "broke off the connection" in last(conversation).outcome.error
    assert last(conversation).outcome.time_to_first_token is not None


async def test_reply_keeps_partial_text_when_stream_contains_error(room: Room, server: ScriptedServer) -> None:
    server.error_in_stream({"message": "out of memory", "code": 500}, after="The beginning of")
    conversation = await room.ask()
    assert (last(conversation).text, last(conversation).status) == ("The beginning of", "failed")
    assert "out of memory" in last(conversation).outcome.error


async def test_reply_fails_without_new_request_when_context_is_exceeded_in_stream(
    room: Room, server: ScriptedServer
) -> None:
    conversation = await room.ask()
    server.error_in_stream({"message": "maximum context length exceeded", "code": 400}, after="The beginning of")
    conversation = await room.ask("And?", conversation)
    assert (last(conversation).text, last(conversation).status) == ("The beginning of", "failed")
    assert len(server.requests) == 2


@pytest.mark.parametrize("text", ["", " \n\t"])
async def test_reply_fails_when_it_is_blank(room: Room, server: ScriptedServer, text: str) -> None:
    server.reply(text)
    conversation = await room.ask()
    assert (last(conversation).text, last(conversation).status) == ("", "failed")
    assert last(conversation).outcome.error == "The model sent an empty reply; try Retry."


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (delta("", finish_reason="content_filter"), "A content filter of the model's provider withheld this reply"),
        (delta("", finish_reason="length"), "The model used all of its 16 tokens before the first word"),
        (delta("", finish_reason="tool_calls"), "The model tried to call a tool"),
        (delta("", finish_reason="function_call"), "The model tried to call a tool"),
        (delta("", finish_reason="stop", refusal="I cannot."), "The model refused to answer: “I cannot.”"),
        (delta("", finish_reason="stop", refusal="no " * 200), "The model refused to answer: “no no"),
    ],
)
async def test_reply_without_text_reports_cause_and_does_not_recommend_retry(
    room: Room, server: ScriptedServer, chunk: Body, message: str
) -> None:
    server.stream(chunk, "[DONE]")
    conversation = await room.ask()
    error = last(conversation).outcome.error or ""
    assert error.startswith(message)
    assert "Retry" not in error and len(error) < 300


async def test_reply_is_altered_and_flagged_when_characters_cannot_be_stored(
    room: Room, server: ScriptedServer
) -> None:
    script = server.stream(escaped(UNSTORABLE), None, delta("", finish_reason="stop"), "[DONE]")
    conversation = await room.send()
    await held(script)
    await room.draft_says(conversation, STORED)
    script.release()
    conversation = await room.ended(conversation)
    assert (last(conversation).text, last(conversation).altered) == (STORED, True)
    assert await room.now(conversation) == conversation


async def test_reply_joins_surrogate_pair_that_is_split_across_chunks(room: Room, server: ScriptedServer) -> None:
    server.stream(escaped("\ud83d"), escaped("\ude00!"), delta("", finish_reason="stop"), "[DONE]")
    conversation = await room.ask()
    assert (last(conversation).text, last(conversation).altered) == ("😀!", False)


async def test_reply_error_is_altered_when_characters_cannot_be_stored(room: Room, server: ScriptedServer) -> None:
    server.fail(500, {"error": {"message": "it said \0 and \ud800"}})
    conversation = await room.ask()
    assert last(conversation).status == "failed"
    assert "it said \ufffd and \ufffd" in last(conversation).outcome.error
    assert await room.now(conversation) == conversation


async def test_reply_keeps_text_when_usage_or_finish_reason_is_invalid(room: Room, server: ScriptedServer) -> None:
    for count in (10**12, -1, 1.5, "12", True, [1], {"a": 1}, None):
        usage = {"choices": [], "usage": {"prompt_tokens": count, "completion_tokens": 3}}
        server.stream(delta("Hello"), delta("", finish_reason="stop"), usage, "[DONE]")
        conversation = await room.ask()
        assert (last(conversation).text, last(conversation).status) == ("Hello", "complete")
        assert (last(conversation).outcome.prompt_tokens, last(conversation).outcome.completion_tokens) == (None, 3)
        assert await room.now(conversation) == conversation
    for reason, stored in (("st\0p\ud800", "st\ufffdp\ufffd"), ({"type": "eos"}, None), (7, None)):
        server.stream(delta("Hello"), escaped("", finish_reason=reason), "[DONE]")
        conversation = await room.ask()
        assert (last(conversation).text, last(conversation).status) == ("Hello", "complete")
        assert last(conversation).outcome.finish_reason == stored
        assert await room.now(conversation) == conversation


# Stop


async def test_stop_ends_reply_without_text_when_no_token_has_come(room: Room, server: ScriptedServer) -> None:
    script = server.hang()
    conversation = await room.send("Tell me a long story")
    await held(script)
    stopped = await room.stop(conversation)
    assert (texts(stopped), last(stopped).status) == (["Tell me a long story", ""], "stopped")
    assert last(stopped).outcome.error is None
    assert stopped.writing_id is None
    assert await asyncio.to_thread(script.left.wait, 10), "the model is told to stop, too"


async def test_stop_keeps_partial_text_and_disconnects_from_model(room: Room, server: ScriptedServer) -> None:
    script = server.reply("Once upon a time there was", chunk=5, hold_after=3)
    conversation = await room.send()
    await room.shows(conversation, "Once upon a tim")
    stopped = await room.stop(conversation)
    assert (last(stopped).text, last(stopped).status) == ("Once upon a tim", "stopped")
    assert last(stopped).outcome.finish_reason is None
    assert await asyncio.to_thread(script.left.wait, 10)
    assert room.kinds(conversation)[-1] == "reply_finished"


async def test_stop_changes_nothing_when_repeated(room: Room, server: ScriptedServer) -> None:
    script = server.reply("Once upon a time", hold_after=1)
    conversation = await room.send()
    await held(script)
    one, other = await asyncio.gather(room.stop(conversation), room.stop(conversation))
    assert one == other == await room.stop(conversation)
    assert room.kinds(conversation).count("reply_finished") == 1


async def test_stop_leaves_reply_complete_when_model_has_finished(room: Room, server: ScriptedServer) -> None:
    conversation = await room.ask()
    assert await room.stop(conversation) == conversation
    assert last(conversation).status == "complete"


async def test_send_continues_conversation_after_stop(room: Room, server: ScriptedServer) -> None:
    server.reply("Once upon a time", hold_after=1)
    conversation = await room.send()
    await room.shows(conversation, "Once")
    stopped = await room.stop(conversation)
    after = await room.ask("Something shorter", stopped)
    assert texts(after) == ["Hello", "Once", "Something shorter", "Answer 2 to: Something shorter"]


# Watchers


async def test_reply_is_left_with_its_text_when_watchers_have_gone(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = server.reply("Once upon a time", hold_after=1)
    conversation = await room.send()
    await room.shows(conversation, "Once")
    await _checkpoints(room, conversation, 3)
    pass_time(monkeypatch, LINGER_SECONDS + 1)
    assert await asyncio.to_thread(script.left.wait, 10), "the model is told to stop, too"
    await until(lambda: "reply_finished" in room.kinds(conversation))
    assert (room.finished(conversation).text, room.finished(conversation).status) == ("Once", "left")


async def test_reply_is_left_when_it_was_never_watched(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.hang()
    conversation = await room.send()
    pass_time(monkeypatch, LINGER_SECONDS + 1)
    await until(lambda: "reply_finished" in room.kinds(conversation))
    assert (room.finished(conversation).text, room.finished(conversation).status) == ("", "left")


async def test_reply_continues_when_watcher_returns_in_time(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = server.reply("Once upon a time", hold_after=1)
    conversation = await room.send()
    await room.shows(conversation, "Once")
    watching = room.service.watch(conversation.conversation_id, conversation.writing_id)
    assert (await anext(watching)).text == "Once"
    pass_time(monkeypatch, LINGER_SECONDS + 1)
    await _checkpoints(room, conversation, 3)
    script.release()
    ended = [progress async for progress in watching][-1].conversation
    assert (last(ended).text, last(ended).status) == ("Once upon a time", "complete")


async def test_reply_is_complete_when_it_ends_unwatched_in_time(room: Room, server: ScriptedServer) -> None:
    server.reply("Once upon a time")
    conversation = await room.send()
    await until(lambda: "reply_finished" in room.kinds(conversation))
    assert (room.finished(conversation).text, room.finished(conversation).status) == ("Once upon a time", "complete")


async def _checkpoints(room: Room, conversation: Conversation, count: int) -> None:
    """Wait for this many checkpoints of the draft; each renews its lease."""
    leases = set()

    def stored() -> bool:
        draft = room.draft(conversation)
        assert draft is not None
        leases.add(draft.lease_until)
        return len(leases) > count

    await until(stored)


# Shutdown, and faults of ours


async def test_close_ends_replies_as_interrupted_with_full_text(
    database_url: str, people: People, endpoint: Endpoint, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 3600)  # so that no draft holds any of it
    async with open_room(database_url, people, [endpoint]) as room:
        server.reply("Once upon a time", hold_after=2)
        one = await room.send("One")
        await room.shows(one, "Once upo")
        server.hang()
        other = await room.send("Other")
        await room.service.close()
        assert (room.finished(one).text, room.finished(one).status) == ("Once upo", "interrupted")
        assert (room.finished(other).text, room.finished(other).status) == ("", "interrupted")
        assert (await room.now(one)).writing_id is None


async def test_close_ends_reply_that_starts_meanwhile(
    database_url: str, people: People, endpoint: Endpoint, server: ScriptedServer
) -> None:
    server.hang()
    server.hang()
    async with open_room(database_url, people, [endpoint]) as room:
        running = await room.send()
        sending = asyncio.create_task(room.send("Just in time"))
        await asyncio.sleep(0)  # it has begun
        await room.service.close()
        conversation = await sending
        for ended in (running, conversation):
            assert room.finished(ended).status == "interrupted"
        assert (await room.now(conversation)).writing_id is None


async def test_reply_is_interrupted_with_full_text_when_checkpoint_raises(
    room: Room, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply("Once upon a time", hold_after=1)
    conversation = await room.send()
    await room.shows(conversation, "Once")

    def broken(_tx: Transaction, **_draft: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(reply_leases, "save", broken)
    ended = await room.ended(conversation)
    assert (last(ended).text, last(ended).status) == ("Once", "interrupted")


# The stream of a model


async def test_chat_model_closes_client_stream_when_its_own_is_closed(
    endpoint: Endpoint, server: ScriptedServer, room: Room
) -> None:
    closed = False

    class Watched(ModelClient):
        async def stream(self, request: ReplyRequest, *args: Any) -> Pieces:
            nonlocal closed
            try:
                async with contextlib.aclosing(super().stream(request, *args)) as pieces:
                    async for piece in pieces:
                        yield piece
            finally:
                closed = True

    client = Watched(endpoint)

    async def connect() -> ModelClient:
        return client

    server.reply("Once upon a time", hold_after=1)
    pieces = replace(room.models["zephyr"], connect=connect).stream([], seed=1, fresh=False)
    assert await anext(pieces) == Delta("Once")
    await pieces.aclose()
    assert closed
    await client.aclose()

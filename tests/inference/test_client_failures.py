"""Model client: cancelled and failed replies, against a real server."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing

import pytest

from chatfeedback.errors import (
    ContextExceeded,
    KeyRefused,
    ModelError,
    ModelFailed,
    ModelTimeout,
    ModelUnknown,
    ModelUnreachable,
    RateLimited,
    ReplyEndless,
    StreamBroken,
)
from chatfeedback.inference.client import Endpoint, Finish, ModelClient
from inference.client_calls import SHORT_SECONDS, asking, failure, pieces_before_failure, reply, reply_from
from openai_server import Event, ScriptedServer, delta

LONG_SECONDS = 60

# Cancellation


async def test_stream_closes_connection_when_closed(server: ScriptedServer, client: ModelClient) -> None:
    held = server.reply("one two three", hold_after=1)
    async with aclosing(client.stream(asking())) as pieces:
        await anext(pieces)

    assert await asyncio.to_thread(held.left.wait, 5)


@pytest.mark.parametrize("when", ["before the first piece", "between two pieces", "before any answer"])
async def test_stream_closes_connection_when_reader_is_cancelled(
    server: ScriptedServer, client: ModelClient, when: str
) -> None:
    if when == "before any answer":
        held = server.hang()
    else:
        held = server.reply("one two three", hold_after=0 if when == "before the first piece" else 1)
    reader = asyncio.create_task(reply(client))
    assert await asyncio.to_thread(held.reached.wait, 5)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    assert await asyncio.to_thread(held.left.wait, 5)


# Failures


async def test_stream_raises_stream_broken_after_text_when_connection_breaks(
    server: ScriptedServer, client: ModelClient
) -> None:
    server.break_after("half a rep")
    text, error = await pieces_before_failure(client)

    assert text == "half a rep"
    assert isinstance(error, StreamBroken) and "'m'" in str(error)


async def test_stream_raises_stream_broken_when_it_ends_without_end_mark(
    server: ScriptedServer, endpoint: Endpoint
) -> None:
    server.stream(delta("and then"))
    server.stream()
    server.stream(breaks=True)

    assert [type(await failure(endpoint)) for _ in range(3)] == [StreamBroken] * 3


SILENCES = ["before any answer", "before the first piece", "between two pieces"]


@pytest.mark.parametrize("when", SILENCES)
async def test_stream_raises_model_timeout_when_server_is_silent(
    server: ScriptedServer, endpoint: Endpoint, when: str
) -> None:
    if when == "before any answer":
        held = server.hang()
    else:
        held = server.reply("one two", hold_after=SILENCES.index(when) - 1)
    between = when == "between two pieces"
    short, long = ("timeout_seconds", "first_token_seconds") if between else ("first_token_seconds", "timeout_seconds")
    error = await failure(dataclasses.replace(endpoint, **{short: SHORT_SECONDS, long: LONG_SECONDS}))

    assert isinstance(error, ModelTimeout)
    message = (
        "was silent for 0.2 seconds in the middle of its reply" if between else "did not begin to answer in 0.2 seconds"
    )
    assert message in str(error) and short in str(error) and long not in str(error)
    assert await asyncio.to_thread(held.left.wait, 5)


@pytest.mark.parametrize("when", ["before the first piece", "between two pieces"])
async def test_stream_raises_model_timeout_when_chunks_contain_no_text(
    server: ScriptedServer, endpoint: Endpoint, when: str
) -> None:
    empty = [b": keep-alive\n\n", {"choices": []}, delta(None, reasoning="Hm."), delta("")] * 250
    text_chunks = [delta("so far")] if when == "between two pieces" else []
    server.tokens_per_second = 50 / SHORT_SECONDS
    script = server.stream(*text_chunks, *empty, "[DONE]")
    impatient = dataclasses.replace(endpoint, first_token_seconds=SHORT_SECONDS, timeout_seconds=SHORT_SECONDS)

    assert isinstance(await failure(impatient), ModelTimeout)
    assert await asyncio.to_thread(script.left.wait, 5)


async def test_stream_cuts_off_endless_reply_at_maximum_length(server: ScriptedServer, endpoint: Endpoint) -> None:
    held = server.stream(*[delta("word ")] * 21, None, "[DONE]")
    client = ModelClient(dataclasses.replace(endpoint, max_reply_chars=104, timeout_seconds=10))
    text, error = await pieces_before_failure(client)
    await client.aclose()

    assert text == "word " * 20 + "word"
    assert isinstance(error, ReplyEndless) and "104 characters" in str(error) and "max_reply_chars" in str(error)
    assert await asyncio.to_thread(held.left.wait, 5)


async def test_stream_accepts_reply_of_maximum_length(server: ScriptedServer, endpoint: Endpoint) -> None:
    server.reply("word " * 20)

    assert (await reply_from(dataclasses.replace(endpoint, max_reply_chars=100)))[0] == "word " * 20


async def test_client_reads_only_beginning_of_endless_error_response(
    server: ScriptedServer, endpoint: Endpoint
) -> None:
    held = server.stream(b"no " * 2**16, None, status=500, headers={"Content-Type": "text/plain"})
    error = await failure(dataclasses.replace(endpoint, first_token_seconds=10))

    assert type(error) is ModelFailed and "“no no" in str(error)
    assert await asyncio.to_thread(held.left.wait, 5)


async def test_client_raises_model_unreachable_when_no_server_answers() -> None:
    with ScriptedServer() as gone:
        url = gone.url
    refused = await failure(Endpoint("m", base_url=url, attempts=1))
    unknown_host = await failure(Endpoint("m", base_url="http://no-such-host.invalid/v1", attempts=1))

    assert isinstance(refused, ModelUnreachable) and url in str(refused)
    assert isinstance(unknown_host, ModelUnreachable) and "no-such-host" in str(unknown_host)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, {"error": {"message": "Incorrect API key provided: sk-abcdefgh", "code": "invalid_api_key"}}, KeyRefused),
        (403, {"error": "Forbidden"}, KeyRefused),
        (404, {"error": {"message": "The model `m` does not exist.", "type": "NotFoundError"}}, ModelUnknown),
        (404, "<html><body>404 page not found</body></html>", ModelUnknown),
        (
            400,
            {
                "error": {
                    "message": "The requested model 'm' is not supported by any provider you have enabled.",
                    "code": "model_not_supported",
                }
            },
            ModelUnknown,
        ),
        (429, {"error": {"message": "Rate limit reached"}}, RateLimited),
        (402, {"error": "You have exceeded your monthly included credits"}, RateLimited),
        (413, {"error": {"message": "Request too large", "code": "rate_limit_exceeded"}}, RateLimited),
        (504, "upstream timed out", ModelTimeout),
        (500, {"error": {"message": "CUDA out of memory"}}, ModelFailed),
        (503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}, ModelFailed),
        (307, "", ModelFailed),
        (
            400,
            {
                "error": {
                    "code": 400,
                    "message": "request (9000 tokens) exceeds the available context size (8192 tokens)",
                    "type": "exceed_context_size_error",
                    "n_ctx": 8192,
                }
            },
            ContextExceeded,
        ),
        (
            400,
            {
                "object": "error",
                "message": "This model's maximum context length is 2048 tokens. However, you requested 2500 tokens "
                "(1988 in the messages, 512 in the completion).",
                "type": "BadRequestError",
                "code": 400,
            },
            ContextExceeded,
        ),
        (
            400,
            {"error": {"message": "Too long.", "type": "invalid_request_error", "code": "context_length_exceeded"}},
            ContextExceeded,
        ),
        (
            422,
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 "
                "`inputs` tokens and 512 `max_new_tokens`",
                "error_type": "validation",
            },
            ContextExceeded,
        ),
        (413, "", ContextExceeded),
    ],
)
async def test_client_translates_error_response_by_status_and_body(
    server: ScriptedServer, endpoint: Endpoint, status: int, body: dict[str, object] | str, expected: type[ModelError]
) -> None:
    server.fail(status, body, location="http://elsewhere.example/v1")
    error = await failure(endpoint)

    assert type(error) is expected
    assert "'m'" in str(error) and "\n" not in str(error)
    assert "<" not in str(error) and "sk-abcdefgh" not in str(error)


@pytest.mark.parametrize(
    ("payload", "more", "expected"),
    [
        ({"message": "CUDA error", "type": "InternalServerError", "code": 500}, {}, ModelFailed),
        ("Model is overloaded", {"error_type": "overloaded"}, RateLimited),
        ("Input is gone", {"error_type": "incomplete_generation"}, StreamBroken),
        ("out of memory", {"error_type": "generation"}, ModelFailed),
        ({"message": "Context size has been exceeded.", "type": "server_error", "code": 500}, {}, ContextExceeded),
        ({"message": "Rate limit reached", "code": 429}, {}, RateLimited),
        ("Request failed during generation", {}, ModelFailed),
    ],
)
async def test_stream_translates_error_event(
    server: ScriptedServer, client: ModelClient, payload: dict[str, object] | str, more: dict[str, str], expected: type
) -> None:
    server.error_in_stream(payload, after="so far", **more)
    text, error = await pieces_before_failure(client)

    assert text == "so far"
    assert type(error) is expected


async def test_stream_translates_error_event_of_older_form(server: ScriptedServer, endpoint: Endpoint) -> None:
    server.stream(
        delta("so far"), {"object": "error", "message": "maximum context length is 10", "code": 400}, "[DONE]"
    )

    assert isinstance(await failure(endpoint), ContextExceeded)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'error: {"code":500,"message":"decode failed","type":"server_error"}\n\n', ModelFailed),
        (b'error: {"code":400,"message":"the request exceeds the available context size"}\n\n', ContextExceeded),
        (b'event: error\ndata: {"message": "Rate limit reached", "code": 429}\n\n', RateLimited),
        (b'{"error": {"message": "decode failed"}}\n\n', ModelFailed),
        (b'data: {"message": "decode failed", "code": 500}\n\n', ModelFailed),
        (b"Internal Server Error\n\n", ModelFailed),
        (b'data: {"status": "aborted"}\n\n', ModelFailed),
    ],
)
async def test_stream_raises_for_error_in_unusual_form(
    server: ScriptedServer, client: ModelClient, line: bytes, expected: type
) -> None:
    server.stream(delta("half a re"), line, "[DONE]")
    text, error = await pieces_before_failure(client)

    assert (text, type(error)) == ("half a re", expected)


NO_CHUNKS: list[Event] = [
    "not json",
    "[1, 2]",
    "null",
    '"text"',
    {"choices": [None]},
    {"choices": ["x"]},
    {"choices": [{"delta": {"content": ["a", "list"]}}]},
    {"choices": [{"delta": {"content": 7}}]},
    b"data: " + b"x" * 2**20 + b"\n\n",
]


@pytest.mark.parametrize("event", NO_CHUNKS, ids=lambda event: str(event)[:40])
async def test_stream_raises_model_failed_for_event_other_than_chat_completion(
    server: ScriptedServer, client: ModelClient, event: Event
) -> None:
    server.stream(event, "[DONE]")
    server.stream(delta("so far"), event, "[DONE]")
    for so_far, advice in (("", "check that the address"), ("so far", "in the middle of its reply")):
        text, error = await pieces_before_failure(client)
        assert (text, type(error)) == (so_far, ModelFailed)
        assert advice in str(error)


@pytest.mark.parametrize("cut", ["caf", "é".encode()[:-1]], ids=["within a word", "within a character"])
async def test_stream_raises_stream_broken_when_chunk_is_cut_off(
    server: ScriptedServer, client: ModelClient, cut: str | bytes
) -> None:
    half = b'data: {"choices": [{"delta": {"content": "' + (cut.encode() if isinstance(cut, str) else cut)
    for breaks in (True, False):
        server.stream(delta("Half a w"), half, breaks=breaks)
        text, error = await pieces_before_failure(client)
        assert (text, type(error)) == ("Half a w", StreamBroken)


async def test_stream_ignores_invalid_usage_after_whole_reply(server: ScriptedServer, client: ModelClient) -> None:
    server.stream(delta("whole", finish_reason="stop"), {"choices": [], "usage": "many"}, "[DONE]")

    assert await reply(client) == ("whole", Finish("stop", None, None))


@pytest.mark.parametrize("body", ["<html>Please log in</html>", "ready", {"status": "ok"}, {"choices": [7]}])
async def test_client_advises_to_check_address_when_response_is_no_stream(
    server: ScriptedServer, endpoint: Endpoint, body: dict[str, object] | str
) -> None:
    server.fail(200, body)
    error = await failure(endpoint)

    assert type(error) is ModelFailed
    assert "/v1" in str(error) and "<html>" not in str(error)


async def test_error_message_contains_delay_that_server_asks_for(server: ScriptedServer, endpoint: Endpoint) -> None:
    server.fail(429, {"error": "slow down"}, retry_after="17")

    assert str(await failure(endpoint)).endswith("; try again in 17 seconds.")


async def test_error_message_quotes_server_in_one_short_line_without_keys(
    server: ScriptedServer, endpoint: Endpoint
) -> None:
    key = "sosecret-1234"
    server_message = (
        f"Bad thing with {key}\n and Bearer abc.def and hf_aaaaaaaaaaaa at http://me:pw@host/ " + "very " * 100
    )
    server.fail(500, {"error": {"message": server_message}})
    basic = endpoint.base_url or ""
    error = str(await failure(dataclasses.replace(endpoint, api_key=key, base_url=basic.replace("//", "//me:pw@"))))

    assert "Bad thing with" in error
    assert not [secret for secret in (key, "abc.def", "hf_aaaa", "me:pw") if secret in error]
    assert "\n" not in error and len(error) < 400

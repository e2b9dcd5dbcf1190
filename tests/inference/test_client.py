"""What a model client asks, what it gives back, and how it ends, against a real server."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest
from huggingface_hub.inference._providers import CONVERSATIONAL_AUTO_ROUTER

from chatfeedback.errors import (
    ContextExceeded,
    KeyRefused,
    ModelError,
    ModelFailed,
    ModelTimeout,
    ModelUnknown,
    ModelUnreachable,
    RateLimited,
    SettingsError,
    StreamBroken,
)
from chatfeedback.inference.client import ChatMessage, Delta, Endpoint, Finish, ModelClient, ReplyRequest, Sampling
from openai_server import ScriptedServer, delta

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=64)
HUB_TOKEN = "hf_theUsersOwnToken"
SHORT_SECONDS = 0.2
PROXY_VARIABLES = [
    name for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for name in (variable, variable.lower())
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user is logged in to Hugging Face, in every test, and needs no proxy."""
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def endpoint(server: ScriptedServer) -> Endpoint:
    return Endpoint("m", base_url=server.url)


@pytest.fixture
async def client(endpoint: Endpoint) -> AsyncIterator[ModelClient]:
    opened = ModelClient(endpoint)
    yield opened
    await opened.aclose()


def asking(*messages: ChatMessage, fresh: bool = False) -> ReplyRequest:
    return ReplyRequest(messages or (ChatMessage("user", "Hello?"),), SAMPLING, seed=41, fresh=fresh)


async def reply(client: ModelClient, request: ReplyRequest | None = None) -> tuple[str, Finish]:
    """All of a reply. Its Finish must be the only one, and last."""
    *deltas, finish = [piece async for piece in client.stream(request or asking())]
    assert all(isinstance(piece, Delta) and piece.text for piece in deltas)
    assert isinstance(finish, Finish)
    return "".join(piece.text for piece in deltas if isinstance(piece, Delta)), finish


async def failure(endpoint: Endpoint) -> ModelError:
    """The error that a reply ends with."""
    client = ModelClient(endpoint)
    with pytest.raises(ModelError) as caught:
        await reply(client)
    await client.aclose()
    return caught.value


# What is asked


async def test_a_request_carries_the_messages_the_sampling_and_the_seed(
    server: ScriptedServer, client: ModelClient
) -> None:
    await reply(client, asking(ChatMessage("system", "Be brief."), ChatMessage("user", "Hello?")))

    (request,) = server.requests
    assert request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello?"},
    ]
    assert {name: request[name] for name in ("model", "temperature", "top_p", "max_tokens", "seed", "stream")} == {
        "model": "m",
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 64,
        "seed": 41,
        "stream": True,
    }


async def test_neighbours_of_one_role_are_joined_by_a_blank_line(server: ScriptedServer, client: ModelClient) -> None:
    said = [("user", "one"), ("user", "two"), ("assistant", "three"), ("assistant", "four"), ("user", "five")]
    await reply(client, asking(*(ChatMessage(role, text) for role, text in said)))  # type: ignore[arg-type]

    assert server.requests[0]["messages"] == [
        {"role": "user", "content": "one\n\ntwo"},
        {"role": "assistant", "content": "three\n\nfour"},
        {"role": "user", "content": "five"},
    ]


async def test_a_fresh_reply_passes_caches_by_and_the_next_one_does_not(
    server: ScriptedServer, client: ModelClient
) -> None:
    await asyncio.gather(reply(client, asking(fresh=True)), reply(client), reply(client, asking(fresh=True)))
    await reply(client)

    told = [(headers.get("x-use-cache"), headers.get("cache-control")) for headers in server.headers]
    assert sorted(told[:3], key=str) == [("false", "no-cache"), ("false", "no-cache"), (None, None)]
    assert told[3] == (None, None)


async def test_no_token_leaves_for_an_address_that_is_not_hugging_faces(
    server: ScriptedServer, client: ModelClient
) -> None:
    await reply(client)

    assert "authorization" not in server.headers[0]
    assert HUB_TOKEN not in str(server.headers) + str(server.requests)


async def test_a_configured_key_is_sent(server: ScriptedServer, endpoint: Endpoint) -> None:
    client = ModelClient(dataclasses.replace(endpoint, api_key="sk-configured"))
    await reply(client)
    await client.aclose()

    assert server.headers[0]["authorization"] == "Bearer sk-configured"


async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    server: ScriptedServer, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PROXY_VARIABLES[:6]:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = ModelClient(endpoint)
    text, _ = await reply(client)
    await client.aclose()

    assert text == "Answer 1 to: Hello?"


# Hugging Face's providers


@pytest.fixture
def hub(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """Hugging Face's router, answered by `server`."""
    monkeypatch.setattr(CONVERSATIONAL_AUTO_ROUTER, "base_url", server.url.removesuffix("/v1"))
    return server


async def test_a_model_of_the_hub_is_asked_through_the_router_with_the_users_token(hub: ScriptedServer) -> None:
    for provider in (None, "together"):
        client = ModelClient(Endpoint("org/model", provider=provider))
        await reply(client)
        await client.aclose()

    assert [request["model"] for request in hub.requests] == ["org/model", "org/model:together"]
    assert [headers["authorization"] for headers in hub.headers] == [f"Bearer {HUB_TOKEN}"] * 2


async def test_a_model_of_the_hub_without_a_token_says_which_one_it_wants(
    hub: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatfeedback.inference.client.get_token", lambda: None)
    error = await failure(Endpoint("org/model"))

    assert isinstance(error, KeyRefused)
    assert "HF_TOKEN" in str(error)
    assert hub.requests == []


async def test_a_providers_own_key_is_not_sent_to_hugging_face(hub: ScriptedServer) -> None:
    error = await failure(Endpoint("org/model", provider="together", api_key="tgp_v1_secret"))

    assert isinstance(error, KeyRefused)
    assert "base_url" in str(error) and "tgp_v1" not in str(error)
    assert hub.requests == []


async def test_offline_mode_keeps_from_the_hub_but_not_from_a_server_of_ones_own(
    server: ScriptedServer, client: ModelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    assert isinstance(await failure(Endpoint("org/model")), ModelUnreachable)
    assert (await reply(client))[0]


# What comes back


async def test_a_reply_comes_in_pieces_while_it_is_written(server: ScriptedServer, client: ModelClient) -> None:
    held = server.reply("one two three", chunk=4, hold_after=(1, 2))
    pieces = client.stream(asking())

    assert await anext(pieces) == Delta("one ")
    assert await asyncio.to_thread(held.reached.wait, 5)
    held.release()
    assert await anext(pieces) == Delta("two ")
    held.release()
    assert [piece async for piece in pieces] == [Delta("thre"), Delta("e"), Finish("stop", 11, 7)]


async def test_tokens_are_counted_where_the_server_tells(server: ScriptedServer, client: ModelClient) -> None:
    server.reply("counted", finish_reason="length", usage=(120, 64))
    server.reply("not counted", usage=None)

    assert await reply(client) == ("counted", Finish("length", 120, 64))
    assert await reply(client) == ("not counted", Finish("stop", None, None))


@pytest.mark.parametrize("status", [400, 422])
async def test_a_server_that_does_not_know_token_counts_is_asked_without_from_then_on(
    server: ScriptedServer, client: ModelClient, status: int
) -> None:
    server.fail(status, {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]})

    assert await reply(client) == ("Answer 2 to: Hello?", Finish("stop", None, None))
    assert await reply(client) == ("Answer 3 to: Hello?", Finish("stop", None, None))
    assert ["stream_options" in request for request in server.requests] == [True, False, False]


async def test_chunks_without_text_are_passed_over(server: ScriptedServer, client: ModelClient) -> None:
    server.stream(
        {"choices": []},
        delta(None, role="assistant"),
        delta("", role="assistant"),
        delta(None, reasoning_content="Let me think."),
        delta(None, reasoning="Hm."),
        {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
        delta("Yes."),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
        {"choices": None},
        "[DONE]",
    )

    assert await reply(client) == ("Yes.", Finish("stop", 3, 2))


async def test_every_character_of_every_script_arrives(server: ScriptedServer, client: ModelClient) -> None:
    text = "naïve 委员会 🎉👩‍👩‍👧 \u2028 \u0085 \x0b \\n \r\n \t end"  # some of these end a line for Python
    server.reply(text, chunk=1)

    assert (await reply(client))[0] == text


async def test_an_end_mark_is_enough_and_so_is_a_reason_to_end(server: ScriptedServer, client: ModelClient) -> None:
    server.stream(delta("marked"), "[DONE]")
    server.stream(delta("reasoned", finish_reason="stop"))
    server.stream(delta("lost its counts", finish_reason="stop"), breaks=True)

    assert await reply(client) == ("marked", Finish(None, None, None))
    assert await reply(client) == ("reasoned", Finish("stop", None, None))
    assert await reply(client) == ("lost its counts", Finish("stop", None, None))


async def test_a_whole_reply_does_not_wait_long_for_its_counts(
    server: ScriptedServer, client: ModelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatfeedback.inference.client._USAGE_SECONDS", SHORT_SECONDS)
    server.stream(delta("whole", finish_reason="stop"), None, "[DONE]")

    assert await reply(client) == ("whole", Finish("stop", None, None))


async def test_replies_are_streamed_side_by_side(server: ScriptedServer, client: ModelClient) -> None:
    held = [server.reply(f"reply {number}", chunk=100, hold_after=1) for number in range(120)]
    streams = [client.stream(asking()) for _ in held]
    begun = await asyncio.gather(*(anext(stream) for stream in streams))
    for script in held:
        script.release()
    ends = [[piece async for piece in stream] for stream in streams]

    assert sorted(piece.text for piece in begun if isinstance(piece, Delta)) == sorted(
        f"reply {number}" for number in range(120)
    )
    assert ends == [[Finish("stop", 11, 7)]] * 120


# How it ends early


async def test_closing_the_stream_closes_the_connection(server: ScriptedServer, client: ModelClient) -> None:
    held = server.reply("one two three", hold_after=1)
    async with aclosing(client.stream(asking())) as pieces:
        await anext(pieces)

    assert await asyncio.to_thread(held.left.wait, 5)


@pytest.mark.parametrize("when", ["before the first piece", "between two pieces", "before any answer"])
async def test_cancelling_the_reader_closes_the_connection(
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


# How it fails


async def test_a_connection_that_breaks_is_told_from_a_reply_that_ends(
    server: ScriptedServer, client: ModelClient
) -> None:
    server.break_after("half a rep")
    pieces = []
    with pytest.raises(StreamBroken) as caught:
        async for piece in client.stream(asking()):
            pieces.append(piece)

    assert "".join(piece.text for piece in pieces if isinstance(piece, Delta)) == "half a rep"
    assert "'m'" in str(caught.value)


async def test_a_stream_that_just_stops_is_broken_too(server: ScriptedServer, endpoint: Endpoint) -> None:
    server.stream(delta("and then"))
    server.stream()
    server.stream(breaks=True)

    assert [type(await failure(endpoint)) for _ in range(3)] == [StreamBroken] * 3


SILENCES = ["before any answer", "before the first piece", "between two pieces"]


@pytest.mark.parametrize("when", SILENCES)
async def test_silence_ends_in_a_timeout(server: ScriptedServer, endpoint: Endpoint, when: str) -> None:
    if when == "before any answer":
        held = server.hang()
    else:
        held = server.reply("one two", hold_after=SILENCES.index(when) - 1)
    error = await failure(dataclasses.replace(endpoint, timeout=SHORT_SECONDS))

    assert isinstance(error, ModelTimeout)
    assert "0.2 seconds" in str(error)
    assert await asyncio.to_thread(held.left.wait, 5)


async def test_nothing_at_the_address_is_unreachable() -> None:
    with ScriptedServer() as gone:
        url = gone.url
    refused = await failure(Endpoint("m", base_url=url))
    unknown_host = await failure(Endpoint("m", base_url="http://no-such-host.invalid/v1"))

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
async def test_a_refusal_becomes_the_error_that_says_what_it_is(
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
async def test_an_error_inside_the_stream_is_recognised(
    server: ScriptedServer, client: ModelClient, payload: dict[str, object] | str, more: dict[str, str], expected: type
) -> None:
    server.error_in_stream(payload, after="so far", **more)
    pieces = []
    with pytest.raises(ModelError) as caught:
        async for piece in client.stream(asking()):
            pieces.append(piece)

    assert "".join(piece.text for piece in pieces if isinstance(piece, Delta)) == "so far"
    assert type(caught.value) is expected


async def test_the_older_shape_of_an_error_inside_the_stream_is_recognised(
    server: ScriptedServer, endpoint: Endpoint
) -> None:
    server.stream(
        delta("so far"), {"object": "error", "message": "maximum context length is 10", "code": 400}, "[DONE]"
    )

    assert isinstance(await failure(endpoint), ContextExceeded)


@pytest.mark.parametrize("event", ["not json", "[1, 2]", "null", '"text"', {"choices": [None]}, {"choices": ["x"]}])
async def test_what_is_no_chat_completion_is_a_failure(
    server: ScriptedServer, endpoint: Endpoint, event: dict[str, object] | str
) -> None:
    server.stream(event, "[DONE]")

    assert type(await failure(endpoint)) is ModelFailed


@pytest.mark.parametrize("body", ["<html>Please log in</html>", {"choices": [{"message": {"content": "whole"}}]}])
async def test_an_answer_that_is_no_stream_says_to_look_at_the_address(
    server: ScriptedServer, endpoint: Endpoint, body: dict[str, object] | str
) -> None:
    server.fail(200, body)
    error = await failure(endpoint)

    assert type(error) is ModelFailed
    assert "/v1" in str(error) and "<html>" not in str(error)


async def test_a_server_that_says_when_to_come_back_is_quoted(server: ScriptedServer, endpoint: Endpoint) -> None:
    server.fail(429, {"error": "slow down"}, retry_after="17")

    assert "in 17 seconds" in str(await failure(endpoint))


async def test_an_error_quotes_the_server_in_one_short_line_without_keys(
    server: ScriptedServer, endpoint: Endpoint
) -> None:
    key = "sosecret-1234"
    said = f"Bad thing with {key}\n and Bearer abc.def and hf_aaaaaaaaaaaa at http://me:pw@host/ " + "very " * 100
    server.fail(500, {"error": {"message": said}})
    basic = endpoint.base_url or ""
    error = str(await failure(dataclasses.replace(endpoint, api_key=key, base_url=basic.replace("//", "//me:pw@"))))

    assert "Bad thing with" in error
    assert not [secret for secret in (key, "abc.def", "hf_aaaa", "me:pw") if secret in error]
    assert "\n" not in error and len(error) < 400


# Endpoints


def test_the_public_name_of_an_endpoint_holds_no_secret() -> None:
    secret = Endpoint("m", base_url="https://user:pass@host:8000/v1?key=abc#frag", api_key="sk-secret")

    assert secret.public_name == "https://host:8000/v1"
    assert not [word for word in ("pass", "abc", "sk-secret") if word in repr(secret)]
    assert Endpoint("org/model").public_name == "auto"
    assert Endpoint("org/model", provider="hf-inference").public_name == "hf-inference"


def test_the_users_token_is_for_hugging_faces_own_hosts_over_https() -> None:
    own = ["https://router.huggingface.co/v1", "https://x1.eu.endpoints.huggingface.cloud/v1", "https://huggingface.co"]
    others = [
        "http://router.huggingface.co/v1",
        "https://nothuggingface.co/v1",
        "https://huggingface.co.example.org/v1",
        "https://huggingface.co@example.org/v1",
        "https://someone.hf.space/v1",
        "http://127.0.0.1:8000/v1",
    ]

    assert all(Endpoint("m", base_url=url).is_hugging_face for url in own)
    assert not any(Endpoint("m", base_url=url).is_hugging_face for url in others)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host/v1", "http://", "", "http://host:99999/v1"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(SettingsError, match="base_url"):
        Endpoint("m", base_url=url)


async def test_a_password_in_the_address_is_used_and_not_shown(server: ScriptedServer, endpoint: Endpoint) -> None:
    address = (endpoint.base_url or "").replace("//", "//me:pw@").replace("http", "HTTP")
    client = ModelClient(dataclasses.replace(endpoint, base_url=address))
    await reply(client)
    await client.aclose()

    assert server.headers[0]["authorization"] == "Basic " + base64.b64encode(b"me:pw").decode()

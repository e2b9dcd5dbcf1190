"""Model client: its requests and its replies, against a real server."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading

import pytest
from huggingface_hub.inference._providers import CONVERSATIONAL_AUTO_ROUTER

from chatfeedback.errors import KeyRefused, ModelUnreachable
from chatfeedback.inference.client import ChatMessage, Delta, Endpoint, Finish, ModelClient
from inference.client_calls import SHORT_SECONDS, asking, failure, reply, reply_from
from openai_server import ScriptedServer, delta

# Requests


async def test_request_contains_messages_sampling_and_seed(server: ScriptedServer, client: ModelClient) -> None:
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


async def test_request_joins_adjacent_messages_of_one_role(server: ScriptedServer, client: ModelClient) -> None:
    turns = [("user", "one"), ("user", "two"), ("assistant", "three"), ("assistant", "four"), ("user", "five")]
    await reply(client, asking(*(ChatMessage(role, text) for role, text in turns)))  # type: ignore[arg-type]

    assert server.requests[0]["messages"] == [
        {"role": "user", "content": "one\n\ntwo"},
        {"role": "assistant", "content": "three\n\nfour"},
        {"role": "user", "content": "five"},
    ]


async def test_request_bypasses_caches_only_for_fresh_reply(server: ScriptedServer, client: ModelClient) -> None:
    await asyncio.gather(reply(client, asking(fresh=True)), reply(client), reply(client, asking(fresh=True)))
    await reply(client)

    cache_headers = [(headers.get("x-use-cache"), headers.get("cache-control")) for headers in server.headers]
    assert sorted(cache_headers[:3], key=str) == [("false", "no-cache"), ("false", "no-cache"), (None, None)]
    assert cache_headers[3] == (None, None)


async def test_request_sends_no_hub_token_to_other_address(
    server: ScriptedServer, client: ModelClient, hub_token: str
) -> None:
    await reply(client)

    assert "authorization" not in server.headers[0]
    assert hub_token not in str(server.headers) + str(server.requests)


async def test_client_does_not_look_up_hub_token_for_other_address(
    client: ModelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []
    for module in ("inference._providers.hf_inference", "utils._headers"):
        monkeypatch.setattr(f"huggingface_hub.{module}.get_token", lambda: looked_up.append(1))
    await reply(client)

    assert looked_up == []


async def test_request_sends_configured_key(server: ScriptedServer, endpoint: Endpoint) -> None:
    await reply_from(dataclasses.replace(endpoint, api_key="sk-configured"))

    assert server.headers[0]["authorization"] == "Bearer sk-configured"


@pytest.mark.usefixtures("dead_proxies")
async def test_client_bypasses_proxy_for_this_machine(endpoint: Endpoint) -> None:
    assert (await reply_from(endpoint))[0] == "Answer 1 to: Hello?"


# Hugging Face's providers


@pytest.fixture
def hub(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """Hugging Face's router, answered by `server`."""
    monkeypatch.setattr(CONVERSATIONAL_AUTO_ROUTER, "base_url", server.url.removesuffix("/v1"))
    return server


async def test_client_routes_hub_model_with_hub_token(hub: ScriptedServer, hub_token: str) -> None:
    for provider in (None, "together"):
        await reply_from(Endpoint("org/model", provider=provider))

    assert [request["model"] for request in hub.requests] == ["org/model", "org/model:together"]
    assert [headers["authorization"] for headers in hub.headers] == [f"Bearer {hub_token}"] * 2


async def test_client_names_missing_hub_token(hub: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatfeedback.inference.client.get_token", lambda: None)
    error = await failure(Endpoint("org/model"))

    assert isinstance(error, KeyRefused)
    assert "HF_TOKEN" in str(error)
    assert hub.requests == []


async def test_client_does_not_send_provider_key_to_hub(hub: ScriptedServer) -> None:
    error = await failure(Endpoint("org/model", provider="together", api_key="tgp_v1_secret"))

    assert isinstance(error, KeyRefused)
    assert "base_url" in str(error) and "tgp_v1" not in str(error)
    assert hub.requests == []


async def test_client_in_offline_mode_refuses_hub_and_uses_own_server(
    server: ScriptedServer, client: ModelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    error = await failure(Endpoint("org/model"))

    assert isinstance(error, ModelUnreachable) and "HF_HUB_OFFLINE" in str(error)
    assert (await reply(client))[0]


# Replies


async def test_stream_yields_chunks_as_they_arrive(server: ScriptedServer, client: ModelClient) -> None:
    held = server.reply("one two three", chunk=4, hold_after=(1, 2))
    pieces = client.stream(asking())

    assert await anext(pieces) == Delta("one ")
    assert await asyncio.to_thread(held.reached.wait, 5)
    held.release()
    assert await anext(pieces) == Delta("two ")
    held.release()
    *deltas, finish = [piece async for piece in pieces]
    assert "".join(piece.text for piece in deltas if isinstance(piece, Delta)) == "three"
    assert finish == Finish("stop", 11, 7)


async def test_stream_reports_token_counts_when_server_sends_them(server: ScriptedServer, client: ModelClient) -> None:
    server.reply("counted", finish_reason="length", usage=(120, 64))
    server.reply("not counted", usage=None)

    assert await reply(client) == ("counted", Finish("length", 120, 64))
    assert await reply(client) == ("not counted", Finish("stop", None, None))


@pytest.mark.parametrize("status", [400, 422])
async def test_client_omits_stream_options_after_server_has_refused_them(
    server: ScriptedServer, client: ModelClient, status: int
) -> None:
    server.fail(status, {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]})

    assert await reply(client) == ("Answer 2 to: Hello?", Finish("stop", None, None))
    assert await reply(client) == ("Answer 3 to: Hello?", Finish("stop", None, None))
    assert ["stream_options" in request for request in server.requests] == [True, False, False]


async def test_stream_skips_chunks_without_text(server: ScriptedServer, client: ModelClient) -> None:
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


async def test_stream_keeps_all_characters(server: ScriptedServer, client: ModelClient) -> None:
    text = "naïve 委员会 🎉👩‍👩‍👧 \u2028 \u0085 \x0b \\n \r\n \t end"  # some of these end a line for Python
    server.reply(text, chunk=1)

    assert (await reply(client))[0] == text


async def test_stream_ends_at_end_mark_or_finish_reason(server: ScriptedServer, client: ModelClient) -> None:
    server.stream(delta("marked"), "[DONE]")
    server.stream(delta("reasoned", finish_reason="stop"))
    server.stream(delta("lost its counts", finish_reason="stop"), breaks=True)

    assert await reply(client) == ("marked", Finish(None, None, None))
    assert await reply(client) == ("reasoned", Finish("stop", None, None))
    assert await reply(client) == ("lost its counts", Finish("stop", None, None))


async def test_stream_keeps_text_after_early_finish_reason(
    server: ScriptedServer, client: ModelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatfeedback.inference.timeouts.USAGE_SECONDS", SHORT_SECONDS)
    early = [delta("one ", finish_reason="stop"), delta("two ", finish_reason="stop")]
    script = server.stream(*early, None, delta("three", finish_reason="stop"), "[DONE]")
    threading.Timer(4 * SHORT_SECONDS, script.release).start()

    assert await reply(client) == ("one two three", Finish("stop", None, None))


async def test_stream_reads_text_blocks_and_skips_thoughts(server: ScriptedServer, client: ModelClient) -> None:
    thought = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]
    blocks = [
        {"type": "text", "text": "Yes"},
        {"type": "reference", "reference_ids": [1]},
        {"type": "text", "text": "."},
    ]
    server.stream(delta(thought), delta(blocks), delta(" No."), delta("", finish_reason="stop"), "[DONE]")

    assert await reply(client) == ("Yes. No.", Finish("stop", None, None))


async def test_stream_reads_first_chunk_after_byte_order_mark(server: ScriptedServer, client: ModelClient) -> None:
    first = b"\xef\xbb\xbfdata: " + json.dumps(delta("first")).encode() + b"\n\n"
    server.stream(first, delta(" second", finish_reason="stop"), "[DONE]")

    assert (await reply(client))[0] == "first second"


async def test_stream_separates_refusal_from_text(server: ScriptedServer, client: ModelClient) -> None:
    server.stream(delta(None, refusal="I can"), delta(None, refusal="not."), delta("", finish_reason="stop"), "[DONE]")

    assert await reply(client) == ("", Finish("stop", None, None, refusal="I cannot."))


async def test_stream_limits_wait_for_token_counts(
    server: ScriptedServer, client: ModelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatfeedback.inference.timeouts.USAGE_SECONDS", SHORT_SECONDS)
    server.stream(delta("whole", finish_reason="stop"), None, "[DONE]")

    async with asyncio.timeout(30):  # far less than the endpoint's
        assert await reply(client) == ("whole", Finish("stop", None, None))


async def test_client_streams_replies_concurrently(server: ScriptedServer, client: ModelClient) -> None:
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

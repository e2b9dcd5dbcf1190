"""What a model client asks, and what it gives back, against a real server."""

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
    server: ScriptedServer, client: ModelClient, hub_token: str
) -> None:
    await reply(client)

    assert "authorization" not in server.headers[0]
    assert hub_token not in str(server.headers) + str(server.requests)


async def test_the_token_is_not_even_looked_up_for_another_address(
    client: ModelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []
    for module in ("inference._providers.hf_inference", "utils._headers"):
        monkeypatch.setattr(f"huggingface_hub.{module}.get_token", lambda: looked_up.append(1))
    await reply(client)

    assert looked_up == []


async def test_a_configured_key_is_sent(server: ScriptedServer, endpoint: Endpoint) -> None:
    await reply_from(dataclasses.replace(endpoint, api_key="sk-configured"))

    assert server.headers[0]["authorization"] == "Bearer sk-configured"


@pytest.mark.usefixtures("dead_proxies")
async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(endpoint: Endpoint) -> None:
    assert (await reply_from(endpoint))[0] == "Answer 1 to: Hello?"


# Hugging Face's providers


@pytest.fixture
def hub(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """Hugging Face's router, answered by `server`."""
    monkeypatch.setattr(CONVERSATIONAL_AUTO_ROUTER, "base_url", server.url.removesuffix("/v1"))
    return server


async def test_a_model_of_the_hub_is_asked_through_the_router_with_the_users_token(
    hub: ScriptedServer, hub_token: str
) -> None:
    for provider in (None, "together"):
        await reply_from(Endpoint("org/model", provider=provider))

    assert [request["model"] for request in hub.requests] == ["org/model", "org/model:together"]
    assert [headers["authorization"] for headers in hub.headers] == [f"Bearer {hub_token}"] * 2


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

    error = await failure(Endpoint("org/model"))

    assert isinstance(error, ModelUnreachable) and "HF_HUB_OFFLINE" in str(error)
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


async def test_stream_keeps_text_after_a_reason_to_end_that_came_too_early(
    server: ScriptedServer, client: ModelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatfeedback.inference.timeouts.USAGE_SECONDS", SHORT_SECONDS)
    early = [delta("one ", finish_reason="stop"), delta("two ", finish_reason="stop")]
    script = server.stream(*early, None, delta("three", finish_reason="stop"), "[DONE]")
    threading.Timer(4 * SHORT_SECONDS, script.release).start()

    assert await reply(client) == ("one two three", Finish("stop", None, None))


async def test_stream_reads_text_in_blocks_and_passes_over_thoughts(
    server: ScriptedServer, client: ModelClient
) -> None:
    thought = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]
    blocks = [
        {"type": "text", "text": "Yes"},
        {"type": "reference", "reference_ids": [1]},
        {"type": "text", "text": "."},
    ]
    server.stream(delta(thought), delta(blocks), delta(" No."), delta("", finish_reason="stop"), "[DONE]")

    assert await reply(client) == ("Yes. No.", Finish("stop", None, None))


async def test_stream_reads_the_first_piece_behind_a_byte_order_mark(
    server: ScriptedServer, client: ModelClient
) -> None:
    first = b"\xef\xbb\xbfdata: " + json.dumps(delta("first")).encode() + b"\n\n"
    server.stream(first, delta(" second", finish_reason="stop"), "[DONE]")

    assert (await reply(client))[0] == "first second"


async def test_stream_keeps_a_refusal_apart(server: ScriptedServer, client: ModelClient) -> None:
    server.stream(delta(None, refusal="I can"), delta(None, refusal="not."), delta("", finish_reason="stop"), "[DONE]")

    assert await reply(client) == ("", Finish("stop", None, None, refusal="I cannot."))


async def test_a_whole_reply_does_not_wait_long_for_its_counts(
    server: ScriptedServer, client: ModelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatfeedback.inference.timeouts.USAGE_SECONDS", SHORT_SECONDS)
    server.stream(delta("whole", finish_reason="stop"), None, "[DONE]")

    async with asyncio.timeout(30):  # far less than the endpoint's
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

"""The provenance of a reply: what was really sent, and what the endpoint says of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from huggingface_hub import ChatCompletionStreamOutput
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.domain.conversation.events import Provenance
from chatfeedback.errors import ModelError
from chatfeedback.inference import provenance
from chatfeedback.inference.client import Endpoint, ModelClient
from inference.client_calls import SAMPLING, asking, reply
from openai_server import ScriptedServer, delta

SENT = Provenance(
    sent_temperature=SAMPLING.temperature,
    sent_top_p=SAMPLING.top_p,
    sent_max_tokens=SAMPLING.max_tokens,
    sent_seed=41,
)


async def told(client: ModelClient) -> list[Provenance]:
    """Return the provenance that is told of a reply, oldest first; an error of the model does not matter."""
    heard: list[Provenance] = []
    try:
        async for _piece in client.stream(asking(), on_provenance=heard.append):
            pass
    except ModelError:
        pass
    return heard


async def test_stream_tells_what_was_sent_and_what_the_endpoint_says_of_itself(
    server: ScriptedServer, client: ModelClient
) -> None:
    chunk = delta("Hello", "stop") | {"model": "zephyr-7b-0613", "system_fingerprint": "fp_44709d6fcb"}
    server.stream(chunk, "[DONE]", headers={"x-inference-provider": "together"})

    assert (await told(client))[-1] == replace(
        SENT,
        reported_model="zephyr-7b-0613",
        system_fingerprint="fp_44709d6fcb",
        reported_provider="together",
    )


async def test_stream_tells_once_more_when_a_later_chunk_says_more(server: ScriptedServer, client: ModelClient) -> None:
    late = delta("lo", "stop") | {"system_fingerprint": "fp_1", "provider": "Novita"}
    server.stream(delta("Hel"), late, "[DONE]")

    named = replace(SENT, reported_model="m")
    assert await told(client) == [
        SENT,
        named,
        replace(named, system_fingerprint="fp_1", reported_provider="Novita"),
    ]


async def test_stream_keeps_what_was_said_first_when_the_endpoint_contradicts_itself(
    server: ScriptedServer, client: ModelClient
) -> None:
    server.stream(delta("Hel"), delta("lo", "stop") | {"model": "another"}, "[DONE]")

    assert (await told(client))[-1].reported_model == "m"


@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_stream_tells_what_was_sent_when_the_endpoint_refuses(
    server: ScriptedServer, client: ModelClient, status: int
) -> None:
    server.fail(status, {"error": {"message": "No"}})

    assert await told(client) == [SENT]


async def test_stream_tells_nothing_when_the_endpoint_is_not_reached(endpoint: Endpoint) -> None:
    client = ModelClient(replace(endpoint, base_url="http://127.0.0.1:9/v1"))

    assert await told(client) == []
    await client.aclose()


async def test_stream_tells_the_checksum_of_local_weights(server: ScriptedServer, endpoint: Endpoint) -> None:
    client = ModelClient(replace(endpoint, weights_sha256="9a" * 32))
    server.reply("Hello")

    assert {each.weights_sha256 for each in await told(client)} == {"9a" * 32}
    await client.aclose()


@pytest.mark.parametrize("missing", ["temperature", "top_p", "max_tokens", "seed"])
def test_sent_is_none_for_a_parameter_that_was_left_out_or_renamed(missing: str) -> None:
    payload: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 64, "seed": 41}
    payload[f"other_{missing}"] = payload.pop(missing)

    assert provenance.with_request(Provenance(), payload, {}) == replace(SENT, **{f"sent_{missing}": None})


async def test_stream_passes_over_what_is_no_number(server: ScriptedServer, client: ModelClient) -> None:
    whole = delta("Hello NaN", "stop") | {"system_fingerprint": float("nan"), "created": float("inf")}
    counts = {"choices": [], "model": float("nan"), "usage": {"prompt_tokens": float("nan"), "completion_tokens": 7}}
    server.stream(whole, counts, "[DONE]")

    text, finish = await reply(client)
    assert (text, finish.prompt_tokens, finish.completion_tokens) == ("Hello NaN", None, 7)


@given(
    said=st.none()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.lists(st.text())
    | st.dictionaries(st.text(), st.text())
)
def test_told_passes_over_what_is_no_text(said: Any) -> None:
    chunk = ChatCompletionStreamOutput.parse_obj(delta("Hello") | {"model": said, "system_fingerprint": said})

    assert provenance.with_chunk(SENT, chunk) == SENT


@given(said=st.text())
def test_told_keeps_words_of_a_bounded_length(said: str) -> None:
    chunk = ChatCompletionStreamOutput.parse_obj(delta("Hello") | {"model": said})

    assert provenance.with_chunk(SENT, chunk).reported_model == (said.strip()[: provenance.MAX_CHARS] or None)

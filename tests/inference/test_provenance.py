"""Provenance of a reply: the parameters that were sent, and the data that the endpoint reports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.domain.conversation.events import Provenance
from chatfeedback.errors import ModelError
from chatfeedback.inference import provenance
from chatfeedback.inference.chunks import Chunk
from chatfeedback.inference.client import Endpoint, ModelClient
from inference.client_calls import SAMPLING, asking, reply
from openai_server import ScriptedServer, delta

SENT = Provenance(
    sent_temperature=SAMPLING.temperature,
    sent_top_p=SAMPLING.top_p,
    sent_max_tokens=SAMPLING.max_tokens,
    sent_seed=41,
)


async def reported(client: ModelClient) -> list[Provenance]:
    """Return all provenance that is reported for a reply, oldest first; ignore errors of the model."""
    reports: list[Provenance] = []
    try:
        async for _piece in client.stream(asking(), on_provenance=reports.append):
            pass
    except ModelError:
        pass
    return reports


async def test_stream_reports_sent_parameters_and_data_of_endpoint(server: ScriptedServer, client: ModelClient) -> None:
    chunk = delta("Hello", "stop") | {"model": "zephyr-7b-0613", "system_fingerprint": "fp_44709d6fcb"}
    server.stream(chunk, "[DONE]", headers={"x-inference-provider": "together"})

    assert (await reported(client))[-1] == replace(
        SENT,
        reported_model="zephyr-7b-0613",
        system_fingerprint="fp_44709d6fcb",
        reported_provider="together",
    )


async def test_stream_reports_again_when_later_chunk_adds_data(server: ScriptedServer, client: ModelClient) -> None:
    late = delta("lo", "stop") | {"system_fingerprint": "fp_1", "provider": "Novita"}
    server.stream(delta("Hel"), late, "[DONE]")

    named = replace(SENT, reported_model="m")
    assert await reported(client) == [
        SENT,
        named,
        replace(named, system_fingerprint="fp_1", reported_provider="Novita"),
    ]


async def test_stream_keeps_first_data_when_endpoint_contradicts_itself(
    server: ScriptedServer, client: ModelClient
) -> None:
    server.stream(delta("Hel"), delta("lo", "stop") | {"model": "another"}, "[DONE]")

    assert (await reported(client))[-1].reported_model == "m"


@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_stream_reports_sent_parameters_when_endpoint_refuses(
    server: ScriptedServer, client: ModelClient, status: int
) -> None:
    server.fail(status, {"error": {"message": "No"}})

    assert await reported(client) == [SENT]


async def test_stream_reports_nothing_when_endpoint_is_not_reached(endpoint: Endpoint) -> None:
    client = ModelClient(replace(endpoint, base_url="http://127.0.0.1:9/v1"))

    assert await reported(client) == []
    await client.aclose()


async def test_stream_reports_checksum_of_local_weights(server: ScriptedServer, endpoint: Endpoint) -> None:
    client = ModelClient(replace(endpoint, weights_sha256="9a" * 32))
    server.reply("Hello")

    assert {each.weights_sha256 for each in await reported(client)} == {"9a" * 32}
    await client.aclose()


@pytest.mark.parametrize("missing", ["temperature", "top_p", "max_tokens", "seed"])
def test_with_request_records_none_for_parameter_left_out_or_renamed(missing: str) -> None:
    payload: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 64, "seed": 41}
    payload[f"other_{missing}"] = payload.pop(missing)

    assert provenance.with_request(Provenance(), payload, {}) == replace(SENT, **{f"sent_{missing}": None})


async def test_stream_ignores_values_that_are_not_numbers(server: ScriptedServer, client: ModelClient) -> None:
    whole = delta("Hello NaN", "stop") | {"system_fingerprint": float("nan"), "created": float("inf")}
    counts = {"choices": [], "model": float("nan"), "usage": {"prompt_tokens": float("nan"), "completion_tokens": 7}}
    server.stream(whole, counts, "[DONE]")

    text, finish = await reply(client)
    assert (text, finish.prompt_tokens, finish.completion_tokens) == ("Hello NaN", None, 7)


@given(
    value=st.none()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.lists(st.text())
    | st.dictionaries(st.text(), st.text())
)
def test_with_chunk_ignores_values_that_are_not_text(value: Any) -> None:
    chunk = Chunk(model=value, system_fingerprint=value, provider=value)

    assert provenance.with_chunk(SENT, chunk) == SENT


@given(value=st.text())
def test_with_chunk_limits_length_of_text(value: str) -> None:
    chunk = Chunk(model=value)

    assert provenance.with_chunk(SENT, chunk).reported_model == (value.strip()[: provenance.MAX_CHARS] or None)

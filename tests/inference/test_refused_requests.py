"""Model client: requests that a server refuses in part, addresses, keys and answers of another form."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from chatfeedback.domain.conversation.events import Provenance
from chatfeedback.errors import KeyRefused, ModelFailed, ModelUnknown, SettingsError, StreamBroken
from chatfeedback.inference.client import ChatMessage, Endpoint, Finish, ModelClient
from inference.client_calls import asking, failure, pieces_before_failure, reply, reply_from
from openai_server import ScriptedServer, delta

CHAT = (ChatMessage("system", "Be brief."), ChatMessage("user", "Hello?"))


def refuse(server: ScriptedServer, words: str, **error: Any) -> None:
    server.fail(400, {"error": {"message": words, "type": "invalid_request_error", **error}})


async def test_client_sends_request_again_as_refusal_says_and_remembers_it(
    server: ScriptedServer, client: ModelClient
) -> None:
    refuse(server, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
           "instead.", param="max_tokens", code="unsupported_parameter")  # fmt: skip
    refuse(server, "Unsupported value: 'temperature' does not support 0.7 with this model.", param="temperature",
           code="unsupported_value")  # fmt: skip

    assert (await reply(client))[0] == "Answer 3 to: Hello?"
    assert (await reply(client))[0] == "Answer 4 to: Hello?"
    for request in server.requests[2:]:
        assert request["max_completion_tokens"] == 64
        assert not {"max_tokens", "temperature"} & request.keys()


async def test_client_reports_what_was_really_sent(server: ScriptedServer, client: ModelClient) -> None:
    refuse(server, "max_tokens is not supported")
    server.fail(422, {"detail": [{"loc": ["body", "seed"], "msg": "extra fields not permitted"}]})
    provenance: list[Provenance] = []
    changes: list[tuple[str, ...]] = []
    pieces = client.stream(asking(), None, provenance.append, changes.append)
    assert [piece async for piece in pieces]

    assert changes[-1] == ("max_tokens as max_completion_tokens", "seed left out")
    sent = provenance[-1]
    assert (sent.sent_temperature, sent.sent_top_p, sent.sent_max_tokens, sent.sent_seed) == (0.7, 0.9, None, None)


@pytest.mark.parametrize(
    "answer",
    [
        lambda server: server.fail(400, {"object": "error", "message": "System role not supported"}),
        lambda server: server.fail(500, {"error": {"message": "Jinja Exception: System role not supported"}}),
        lambda server: server.fail(422, {"error": "Template error: Conversation roles must alternate user/assistant"}),
        lambda server: server.fail(200, {"error": {"message": "Only user and assistant roles are supported!"}}),
        lambda server: server.stream(b'event: error\ndata: {"message": "System role not supported"}\n\n'),
    ],
)
async def test_client_merges_system_prompt_when_chat_template_refuses_it(
    server: ScriptedServer, client: ModelClient, answer: Callable[[ScriptedServer], object]
) -> None:
    answer(server)
    changes: list[tuple[str, ...]] = []
    assert [piece async for piece in client.stream(asking(*CHAT), on_changes=changes.append)]

    assert server.requests[1]["messages"] == [{"role": "user", "content": "Be brief.\n\nHello?"}]
    assert changes[-1] == ("system prompt in the first user message",)


async def test_client_gives_up_when_refusals_do_not_end(
    server: ScriptedServer, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatfeedback.inference.client.MAX_REQUESTS", 2)
    for name in ("seed", "temperature", "top_p"):
        refuse(server, f"Unknown parameter: '{name}'")
    assert "temperature" in str(await failure(endpoint))
    assert len(server.requests) == 2


async def test_client_does_not_repeat_request_after_text_has_come(server: ScriptedServer, client: ModelClient) -> None:
    server.error_in_stream({"message": "seed is not supported"}, after="so far")
    text, error = await pieces_before_failure(client)

    assert (text, type(error), len(server.requests)) == ("so far", ModelFailed, 1)


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        ("temperature must be at most 1", "temperature"),
        ("max_tokens is too large: 512. This model supports at most 100 completion tokens", "max_tokens"),
        ("Input validation error: `top_p` must be > 0.0 and < 1.0", "top_p"),
    ],
)
async def test_error_names_setting_when_value_is_refused(
    server: ScriptedServer, endpoint: Endpoint, words: str, setting: str
) -> None:
    refuse(server, words)
    assert str(await failure(endpoint)).endswith(f"; change {setting} in the settings of this model.")
    assert len(server.requests) == 1


# Answers of another form


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/event-stream"])
@pytest.mark.parametrize("indent", [None, 2])
async def test_stream_yields_whole_completion_that_comes_as_one_document(
    server: ScriptedServer, client: ModelClient, kind: str, indent: int | None
) -> None:
    message = {"role": "assistant", "content": "All\nat once."}
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    server.fail(200, json.dumps(whole, indent=indent), content_type=kind)

    assert await reply(client) == ("All\nat once.", Finish("stop", 3, 4))


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "application/json", "application/x-ndjson"])
async def test_stream_yields_reply_under_other_content_type(
    server: ScriptedServer, client: ModelClient, kind: str
) -> None:
    server.stream(delta("as "), delta("ever", "stop"), "[DONE]", headers={"Content-Type": kind})
    lines = [json.dumps(each).encode() + b"\n" for each in (delta("line by "), delta("line", "stop"))]
    server.stream(*lines, headers={"Content-Type": kind})

    assert (await reply(client))[0] == "as ever"
    assert (await reply(client))[0] == "line by line"


async def test_client_reads_whole_completion_when_stream_is_refused(
    server: ScriptedServer, client: ModelClient
) -> None:
    refuse(server, "Unsupported value: 'stream' does not support true with this model.", param="stream",
           code="unsupported_value")  # fmt: skip
    server.fail(200, {"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]})

    assert (await reply(client))[0] == "whole"
    assert not {"stream", "stream_options"} & server.requests[1].keys()


async def test_stream_raises_stream_broken_when_document_is_cut_off(server: ScriptedServer, endpoint: Endpoint) -> None:
    server.stream(b'{"choices": [{"mess', headers={"Content-Type": "application/json"}, breaks=True)
    assert isinstance(await failure(endpoint), StreamBroken)


@pytest.mark.parametrize("body", [{"error": {"message": "No credit left", "code": 402}}, {"message": "out of credit"}])
async def test_client_translates_error_of_response_with_status_200(
    server: ScriptedServer, endpoint: Endpoint, body: dict[str, object]
) -> None:
    server.fail(200, body)
    error = str(await failure(endpoint))
    assert "credit" in error or "quota" in error


@pytest.mark.parametrize("depth", [300, 100_000])
async def test_client_reports_deeply_nested_error_in_one_sentence(
    server: ScriptedServer, endpoint: Endpoint, depth: int
) -> None:
    for status in (200, 400):
        server.fail(status, '{"error":' * depth + "1" + "}" * depth, content_type="application/json")
        error = str(await failure(endpoint))
        assert error.endswith(".") and "{" not in error and "Recursion" not in error


# Addresses and keys


async def test_client_finds_address_without_version_and_remembers_it(
    server: ScriptedServer, endpoint: Endpoint
) -> None:
    server.fail(404, {"detail": "Not Found"})
    base_url = server.url.removesuffix("/v1") + "/inference?tenant=a%2Fb"
    client = ModelClient(dataclasses.replace(endpoint, base_url=base_url))
    assert (await reply(client))[0] and (await reply(client))[0]
    await client.aclose()

    plain = "/inference/chat/completions?tenant=a%2Fb"
    assert server.paths == ["/inference/v1/chat/completions?tenant=a%2Fb", plain, plain]


async def test_client_names_address_when_none_is_known(server: ScriptedServer, endpoint: Endpoint) -> None:
    server.fail(404)
    server.fail(404)
    error = await failure(dataclasses.replace(endpoint, base_url=server.url.removesuffix("/v1")))
    assert isinstance(error, ModelUnknown) and "/v1" in str(error)


async def test_request_sends_key_of_azure_in_its_own_header(server: ScriptedServer, endpoint: Endpoint) -> None:
    address = server.url.removesuffix("/v1") + "/openai/deployments/x?api-version=2024-10-21"
    azure = dataclasses.replace(endpoint, base_url=address, api_key="0123abcd")
    await reply_from(azure)
    await reply_from(dataclasses.replace(azure, api_key="eyJ0.e30.x"))

    assert server.paths == ["/openai/deployments/x/chat/completions?api-version=2024-10-21"] * 2
    sent = [(headers.get("api-key"), headers.get("authorization")) for headers in server.headers]
    assert sent == [("0123abcd", None), (None, "Bearer eyJ0.e30.x")]


async def test_request_sends_key_without_line_break_of_secret_file(server: ScriptedServer, endpoint: Endpoint) -> None:
    await reply_from(dataclasses.replace(endpoint, api_key=" sk-secret\r\n"))
    assert server.headers[0]["authorization"] == "Bearer sk-secret"


@pytest.mark.parametrize("key", ["sk-a\nb", "sk a", "sk-é", "sk-\x00", "sk-\u200b1", "   "])
def test_endpoint_refuses_key_that_cannot_be_sent_without_showing_it(key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Endpoint("m", api_key=key)
    assert "'m'" in str(caught.value) and (key.strip() or "–") not in str(caught.value)


async def test_client_refuses_hub_token_that_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatfeedback.inference.client.get_token", lambda: "hf_se cret")
    error = await failure(Endpoint("org/model"))
    assert isinstance(error, KeyRefused) and "HF_TOKEN" in str(error) and "se cret" not in str(error)

"""Request shape: what is learned from refusals, and what of a request is sent then."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.inference.addresses import completion_urls
from chatfeedback.inference.error_body import Refusal
from chatfeedback.inference.request_shape import MAX_REQUESTS, SYSTEM_IN_USER, RequestShape, merge_system

SYSTEM, USER, REPLY = ({"role": role, "content": f"The {role}'s."} for role in ("system", "user", "assistant"))
PAYLOAD: dict[str, Any] = {
    "model": "m",
    "messages": [SYSTEM, USER],
    "max_tokens": 64,
    "seed": 41,
    "temperature": 0.7,
    "top_p": 0.9,
    "stream": True,
    "stream_options": {"include_usage": True},
}
OPTIONAL = ("max_tokens", "max_completion_tokens", "seed", "temperature", "top_p", "stream", "stream_options", "system")


def test_shape_sends_payload_unchanged_until_a_refusal() -> None:
    shape = RequestShape()
    assert shape.apply(PAYLOAD) == PAYLOAD
    assert shape.changes(PAYLOAD) == ()


def test_shape_renames_limit_and_leaves_it_out_when_new_name_is_refused() -> None:
    shape = RequestShape()
    assert shape.learn(Refusal(400, "", "max_tokens is not supported"), PAYLOAD, PAYLOAD, "")
    sent = shape.apply(PAYLOAD)
    assert sent["max_completion_tokens"] == 64 and "max_tokens" not in sent
    assert shape.changes(PAYLOAD) == ("max_tokens as max_completion_tokens",)
    assert shape.learn(Refusal(400, "", "max_completion_tokens is not supported"), PAYLOAD, sent, "")
    assert not {"max_tokens", "max_completion_tokens"} & shape.apply(PAYLOAD).keys()
    assert shape.changes(PAYLOAD) == ("max_tokens left out",)


def test_shape_renames_seed_only_when_refusal_mentions_other_name() -> None:
    for words, changes in (("seed is not supported. Use random_seed.", "seed as random_seed"),
                           ("seed is not supported.", "seed left out")):  # fmt: skip
        shape = RequestShape()
        assert shape.learn(Refusal(422, "", words), PAYLOAD, PAYLOAD, "")
        assert shape.changes(PAYLOAD) == (changes,)


def test_shape_leaves_out_refused_value_only_if_it_means_the_same() -> None:
    words, neutral = "Input validation error: `top_p` must be > 0.0 and < 1.0", {**PAYLOAD, "top_p": 1.0}
    assert not RequestShape().learn(Refusal(422, "", words), PAYLOAD, PAYLOAD, "")
    shape = RequestShape()
    assert shape.learn(Refusal(422, "", words), neutral, neutral, "")
    assert shape.changes(neutral) == ("top_p left out",)


def test_shape_leaves_out_stream_options_with_stream() -> None:
    shape = RequestShape()
    assert shape.learn(Refusal(400, "", "'stream' is not supported"), PAYLOAD, PAYLOAD, "")
    assert not {"stream", "stream_options"} & shape.apply(PAYLOAD).keys()
    assert shape.changes(PAYLOAD) == ()


def test_shape_merges_system_prompt_into_first_user_message() -> None:
    shape = RequestShape()
    assert shape.learn(Refusal(400, "", "System role not supported"), PAYLOAD, PAYLOAD, "")
    merged = {"role": "user", "content": f"{SYSTEM['content']}\n\n{USER['content']}"}
    assert shape.apply(PAYLOAD)["messages"] == [merged]
    assert shape.changes(PAYLOAD) == (SYSTEM_IN_USER,)
    without = {**PAYLOAD, "messages": [USER, REPLY]}
    assert shape.apply(without) == without and shape.changes(without) == ()


def test_merge_system_adds_user_message_when_thread_begins_otherwise() -> None:
    assert merge_system([SYSTEM, REPLY]) == [{"role": "user", "content": SYSTEM["content"]}, REPLY]
    assert merge_system([SYSTEM]) == [{"role": "user", "content": SYSTEM["content"]}]


@pytest.mark.parametrize("words", ["out of memory", "System role not supported", "max_tokens is too large: 9"])
def test_shape_does_not_repeat_request_that_would_be_the_same(words: str) -> None:
    payload = {**PAYLOAD, "messages": [USER]}
    assert not RequestShape().learn(Refusal(400, "", words), payload, payload, "")


def test_shape_repeats_request_that_was_sent_before_another_one_was_refused() -> None:
    shape, refusal = RequestShape(), Refusal(400, "", "seed is not supported")
    assert shape.learn(refusal, PAYLOAD, PAYLOAD, "")
    assert shape.learn(refusal, PAYLOAD, PAYLOAD, "")


@given(accepted=st.sets(st.sampled_from(OPTIONAL)), status=st.sampled_from([400, 422, 500, None]))
def test_shape_finds_accepted_request_whatever_a_server_refuses(accepted: set[str], status: int | None) -> None:
    shape = RequestShape()
    for _request in range(MAX_REQUESTS):
        sent = shape.apply(PAYLOAD)
        is_system = any(message["role"] == "system" for message in sent["messages"])
        refused = [name for name in sent if name in OPTIONAL and name not in accepted]
        if not refused and ("system" in accepted or not is_system):
            break
        words = f"Unsupported parameter: '{refused[0]}'" if refused else "System role not supported"
        assert shape.learn(Refusal(status, "", words), PAYLOAD, sent, "")
    else:
        pytest.fail("no accepted request in time")
    assert {"model", "messages"} <= sent.keys()
    assert "The system's." in sent["messages"][0]["content"]


# Addresses


@pytest.mark.parametrize(
    ("base_url", "paths"),
    [
        ("http://h:8000/v1", ["/v1/chat/completions"]),
        ("http://h:8000/v1/", ["/v1/chat/completions"]),
        ("https://h/v1beta/openai/", ["/v1beta/openai/chat/completions", "/v1beta/openai/v1/chat/completions"]),
        ("https://h/api/paas/v4", ["/api/paas/v4/chat/completions"]),
        ("https://h/openai/v1/", ["/openai/v1/chat/completions"]),
        ("https://h/openai/deployments/x?api-version=2024-10-21",
         ["/openai/deployments/x/chat/completions?api-version=2024-10-21"]),
        ("https://h/v1?key=a%2Fb&x=", ["/v1/chat/completions?key=a%2Fb&x="]),
        ("https://h/v1/chat/completions?a=b", ["/v1/chat/completions?a=b"]),
        ("http://h:8000", ["/v1/chat/completions", "/chat/completions"]),
        ("http://h:8000/", ["/v1/chat/completions", "/chat/completions"]),
        ("https://h/inference", ["/inference/v1/chat/completions", "/inference/chat/completions"]),
    ],
)  # fmt: skip
def test_completion_urls_completes_path_and_keeps_query(base_url: str, paths: list[str]) -> None:
    origin = base_url[: base_url.index("/", 8)] if "/" in base_url[8:] else base_url
    assert list(completion_urls(urlsplit(base_url))) == [origin + path for path in paths]


def test_shape_tries_other_address_and_keeps_the_one_that_answers() -> None:
    shape = RequestShape(("a", "b"))
    assert shape.learn(Refusal(404, "", "Not Found"), PAYLOAD, PAYLOAD, "a")
    assert shape.url == "b"
    shape.accept("b")
    assert not shape.learn(Refusal(404, "", ""), PAYLOAD, PAYLOAD, "b")
    assert shape.url == "b"
    assert shape.learn(Refusal(404, "", ""), PAYLOAD, PAYLOAD, "a"), "sent before the address was known"


def test_shape_returns_to_first_address_when_none_answers() -> None:
    shape = RequestShape(("a", "b"))
    assert shape.learn(Refusal(404, "", ""), PAYLOAD, PAYLOAD, "a")
    assert not shape.learn(Refusal(404, "", ""), PAYLOAD, PAYLOAD, "b")
    assert shape.url == "a"


def test_shape_stays_at_address_that_does_not_know_the_model() -> None:
    shape = RequestShape(("a", "b"))
    assert not shape.learn(Refusal(404, "", "The model `m` does not exist."), PAYLOAD, PAYLOAD, "a")
    assert shape.url == "a"

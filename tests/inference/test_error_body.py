"""Error bodies: messages are found in any shape, and no body of any size or depth raises anything."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.inference.error_body import MAX_WORDS_CHARS, read_payload, read_response
from chatfeedback.inference.errors import StreamedError, translate
from chatfeedback.inference.types import Endpoint

ENDPOINT = Endpoint("org/model", base_url="http://host/v1")
REQUEST = httpx2.Request("POST", "http://host/v1/chat/completions")
DEPTHS = (7, 300, 900, 5_000, 100_000)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "errors", "code", "loc", "msg", "metadata", "raw", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def response(body: str | bytes, status: int = 400, kind: str = "application/json") -> httpx2.Response:
    content = body.encode("utf-8", "replace") if isinstance(body, str) else body
    return httpx2.Response(status, headers={"content-type": kind}, content=content, request=REQUEST)


@pytest.mark.parametrize(
    "body",
    [
        '{"error": {"message": "out of memory", "type": "x"}}',
        '{"error": "out of memory", "error_type": "generation"}',
        '{"object": "error", "message": "out of memory"}',
        '{"detail": "out of memory"}',
        '{"detail": {"message": "out of memory"}}',
        '{"detail": [{"loc": ["body"], "msg": "out of memory"}]}',
        '{"errors": ["out of memory"]}',
        '{"errors": {"model": ["out of memory"]}}',
        '{"code": 500, "msg": "out of memory", "success": false}',
        '[{"error": {"code": 500, "message": "out of memory", "status": "INTERNAL"}}]',
        '{"error": {"message": "{\\"detail\\": \\"out of memory\\"}"}}',
        '{"error": {"message": "Provider returned error", "metadata": {"raw": "out of memory"}}}',
        '"out of memory"',
        "out of memory",
        '{"error": {"message": "out of memory", "type": "cut o',
        '{"error": {"param": ' + "[" * 100_000 + ', "message": "out of memory"',
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
def test_read_response_finds_message_in_any_shape(body: str, kind: str) -> None:
    assert "out of memory" in read_response(response(body, 500, kind)).words


@pytest.mark.parametrize(
    "body", ["<html><body>502 Bad Gateway</body></html>", "<!DOCTYPE html>\n<p>x", "", "{", "[", "[[[", "{}", "[]"]
)
@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/json", "text/plain"])
def test_read_response_quotes_neither_pages_nor_brackets(body: str, kind: str) -> None:
    assert read_response(response(body, 502, kind)).words.strip("{[") == ""


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("opening", ["[", '{"error":', '{"message":', '[{"detail":', '{"x":'])
@pytest.mark.parametrize("status", [400, 500])
def test_translate_turns_deeply_nested_body_into_one_sentence(status: int, opening: str, depth: int) -> None:
    closing = {"[": "]", "{": "}"}
    body = opening * depth + '"deep"' + "".join(closing.get(character, "") for character in reversed(opening)) * depth
    error = httpx2.HTTPStatusError("no", request=REQUEST, response=response(body, status))
    sentence = str(translate(error, ENDPOINT))
    assert sentence.startswith("The model 'org/model' at http://host/v1 failed with HTTP status")
    assert len(sentence) < 400 and "\n" not in sentence and "[[" not in sentence


@given(JSON)
def test_translate_turns_any_payload_into_one_sentence(payload: Any) -> None:
    for error in (
        StreamedError(payload),
        httpx2.HTTPStatusError("no", request=REQUEST, response=response(json.dumps(payload))),
    ):
        sentence = str(translate(error, ENDPOINT))
        assert "org/model" in sentence and "\n" not in sentence and len(sentence) < 500


@given(st.binary() | st.text().map(str.encode))
def test_read_response_accepts_any_bytes(body: bytes) -> None:
    assert len(read_response(response(body)).words) <= MAX_WORDS_CHARS


def test_read_response_limits_length_of_message() -> None:
    assert len(read_response(response('{"error": "' + "no " * 100_000)).words) <= MAX_WORDS_CHARS


def test_read_payload_takes_status_from_codes() -> None:
    assert read_payload({"error": {"code": 503, "message": "busy"}}).status == 503
    assert read_payload({"error": {"code": "1000", "message": "busy"}}).status is None

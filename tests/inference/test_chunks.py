"""Chunks: what is read of them, and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.inference import chunks
from chatfeedback.inference.chunks import Choice, read_chunk
from chatfeedback.inference.errors import StreamedError
from chatfeedback.inference.reply_reader import ReplyReader

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
DEPTHS = (300, 900, 5_000, 100_000)


def test_read_chunk_reads_whole_completion_as_last_choice() -> None:
    whole = {"choices": [{"message": {"role": "assistant", "content": "whole"}}], "usage": {"prompt_tokens": 3}}
    chunk = read_chunk(json.dumps(whole))
    assert chunk.choices == (Choice("whole", "", is_last=True, finish_reason=None),)
    assert chunk.usage == (3, None)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("field", ["logprobs", "delta", "content", "finish_reason"])
def test_reply_reader_keeps_text_before_deeply_nested_chunk(field: str, depth: int) -> None:
    reply = ReplyReader(lambda _chunk: None)
    nested = "[" * depth + "]" * depth
    deep = {"logprobs": '{"choices":[{"delta":{},"logprobs":%s}]}', "delta": '{"choices":[{"delta":%s}]}'}.get(
        field, f'{{"choices":[{{"delta":{{"{field}":%s}}}}]}}'
    )
    text = reply.read(['{"choices":[{"delta":{"content":"so far"}}]}', deep % nested])
    assert text == "so far"
    assert reply.error is None or isinstance(reply.error, ValueError | TypeError)


@given(name=st.sampled_from(["choices", "usage", "model", "error", "object", "id"]), value=VALUES)
def test_read_chunk_raises_only_known_errors_for_any_value(name: str, value: Any) -> None:
    read_or_fail({"choices": [], name: value})


@given(name=st.sampled_from(["delta", "message", "finish_reason", "index", "content", "refusal"]), value=VALUES)
def test_read_chunk_raises_only_known_errors_for_any_choice(name: str, value: Any) -> None:
    read_or_fail({"choices": [{"delta": {"content": "x", name: value}, name: value}]})


def read_or_fail(payload: Any) -> None:
    try:
        chunk = read_chunk(json.dumps(payload))
    except (StreamedError, ValueError, TypeError):
        return
    assert all(isinstance(choice.text, str) and isinstance(choice.refusal, str) for choice in chunk.choices)
    assert all(choice.finish_reason is None or isinstance(choice.finish_reason, str) for choice in chunk.choices)


@pytest.mark.parametrize("payload", [{"choices": []}, {"choices": None}, {"usage": {}}])
def test_check_chunk_accepts_parts_of_chat_completion(payload: dict[str, object]) -> None:
    chunks.check_chunk(payload)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"error": "x"}, StreamedError),
        ({"error": {"message": "x"}, "choices": []}, StreamedError),
        ([{"error": {"message": "x"}}], StreamedError),
        ({"code": 500, "msg": "404 NOT_FOUND", "success": False}, StreamedError),
        ({"object": "error", "message": "x"}, StreamedError),
        ({"type": "error"}, StreamedError),
        ({"message": "x", "code": 500}, StreamedError),
        ({"detail": "x"}, StreamedError),
        ({"text": "x"}, TypeError),
        ({}, TypeError),
        ([], TypeError),
        (None, TypeError),
    ],
)
def test_check_chunk_raises_for_other_payload(payload: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        chunks.check_chunk(payload)

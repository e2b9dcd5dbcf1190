"""Canary: the one private method of huggingface_hub that `inference/exchange.py` overrides (ADR 18)."""

from __future__ import annotations

import inspect

import huggingface_hub
from huggingface_hub import AsyncInferenceClient

REPAIR = (
    f"huggingface_hub {huggingface_hub.__version__}: AsyncInferenceClient sends its requests in another way; adapt "
    "Exchange in chatfeedback/inference/exchange.py, or drop it if status, headers and lines have a public way now."
)


def test_chat_completion_sends_request_by_overridden_method() -> None:
    post = getattr(AsyncInferenceClient, "_inner_post", None)
    assert inspect.iscoroutinefunction(post), REPAIR
    assert {"request_parameters", "stream"} <= set(inspect.signature(post).parameters), REPAIR
    assert "self._inner_post(" in inspect.getsource(AsyncInferenceClient.chat_completion), REPAIR

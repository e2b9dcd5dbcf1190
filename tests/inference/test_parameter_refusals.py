"""Refusals of parameters: the bodies that servers really send, and what is taken from them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.inference.error_body import Refusal, read_payload
from chatfeedback.inference.parameter_refusals import PARAMETERS, refused_parameters, refuses_system_role

SENT = ("messages", "model", "temperature", "top_p", "max_tokens", "seed", "stream", "stream_options")


def openai(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def pydantic(*names: str, message: str = "Extra inputs are not permitted") -> list[dict[str, Any]]:
    return [{"type": "extra_forbidden", "loc": ["body", name], "msg": message, "input": 1} for name in names]


MAX_TOKENS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
GEMINI = 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'
BOTH = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
REFUSED: list[tuple[Any, tuple[str, ...]]] = [
    (openai(MAX_TOKENS, "max_tokens", "unsupported_parameter"), ("max_tokens",)),
    ({"error": {"message": MAX_TOKENS, "code": "invalid_request_body"}}, ("max_tokens",)),
    (
        openai(
            "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is "
            "supported.",
            "temperature",
            "unsupported_value",
        ),
        ("temperature",),
    ),
    (openai("Unsupported value: 'stream' does not support true with this model.", "stream", "unsupported_value"),
     ("stream",)),
    (openai("Your organization must be verified to stream this model. Please go to: x", "stream", "unsupported_value"),
     ("stream",)),
    (openai("Unknown parameter: 'stream_options'.", "stream_options", "unknown_parameter"), ("stream_options",)),
    (openai("Unrecognized request argument supplied: stream_options"), ("stream_options",)),
    (openai("Unrecognized request arguments supplied: seed, top_p"), ("seed", "top_p")),
    (openai("The 'stream_options' parameter is only allowed when 'stream' is enabled."), ("stream_options", "stream")),
    ([{"error": {"code": 400, "message": f"{GEMINI}\n{GEMINI.replace('seed', 'top_p')}",
                 "status": "INVALID_ARGUMENT", "details": [{"fieldViolations": [{"description": GEMINI}]}]}}],
     ("seed", "top_p")),
    ({"error": {"message": "property 'stream_options' is unsupported, did you mean 'stream'?",
                "type": "invalid_request_error"}}, ("stream_options",)),
    ({"object": "error", "message": {"detail": pydantic("seed", "stream_options")}, "type": "invalid_request_error"},
     ("seed", "stream_options")),
    ({"object": "error", "message": json.dumps({"detail": pydantic("seed")}), "type": "internal_error_proxy",
      "code": "1000"}, ("seed",)),
    ({"detail": pydantic("top_p")}, ("top_p",)),
    ({"detail": [{"loc": ["body", "seed"], "msg": "extra fields not permitted", "type": "value_error.extra"}]},
     ("seed",)),
    ({"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'msg': "
      "'Extra inputs are not permitted', 'input': {'include_usage': True}}]", "code": 400}, ("stream_options",)),
    ({"error": "unknown field `seed`, expected one of `model`, `messages`, `temperature`, `top_p`"}, ("seed",)),
    ({"message": 'Unrecognized field "seed" (class Chat), not marked as ignorable (3 known properties: "model", '
      '"temperature", "top_p")'}, ("seed",)),
    ('json: unknown field "stream_options"', ("stream_options",)),
    ("Completions.create() got an unexpected keyword argument 'seed'", ("seed",)),
    ("Additional properties are not allowed ('seed', 'top_p' were unexpected)", ("seed", "top_p")),
    ({"error": {"message": "Model grok does not support parameter topP."}}, ("top_p",)),
    ({"error": {"message": "invalid temperature: only 1 is allowed for this model"}}, ("temperature",)),
    ({"type": "error", "error": {"type": "invalid_request_error", "message": BOTH}}, ("top_p",)),
    (openai(f'litellm.BadRequestError: BedrockException - {{"message":"The model returned: {BOTH}"}}'), ("top_p",)),
    ({"error": {"message": "Provider returned error", "code": 400,
                "metadata": {"raw": json.dumps(openai("Unknown parameter: 'seed'.", "seed", "unknown_parameter"))}}},
     ("seed",)),
    ({"error": {"message": "`temperature` is deprecated for this model."}}, ("temperature",)),
    ({"errors": {"seed": ["This field is not supported."]}}, ("seed",)),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "names"), REFUSED, ids=lambda value: str(value)[:60])
def test_refused_parameters_reads_real_bodies(payload: Any, names: tuple[str, ...]) -> None:
    assert refused_parameters(read_payload(payload), SENT) == names


@pytest.mark.parametrize(
    "payload",
    [
        openai("max_tokens is too large: 100000. This model supports at most 16384 completion tokens.", "max_tokens",
               "invalid_value"),
        "temperature must be between 0 and 2, other values are not supported",
        "Input validation error: `temperature` must be strictly positive",
        "top_p must be in (0, 1]",
        "Unknown model 'seed-oss'",
        "This model does not support tools.",
        "Unsupported language",
        openai("This model's maximum context length is 8192 tokens, and stop", "messages", "context_length_exceeded"),
        "",
        None,
        7,
    ],
)  # fmt: skip
def test_refused_parameters_ignores_refusals_of_values_and_of_other_things(payload: Any) -> None:
    assert refused_parameters(read_payload(payload), SENT) == ()


@pytest.mark.parametrize("status", [401, 403, 404, 413, 429])
def test_refused_parameters_ignores_statuses_that_no_request_changes(status: int) -> None:
    assert refused_parameters(Refusal(status, "", "seed is not supported"), SENT) == ()


@given(
    name=st.sampled_from(["temperature", "top_p", "max_tokens", "seed", "stream_options"]),
    form=st.sampled_from(
        ["Unsupported parameter: '{}'", "{} is not supported", "unknown field `{}`", 'property "{}" is unsupported',
         "Argument not supported on this model: {}", "extraneous key [{}] is not permitted",
         "This model does not accept the parameter {}."]
    ),
    shape=st.sampled_from(
        [openai, lambda words: {"detail": words}, lambda words: {"message": words}, lambda words: words,
         lambda words: [{"error": {"message": words, "status": "INVALID_ARGUMENT"}}],
         lambda words: {"error": words, "error_type": "validation"}, lambda words: {"code": 400, "msg": words}]
    ),
)  # fmt: skip
def test_refused_parameters_reads_any_name_in_any_wording_and_shape(name: str, form: str, shape: Any) -> None:
    assert refused_parameters(read_payload(shape(form.format(name))), SENT) == (name,)


@given(words=st.text() | st.lists(st.sampled_from([*PARAMETERS, "not supported", ".", "'"])).map(" ".join))
def test_refused_parameters_names_only_what_was_sent(words: str) -> None:
    assert set(refused_parameters(Refusal(400, "", words), ("seed", "messages"))) <= {"seed"}


@pytest.mark.parametrize(
    "payload",
    [
        {"object": "error", "message": "System role not supported", "type": "BadRequestError", "code": 400},
        {"error": {"code": 500, "message": "\n---\nWhile executing CallExpression at line 1 in source:\n{{ raise\n"
                   "Error: Jinja Exception: System role not supported", "type": "server_error"}},
        {"error": "Template error: invalid operation: System role not supported (in <string>:1)",
         "error_type": "template_error"},
        {"error": 'Error rendering prompt with jinja template: "Only user and assistant roles are supported!".'},
        {"error": {"message": "Conversation roles must alternate user/assistant/user/assistant/..."}},
        [{"error": {"code": 400, "message": "Developer instruction is not enabled for models/gemma-3-27b-it",
                    "status": "INVALID_ARGUMENT"}}],
        openai("Unsupported value: 'messages[0].role' does not support 'system' with this model.", "messages[0].role",
               "unsupported_value"),
        {"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "Input should be 'user' or 'assistant'"}]},
        "This model does not support system messages.",
        "role 'system' is not supported",
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_refuses_system_role_recognizes_real_bodies(payload: Any) -> None:
    assert refuses_system_role(read_payload(payload))


@pytest.mark.parametrize(
    "words",
    [
        "After the optional system message, conversation roles must alternate user/assistant/user/assistant/...",
        "Only user, system and assistant roles are supported!",
        "The operating system is not ready",
        "Unsupported parameter: seed",
        "",
    ],
)
def test_refuses_system_role_ignores_other_refusals(words: str) -> None:
    assert not refuses_system_role(Refusal(400, "", words))

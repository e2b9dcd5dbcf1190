"""Translation of all errors of httpx2 and huggingface_hub into model errors."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from huggingface_hub import errors as hub

from chatfeedback import errors
from chatfeedback.inference.errors import StreamedError, translate
from chatfeedback.inference.types import Endpoint

ENDPOINT = Endpoint("org/model", base_url="http://user:pw@host:8000/v1?k=v", api_key="sosecret")
REQUEST = httpx2.Request("POST", "http://user:pw@host:8000/v1/chat/completions")


def refused(kind: type[Exception], status: int) -> Exception:
    response = httpx2.Response(status, request=REQUEST, json={"error": "no"})
    if kind is httpx2.HTTPStatusError:
        return httpx2.HTTPStatusError("no", request=REQUEST, response=response)
    return kind("no", response=response)  # type: ignore[call-arg]


def library_error(kind: type[Exception]) -> Exception:
    """Return an error of this kind as its library makes it, with status 404 where it has a response."""
    if issubclass(kind, (hub.HfHubHTTPError, httpx2.HTTPStatusError)):
        return refused(kind, 404)
    if issubclass(kind, (httpx2.StreamConsumed, httpx2.StreamClosed, httpx2.ResponseNotRead, httpx2.RequestNotRead)):
        return kind()
    if kind is hub.DeviceCodeError:
        return hub.DeviceCodeError("expired", error_code=hub.OAuthErrorCode.EXPIRED_TOKEN)
    return kind("something with user:pw and sosecret in it")


EXPECTED: dict[type[Exception], type[errors.ModelError]] = {
    # httpx2
    httpx2.HTTPStatusError: errors.ModelUnknown,
    httpx2.TimeoutException: errors.ModelTimeout,
    httpx2.ConnectTimeout: errors.ModelTimeout,
    httpx2.ReadTimeout: errors.ModelTimeout,
    httpx2.WriteTimeout: errors.ModelTimeout,
    httpx2.PoolTimeout: errors.ModelTimeout,
    httpx2.ConnectError: errors.ModelUnreachable,
    httpx2.ProxyError: errors.ModelUnreachable,
    httpx2.UnsupportedProtocol: errors.ModelUnreachable,
    httpx2.InvalidURL: errors.ModelUnreachable,
    httpx2.TransportError: errors.StreamBroken,
    httpx2.NetworkError: errors.StreamBroken,
    httpx2.ReadError: errors.StreamBroken,
    httpx2.WriteError: errors.StreamBroken,
    httpx2.CloseError: errors.StreamBroken,
    httpx2.ProtocolError: errors.StreamBroken,
    httpx2.RemoteProtocolError: errors.StreamBroken,
    httpx2.LocalProtocolError: errors.ModelFailed,
    httpx2.DecodingError: errors.ModelFailed,
    httpx2.SSEError: errors.ModelFailed,
    httpx2.TooManyRedirects: errors.ModelFailed,
    httpx2.HTTPError: errors.ModelFailed,
    httpx2.RequestError: errors.ModelFailed,
    httpx2.CookieConflict: errors.ModelFailed,
    httpx2.StreamError: errors.ModelFailed,
    httpx2.StreamConsumed: errors.ModelFailed,
    httpx2.StreamClosed: errors.ModelFailed,
    httpx2.ResponseNotRead: errors.ModelFailed,
    httpx2.RequestNotRead: errors.ModelFailed,
    # huggingface_hub
    hub.HfHubHTTPError: errors.ModelUnknown,
    hub.BadRequestError: errors.ModelUnknown,
    hub.InferenceTimeoutError: errors.ModelTimeout,
    hub.OfflineModeIsEnabled: errors.ModelUnreachable,
    hub.LocalTokenNotFoundError: errors.KeyRefused,
    hub.OIDCError: errors.KeyRefused,
    hub.DeviceCodeError: errors.KeyRefused,
    hub.TextGenerationError: errors.ModelFailed,
    hub.ValidationError: errors.ModelFailed,
    hub.GenerationError: errors.ModelFailed,
    hub.UnknownError: errors.ModelFailed,
    hub.OverloadedError: errors.RateLimited,
    hub.IncompleteGenerationError: errors.StreamBroken,
    hub.HFValidationError: errors.ModelFailed,
    # Python
    TimeoutError: errors.ModelTimeout,
    ConnectionRefusedError: errors.ModelUnreachable,
    ssl.SSLCertVerificationError: errors.ModelUnreachable,
    EOFError: errors.StreamBroken,
    json.JSONDecodeError: errors.ModelFailed,
    AttributeError: errors.ModelFailed,
}
# Errors about repositories, buckets and jobs are translated by their status.
BY_STATUS = (hub.RepositoryNotFoundError, hub.BucketNotFoundError, hub.JobNotFoundError, hub.HfHubHTTPError)


def exceptions_of(module: Any, *bases: type[Exception]) -> Iterator[type[Exception]]:
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, bases) and not issubclass(value, Warning):
            yield value


def test_translate_covers_all_errors_of_httpx2() -> None:
    missing = set(exceptions_of(httpx2, Exception)) - EXPECTED.keys()

    assert missing == set()


def test_translate_covers_all_http_errors_of_huggingface_hub() -> None:
    raised = set(exceptions_of(hub, httpx2.HTTPError, ConnectionError))
    missing = {kind for kind in raised - EXPECTED.keys() if not issubclass(kind, BY_STATUS)}

    assert missing == set()


@pytest.mark.parametrize(("kind", "expected"), EXPECTED.items(), ids=lambda kind: kind.__name__)
def test_translate_turns_library_error_into_model_error(
    kind: type[Exception], expected: type[errors.ModelError]
) -> None:
    error = json.JSONDecodeError("no", "{", 0) if kind is json.JSONDecodeError else library_error(kind)
    ours = translate(error, ENDPOINT)

    assert type(ours) is expected
    assert "'org/model'" in str(ours)
    assert not [secret for secret in ("pw", "sosecret", "k=v") if secret in str(ours)]


@pytest.mark.parametrize("kind", [hub.GatedRepoError, hub.RepositoryNotFoundError, hub.HfHubHTTPError])
@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, errors.KeyRefused), (403, errors.KeyRefused), (429, errors.RateLimited), (500, errors.ModelFailed)],
)
def test_translate_follows_status_of_error_with_response(
    kind: type[Exception], status: int, expected: type[errors.ModelError]
) -> None:
    assert type(translate(refused(kind, status), ENDPOINT)) is expected


def test_translate_returns_model_error_unchanged() -> None:
    ours = errors.KeyRefused("The model wants a key.")

    assert translate(ours, ENDPOINT) is ours


@pytest.mark.parametrize(
    "words",
    [
        "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
        "This model's maximum context length is 4097 tokens. However, your messages resulted in 5000 tokens.",
        "The input (70000 tokens) is longer than the model's context length (65536 tokens).",
        "'max_tokens' is too large: 512. This model's maximum context length is 400 tokens and your request has 300.",
        "The decoder prompt (length 5001) is longer than the maximum model length of 4096.",
        "Input validation error: `inputs` must have less than 1024 tokens. Given: 1999",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "Please reduce the length of the messages or completion.",
        "The number of tokens to keep from the initial prompt is greater than the context length.",
        "The input token count (40000) exceeds the maximum number of tokens allowed (32768).",
    ],
)
def test_translate_recognizes_wordings_of_exceeded_context(words: str) -> None:
    assert type(translate(StreamedError({"message": words, "code": 400}), ENDPOINT)) is errors.ContextExceeded


@pytest.mark.parametrize(
    "words",
    [
        "The model `org/model` does not exist.",
        'model "org/model" not found, try pulling it first',
        "The requested model 'org/model' is not supported by any provider you have enabled.",
    ],
)
def test_translate_recognizes_wordings_of_unknown_model(words: str) -> None:
    assert type(translate(StreamedError({"message": words, "code": 400}), ENDPOINT)) is errors.ModelUnknown


@pytest.mark.parametrize(
    "words", ["temperature must be below 2", "max_tokens must be at least 1", "System role not supported"]
)
def test_translate_quotes_server_in_other_refusals(words: str) -> None:
    ours = translate(StreamedError({"message": words, "code": 400}), ENDPOINT)

    assert type(ours) is errors.ModelFailed
    assert words in str(ours)


@pytest.mark.parametrize(
    ("endpoint", "advice"),
    [
        (Endpoint("m"), "HF_TOKEN"),
        (Endpoint("m", base_url="http://host/v1"), "api_key_env"),
        (Endpoint("m", base_url="http://host/v1", api_key="k"), "refused its key"),
    ],
)
def test_translate_names_key_that_was_refused(endpoint: Endpoint, advice: str) -> None:
    assert advice in str(translate(refused(httpx2.HTTPStatusError, 401), endpoint))

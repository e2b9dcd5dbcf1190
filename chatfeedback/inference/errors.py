"""Error translation: errors of httpx2, huggingface_hub and model servers become ModelErrors, only here.

Servers agree on status codes, less on the body. So an unambiguous body decides first: many servers answer 400 for an
unknown model and for a conversation that is too long. Each sentence names the model and says what to do; it quotes a
server only after keys and markup are removed.
"""

from __future__ import annotations

import re

import httpx2
from huggingface_hub import errors as hub

from chatfeedback.errors import (
    ContextExceeded,
    KeyRefused,
    ModelError,
    ModelFailed,
    ModelTimeout,
    ModelUnknown,
    ModelUnreachable,
    RateLimited,
    ReplyEndless,
    StreamBroken,
)
from chatfeedback.inference.error_body import Refusal, is_html, read_payload, read_response
from chatfeedback.inference.parameter_refusals import named_settings, refuses_system_role
from chatfeedback.inference.retry_after import humanize_delay
from chatfeedback.inference.types import Endpoint

# llama.cpp, OpenAI, vLLM, SGLang, text-generation-inference (TGI), LM Studio, Anthropic's and Gemini's layers.
_CONTEXT_EXCEEDED = re.compile(
    r"exceed_context_size|context_length_exceeded|context (length|size|window)|max_new_tokens` must be <="
    r"|inputs` must have less than|maximum (model|prompt|input) length|prompt is too long|input is too long"
    r"|reduce the length of|maximum number of tokens allowed",
    re.IGNORECASE,
)
_UNKNOWN_MODEL = re.compile(
    r"model_not_(found|supported)|unknown_model|model\b.{0,200}?\b(does not exist|not found|is not supported by)"
    r"|no such model|unknown model|invalid model",
    re.IGNORECASE,
)
_KEY_REFUSED = re.compile(
    r"invalid_api_key|API_KEY_INVALID|(api key|token|credentials?) (is )?(not valid|invalid)"
    r"|(invalid|incorrect) api key",
    re.IGNORECASE,
)
_RATE_LIMITED = re.compile(
    r"rate.?limit|too many requests|quota|overloaded|insufficient.(credit|balance)", re.IGNORECASE
)
_QUOTA_EXHAUSTED = re.compile(r"quota|insufficient|credit|balance|billing", re.IGNORECASE)
"""Limits that a retry does not lift."""
_TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504, *range(520, 525), 529}
"""Transient HTTP statuses, also of the CDN before a server (520 to 524); worth a retry."""
_SECRET = re.compile(
    r"(?i:bearer\s+\S+|://[^\s/@]+@|\b(?:api[-_ ]?key|token|password|secret)\b\s*[=:]\s*\S+)"
    r"|\b(?:(?:hf|sk|pk|gsk|xai|nvapi)[-_]|AIza)[\w*.-]{6,}"
)
_MAX_QUOTED_CHARS = 200


class StreamTimeout(TimeoutError):
    """Timeout of a stream: nothing came for the `seconds` that `setting` allows."""

    def __init__(self, seconds: float, setting: str) -> None:
        super().__init__()
        self.seconds, self.setting = seconds, setting


class StreamedError(Exception):
    """Error that a server sent within the stream; `args[0]` is its payload."""


def translate(error: Exception, endpoint: Endpoint, *, started: bool = False) -> ModelError:
    """Translate any exception of a request to a ModelError. `started`: text of the reply has come already."""
    match error:
        case ModelError():
            return error
        case httpx2.HTTPStatusError() | hub.HfHubHTTPError():
            return _from_refusal(read_refusal(error), endpoint)
        case StreamedError() | hub.TextGenerationError():
            return _from_streamed(error, endpoint)
        case StreamTimeout():
            return _stream_timeout(error, endpoint, started)
        case TimeoutError() | httpx2.TimeoutException():
            return _request_timeout(endpoint)
        case hub.OfflineModeIsEnabled():
            return ModelUnreachable(
                f"{_label(endpoint)} cannot be reached while HF_HUB_OFFLINE is set; unset it, or choose a local model."
            )
        case hub.LocalTokenNotFoundError() | hub.OIDCError() | hub.DeviceCodeError():
            return KeyRefused(
                f"{_label(endpoint)} needs a Hugging Face token, and the login of this machine gives none: "
                "set HF_TOKEN, or run `hf auth login`."
            )
        case httpx2.SSEError() | httpx2.DecodingError() | httpx2.LocalProtocolError():
            return _not_chat_api(error, endpoint, started)
        case httpx2.UnsupportedProtocol() | httpx2.InvalidURL():
            return _unreachable(endpoint, transient=False)
        case httpx2.ConnectError() | httpx2.ProxyError():
            return _unreachable(endpoint)
        case httpx2.TransportError() | EOFError():
            return _stream_broken(endpoint)
        case OSError():
            return _unreachable(endpoint)
        case _:
            return _not_chat_api(error, endpoint, started)


def reply_too_long(endpoint: Endpoint) -> ReplyEndless:
    """Return the error for a reply longer than the endpoint's `max_reply_chars`."""
    return ReplyEndless(
        f"{_label(endpoint)} wrote more than {endpoint.max_reply_chars} characters and was cut off there; try Retry, "
        "or allow more with max_reply_chars."
    )


def read_refusal(error: Exception) -> Refusal:
    """Read the error of a server, from its response or within its stream."""
    if isinstance(error, httpx2.HTTPStatusError | hub.HfHubHTTPError):
        return read_response(error.response)
    return read_payload(error.args[0] if error.args else None)


def _from_streamed(error: Exception, endpoint: Endpoint) -> ModelError:
    refusal = read_refusal(error)
    if isinstance(error, hub.IncompleteGenerationError) or "incomplete_generation" in refusal.code:
        return _stream_broken(endpoint)
    if isinstance(error, hub.OverloadedError):
        return _rate_limited(Refusal(None, "overloaded", ""), endpoint)
    return _from_refusal(refusal, endpoint)


def _from_refusal(refusal: Refusal, endpoint: Endpoint) -> ModelError:
    status, text = refusal.status, f"{refusal.code} {refusal.words}"
    if status == 429 or status == 402 or "rate_limit" in refusal.code:
        return _rate_limited(refusal, endpoint)
    if status in (401, 403) or _KEY_REFUSED.search(text):
        return _key_refused(endpoint)
    if status == 413 or _CONTEXT_EXCEEDED.search(text):
        return ContextExceeded(
            f"The conversation is too long for the window of the model {endpoint.model!r}; "
            "start a new one, or send a shorter message."
        )
    if status == 404 or _UNKNOWN_MODEL.search(text):
        return _model_unknown(endpoint)
    if status in (408, 504, 524):
        return _request_timeout(endpoint, refusal.retry_after)
    if _RATE_LIMITED.search(text):
        return _rate_limited(refusal, endpoint)
    if status is not None and 300 <= status < 400:
        return ModelFailed(f"{_label(endpoint)} sends elsewhere; set base_url to the address that it has now.")
    with_status = f" with HTTP status {status}" if status else ""
    quoted = _redact(refusal.words, endpoint)
    return ModelFailed(
        f"{_label(endpoint)} failed{with_status}{f': “{quoted}”' if quoted else ''}; {_advice(refusal)}.",
        transient=status in _TRANSIENT_STATUSES,
        retry_after=refusal.retry_after,
    )


def _advice(refusal: Refusal) -> str:
    """Return what to do about a refusal: change the setting that it names, or try again."""
    if refusal.retry_after is not None:
        return f"try again {humanize_delay(refusal.retry_after)}"
    if refusal.status in (None, 400, 422) and (settings := named_settings(refusal)):
        return f"change {' or '.join(settings)} in the settings of this model"
    if refuses_system_role(refusal):
        return "set an empty system_prompt for this model"
    return "try Retry"


def _rate_limited(refusal: Refusal, endpoint: Endpoint) -> RateLimited:
    is_transient = refusal.status is None or refusal.status in _TRANSIENT_STATUSES
    delay = humanize_delay(refusal.retry_after)
    return RateLimited(
        f"{_label(endpoint)} takes no more requests, or its quota is used up; try again {delay}.",
        transient=is_transient and not _QUOTA_EXHAUSTED.search(f"{refusal.code} {refusal.words}"),
        retry_after=refusal.retry_after,
    )


def _stream_timeout(timeout: StreamTimeout, endpoint: Endpoint, started: bool) -> ModelTimeout:
    duration = f"{timeout.seconds:g} seconds"
    if started:
        symptom = f"was silent for {duration} in the middle of its reply"
    else:
        symptom = f"did not begin to answer in {duration}"
    return ModelTimeout(f"{_label(endpoint)} {symptom}; try Retry, or allow more with {timeout.setting}.")


def _key_refused(endpoint: Endpoint) -> KeyRefused:
    if endpoint.is_hugging_face and endpoint.api_key is None:
        return KeyRefused(
            f"{_label(endpoint)} refused the Hugging Face token; check that HF_TOKEN is right and may use this model."
        )
    if endpoint.api_key is None:
        return KeyRefused(f"{_label(endpoint)} wants a key; give it one with api_key_env.")
    return KeyRefused(f"{_label(endpoint)} refused its key; check that it is right and may use this model.")


def _model_unknown(endpoint: Endpoint) -> ModelUnknown:
    if endpoint.url is None:
        return ModelUnknown(
            f"No inference provider of your Hugging Face account offers the model {endpoint.model!r}; check its name, "
            "or see which models there are at https://huggingface.co/models?inference_provider=all."
        )
    return ModelUnknown(
        f"The endpoint {endpoint.public_name} does not know the model {endpoint.model!r}; check its name, "
        "and that the address is right (most end in /v1)."
    )


def _request_timeout(endpoint: Endpoint, retry_after: float | None = None) -> ModelTimeout:
    delay = "" if retry_after is None else f" {humanize_delay(retry_after)}"
    sentence = f"{_label(endpoint)} took too long to answer; try again{delay}."
    return ModelTimeout(sentence, transient=True, retry_after=retry_after)


def _unreachable(endpoint: Endpoint, *, transient: bool = True) -> ModelUnreachable:
    sentence = f"{_label(endpoint)} cannot be reached; check that it runs, and the network and address."
    return ModelUnreachable(sentence, transient=transient)


def _stream_broken(endpoint: Endpoint) -> StreamBroken:
    sentence = f"{_label(endpoint)} broke off the connection before its reply was complete; try Retry."
    return StreamBroken(sentence, transient=True)


def _not_chat_api(error: Exception, endpoint: Endpoint, started: bool) -> ModelFailed:
    if started:
        return ModelFailed(
            f"{_label(endpoint)} sent something in the middle of its reply that cannot be read "
            f"({type(error).__name__}); try Retry."
        )
    return ModelFailed(
        f"{_label(endpoint)} did not answer like a chat model ({type(error).__name__}); "
        "check that the address is that of an OpenAI-compatible API (most end in /v1)."
    )


def _label(endpoint: Endpoint) -> str:
    location = endpoint.public_name if endpoint.url else "Hugging Face"
    return f"The model {endpoint.model!r} at {location}"


def _redact(words: str, endpoint: Endpoint) -> str:
    """Return a server's message for quoting: short, on one line, with secrets redacted; "" for an HTML page."""
    if is_html(words):
        return ""
    url = endpoint.url
    for secret in (endpoint.api_key, url and url.password, url and url.query):
        if secret:
            words = words.replace(secret, "…")
    words = _SECRET.sub("…", " ".join(words.split())).rstrip(".")
    return words if len(words) <= _MAX_QUOTED_CHARS else f"{words[: _MAX_QUOTED_CHARS - 1].rstrip()}…"

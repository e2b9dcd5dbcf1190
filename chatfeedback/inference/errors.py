"""What goes wrong between us and a model, as one of our errors.

The one seam where errors of httpx2, huggingface_hub and the servers behind them become ModelErrors. Servers agree
on status codes, less on the body, so the body's own words decide first where they are plain: many answer 400 for
an unknown model and for a conversation that is too long. Each sentence names the model, says what to do, and
quotes a server only after keys and markup are out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

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
from chatfeedback.inference.retry_after import humanize_delay, parse_retry_after
from chatfeedback.inference.types import Endpoint

# llama.cpp, OpenAI, vLLM, SGLang, text-generation-inference (TGI), LM Studio, Anthropic's and Gemini's layers.
_TOO_LONG = re.compile(
    r"exceed_context_size|context_length_exceeded|context (length|size|window)|max_new_tokens` must be <="
    r"|inputs` must have less than|maximum (model|prompt|input) length|prompt is too long|input is too long"
    r"|reduce the length of|maximum number of tokens allowed",
    re.IGNORECASE,
)
_NO_SUCH_MODEL = re.compile(
    r"model_not_(found|supported)|unknown_model|model\b.{0,200}?\b(does not exist|not found|is not supported by)"
    r"|no such model|unknown model|invalid model",
    re.IGNORECASE,
)
_TOO_MANY = re.compile(r"rate.?limit|too many requests|quota|overloaded|insufficient.(credit|balance)", re.IGNORECASE)
_USED_UP = re.compile(r"quota|insufficient|credit|balance|billing", re.IGNORECASE)
"""A limit that a moment does not lift."""
_PASSING = {408, 425, 429, 500, 502, 503, 504, *range(520, 525), 529}
"""Statuses of a server, or of what stands before it (520 to 524), that may be another one a moment later."""
_SECRET = re.compile(
    r"(?i:bearer\s+\S+|://[^\s/@]+@|\b(?:api[-_ ]?key|token|password|secret)\b\s*[=:]\s*\S+)"
    r"|\b(?:(?:hf|sk|pk|gsk|xai|nvapi)[-_]|AIza)[\w*.-]{6,}"
)
_QUOTED_CHARS = 200


class StreamTimeout(TimeoutError):
    """Nothing came for as many seconds as `setting` allows."""

    def __init__(self, seconds: float, setting: str) -> None:
        super().__init__()
        self.seconds, self.setting = seconds, setting


class StreamedError(Exception):
    """An error that came in place of a piece of the reply; `args[0]` is what the server sent."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What a server said of a failure: its status if any, its code or type, its words, the seconds to wait."""

    status: int | None
    code: str
    words: str
    retry_after: float | None = None


def translated(error: Exception, endpoint: Endpoint, *, begun: bool = False) -> ModelError:
    """The ModelError for anything that was raised while `endpoint` was asked; `begun`: text of the reply has come."""
    match error:
        case ModelError():
            return error
        case httpx2.HTTPStatusError() | hub.HfHubHTTPError():
            return _refused(_read_response(error.response), endpoint)
        case StreamedError() | hub.TextGenerationError():
            return _streamed(error, endpoint)
        case StreamTimeout():
            return _silent(error, endpoint, begun)
        case TimeoutError() | httpx2.TimeoutException():
            return _too_late(endpoint)
        case hub.OfflineModeIsEnabled():
            return ModelUnreachable(
                f"{_name(endpoint)} cannot be reached while HF_HUB_OFFLINE is set; unset it, or choose a local model."
            )
        case hub.LocalTokenNotFoundError() | hub.OIDCError() | hub.DeviceCodeError():
            return KeyRefused(
                f"{_name(endpoint)} needs a Hugging Face token, and the login of this machine gives none: "
                "set HF_TOKEN, or run `hf auth login`."
            )
        case httpx2.SSEError() | httpx2.DecodingError() | httpx2.LocalProtocolError():
            return _not_a_chat(error, endpoint, begun)
        case httpx2.UnsupportedProtocol() | httpx2.InvalidURL():
            return _unreachable(endpoint, transient=False)
        case httpx2.ConnectError() | httpx2.ProxyError():
            return _unreachable(endpoint)
        case httpx2.TransportError() | EOFError():
            return _broken(endpoint)
        case OSError():
            return _unreachable(endpoint)
        case _:
            return _not_a_chat(error, endpoint, begun)


def endless(endpoint: Endpoint) -> ReplyEndless:
    """The error for a reply that grew beyond what `endpoint` may send."""
    return ReplyEndless(
        f"{_name(endpoint)} wrote more than {endpoint.max_reply_chars} characters and was cut off there; try Retry, "
        "or allow more with max_reply_chars."
    )


def _read_response(response: httpx2.Response) -> _Refusal:
    try:
        payload: Any = response.json()
    except (ValueError, httpx2.ResponseNotRead):
        payload = None
    code, words = _read_payload(payload)
    if not words and not response.headers.get("content-type", "").startswith("text/html"):
        words = "" if payload is not None or not response.is_stream_consumed else response.text
    return _Refusal(response.status_code, code, words, parse_retry_after(response.headers.get("retry-after")))


def _read_payload(payload: Any) -> tuple[str, str]:
    """Code and words of an error in any of the usual shapes.

    {"error": {"message", "type", "code"}}, {"error": "words", "error_type": …}, {"object": "error", "message", …},
    {"detail": …}, or the inside of one of these.
    """
    if not isinstance(payload, dict):
        return "", payload if isinstance(payload, str) else ""
    inner = payload.get("error")
    if isinstance(inner, dict):
        return _read_payload(inner)
    code = " ".join(str(payload[key]) for key in ("code", "type", "error_type") if payload.get(key))
    words = payload.get("message") or inner or payload.get("detail") or payload.get("errors") or ""
    return code, words if isinstance(words, str) else json.dumps(words)


def _streamed(error: Exception, endpoint: Endpoint) -> ModelError:
    if isinstance(error, hub.IncompleteGenerationError):
        return _broken(endpoint)
    if isinstance(error, hub.OverloadedError):
        return _limited(_Refusal(None, "overloaded", ""), endpoint)
    code, words = _read_payload(error.args[0] if error.args else None)
    status = int(code.split()[0]) if re.match(r"[45]\d\d\b", code) else None
    return _refused(_Refusal(status, code, words), endpoint)


def _refused(refusal: _Refusal, endpoint: Endpoint) -> ModelError:
    status, said = refusal.status, f"{refusal.code} {refusal.words}"
    if status == 429 or status == 402 or "rate_limit" in refusal.code:
        return _limited(refusal, endpoint)
    if status in (401, 403):
        return _key_refused(endpoint)
    if status == 413 or _TOO_LONG.search(said):
        return ContextExceeded(
            f"The conversation is too long for the window of the model {endpoint.model!r}; "
            "start a new one, or send a shorter message."
        )
    if status == 404 or _NO_SUCH_MODEL.search(said):
        return _unknown(endpoint)
    if status in (408, 504, 524):
        return _too_late(endpoint, refusal.retry_after)
    if _TOO_MANY.search(said):
        return _limited(refusal, endpoint)
    if status is not None and 300 <= status < 400:
        return ModelFailed(f"{_name(endpoint)} sends elsewhere; set base_url to the address that it has now.")
    reported = f" with HTTP status {status}" if status else ""
    quoted = _quotable(refusal.words, endpoint)
    advice = "try Retry" if refusal.retry_after is None else f"try again {humanize_delay(refusal.retry_after)}"
    return ModelFailed(
        f"{_name(endpoint)} failed{reported}{f': “{quoted}”' if quoted else ''}; {advice}.",
        transient=status in _PASSING,
        retry_after=refusal.retry_after,
    )


def _limited(refusal: _Refusal, endpoint: Endpoint) -> RateLimited:
    passing = refusal.status is None or refusal.status in _PASSING
    when = humanize_delay(refusal.retry_after)
    return RateLimited(
        f"{_name(endpoint)} takes no more requests, or its quota is used up; try again {when}.",
        transient=passing and not _USED_UP.search(f"{refusal.code} {refusal.words}"),
        retry_after=refusal.retry_after,
    )


def _silent(silence: StreamTimeout, endpoint: Endpoint, begun: bool) -> ModelTimeout:
    after = f"{silence.seconds:g} seconds"
    happened = f"was silent for {after} in the middle of its reply" if begun else f"did not begin to answer in {after}"
    return ModelTimeout(f"{_name(endpoint)} {happened}; try Retry, or allow more with {silence.setting}.")


def _key_refused(endpoint: Endpoint) -> KeyRefused:
    if endpoint.is_hugging_face and endpoint.api_key is None:
        return KeyRefused(
            f"{_name(endpoint)} refused the Hugging Face token; check that HF_TOKEN is right and may use this model."
        )
    if endpoint.api_key is None:
        return KeyRefused(f"{_name(endpoint)} wants a key; give it one with api_key_env.")
    return KeyRefused(f"{_name(endpoint)} refused its key; check that it is right and may use this model.")


def _unknown(endpoint: Endpoint) -> ModelUnknown:
    if endpoint.url is None:
        return ModelUnknown(
            f"No inference provider of your Hugging Face account offers the model {endpoint.model!r}; check its name, "
            "or see which models there are at https://huggingface.co/models?inference_provider=all."
        )
    return ModelUnknown(
        f"The endpoint {endpoint.public_name} does not know the model {endpoint.model!r}; check its name, "
        "and that the address is right (most end in /v1)."
    )


def _too_late(endpoint: Endpoint, retry_after: float | None = None) -> ModelTimeout:
    when = "" if retry_after is None else f" {humanize_delay(retry_after)}"
    sentence = f"{_name(endpoint)} took too long to answer; try again{when}."
    return ModelTimeout(sentence, transient=True, retry_after=retry_after)


def _unreachable(endpoint: Endpoint, *, transient: bool = True) -> ModelUnreachable:
    sentence = f"{_name(endpoint)} cannot be reached; check that it runs, and the network and address."
    return ModelUnreachable(sentence, transient=transient)


def _broken(endpoint: Endpoint) -> StreamBroken:
    sentence = f"{_name(endpoint)} broke off the connection before its reply was complete; try Retry."
    return StreamBroken(sentence, transient=True)


def _not_a_chat(error: Exception, endpoint: Endpoint, begun: bool) -> ModelFailed:
    if begun:
        return ModelFailed(
            f"{_name(endpoint)} sent something in the middle of its reply that cannot be read "
            f"({type(error).__name__}); try Retry."
        )
    return ModelFailed(
        f"{_name(endpoint)} did not answer like a chat model ({type(error).__name__}); "
        "check that the address is that of an OpenAI-compatible API (most end in /v1)."
    )


def _name(endpoint: Endpoint) -> str:
    where = endpoint.public_name if endpoint.url else "Hugging Face"
    return f"The model {endpoint.model!r} at {where}"


def _quotable(words: str, endpoint: Endpoint) -> str:
    """The server's words, short, on one line, without keys; nothing where they are a page of markup."""
    if re.search(r"<(!doctype|html|head|body|div|p|h1)\b", words, re.IGNORECASE):
        return ""
    url = endpoint.url
    for secret in (endpoint.api_key, url and url.password, url and url.query):
        if secret:
            words = words.replace(secret, "…")
    words = _SECRET.sub("…", " ".join(words.split())).rstrip(".")
    return words if len(words) <= _QUOTED_CHARS else f"{words[: _QUOTED_CHARS - 1].rstrip()}…"

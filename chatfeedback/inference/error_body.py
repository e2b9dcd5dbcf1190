"""Error bodies of model servers: code, message and names of fields, from any of the usual shapes.

{"error": {"message", "type", "code", "param"}} (OpenAI, Azure, Groq, vLLM), [{"error": {…, "status"}}] (Gemini),
{"error": "words", "error_type"} (text-generation-inference), {"object": "error", "message": …} (older vLLM, Mistral,
whose message may be an object or JSON text), {"detail": "words" or [{"loc", "msg"}]} (FastAPI), {"code", "msg"} (Zhipu)
and {"error": {"metadata": {"raw": …}}} (OpenRouter), text, and HTML. Only the outer levels are read, without recursion.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from chatfeedback.inference.json_text import parse_json
from chatfeedback.inference.retry_after import parse_retry_after

MAX_WORDS_CHARS = 4_000
"""Characters read of a message."""
_MAX_LEVELS = 8
_MAX_ITEMS = 20
_ERROR_KEYS = ("error", "detail", "message", "errors", "msg")
_CODE_KEYS = ("code", "type", "error_type", "status")
_NO_MESSAGES = ("object", "param", "id", "request_id", "timestamp", "path")
_MESSAGE_IN_TEXT = re.compile(r'"(?:message|msg|detail|error)"\s*:\s*"((?:[^"\\]|\\.){1,4000})')
_CUT_OFF_JSON = re.compile(r"\s*+(?:[\[{]\s*+)++(?:[\"\d\-\]},:]|$|true|false|null)")
_HTML = re.compile(r"<(!doctype|html|head|body|div|p|h1)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Error response of a server.

    Attributes:
        status: The HTTP status; None for an error within a stream that has none.
        code: Codes and types, separated by blanks.
        words: The message, "" without one.
        retry_after: Seconds to wait before a retry.
        fields: Names of the fields of the request that the error is about.
    """

    status: int | None
    code: str
    words: str
    retry_after: float | None = None
    fields: tuple[str, ...] = ()


def is_error(payload: Any) -> bool:
    """Return True if the payload is an object, or a list of objects, with a message of an error."""
    if isinstance(payload, list):
        payload = payload[0] if payload else None
    return isinstance(payload, dict) and any(payload.get(key) for key in _ERROR_KEYS)


def is_html(text: str) -> bool:
    """Return True if the text is, or contains, an HTML page."""
    return bool(_HTML.search(text))


def read_response(response: httpx2.Response) -> Refusal:
    """Read an unsuccessful response, of which the body has been read or not."""
    try:
        text = response.text
    except httpx2.ResponseNotRead:
        text = ""
    refusal = read_payload(text if _is_text(response, text) else "")
    retry_after = parse_retry_after(response.headers.get("retry-after"))
    return Refusal(response.status_code, refusal.code, refusal.words, retry_after, refusal.fields)


def _is_text(response: httpx2.Response, text: str) -> bool:
    """Return True unless the body is a page for people; JSON is sometimes declared as one."""
    is_page = response.headers.get("content-type", "").startswith("text/html") or is_html(text[:1000])
    return not is_page or text.lstrip()[:1] in ("{", "[")


def read_payload(payload: Any) -> Refusal:
    """Read the payload of an error, JSON values or text; the status is a code between 400 and 599, if there is one."""
    codes: list[str] = []
    fields: list[str] = []
    for _level in range(_MAX_LEVELS):
        match payload:
            case str() if (parsed := _parse(payload)) is not None:
                payload = parsed
            case list() if _is_validation(payload):
                payload = _describe_items(payload[:_MAX_ITEMS], codes, fields)
                break
            case list():
                payload = payload[0] if payload else ""
            case dict():
                codes += [str(payload[key]) for key in _CODE_KEYS if _is_scalar(payload.get(key))]
                fields += [payload["param"]] if isinstance(payload.get("param"), str) else []
                payload = _inner(payload)
            case _:
                break
    words = payload if isinstance(payload, str) else ""
    status = re.search(r"\b[45]\d\d\b", " ".join(codes))
    if _CUT_OFF_JSON.match(words):  # or nested too deeply
        words = _message_in(words)
    return Refusal(int(status[0]) if status else None, " ".join(codes), words[:MAX_WORDS_CHARS], None, tuple(fields))


def _parse(text: str) -> Any:
    """Return the value of a text that is a JSON object or list; None for another text."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return parse_json(text)
    except ValueError:
        return None


def _inner(payload: dict[str, Any]) -> Any:
    """Return the part of an error that says most."""
    metadata, error = payload.get("metadata"), payload.get("error")
    if isinstance(metadata, dict) and isinstance(metadata.get("raw"), str) and metadata["raw"]:
        return metadata["raw"]
    if isinstance(error, dict | list) and error:
        return error
    keys = ("message", "error", "detail", "errors", "msg")
    return next((payload[key] for key in keys if payload.get(key)), None) or _field_message(payload)


def _field_message(payload: dict[str, Any]) -> str:
    """Return the first message of an object that has one or more for each field, "seed: Not supported."."""
    for name, messages in payload.items():
        message = messages[0] if isinstance(messages, list) and messages else messages
        if isinstance(message, str) and name not in _CODE_KEYS and name not in _NO_MESSAGES:
            return f"{name}: {message}"
    return ""


def _is_validation(items: Sequence[Any]) -> bool:
    return bool(items) and all(isinstance(item, dict) and "msg" in item for item in items)


def _describe_items(items: Sequence[dict[str, Any]], codes: list[str], fields: list[str]) -> str:
    """Return the items of a validation error (pydantic) as text, "seed: Extra inputs are not permitted"."""
    sentences = []
    for item in items:
        location = item.get("loc")
        parts = [str(part) for part in location if _is_scalar(part)] if isinstance(location, list) else []
        field = ".".join(part for part in parts if part != "body")
        fields.append(field)
        codes += [item["type"]] if isinstance(item.get("type"), str) else []
        message = item["msg"] if isinstance(item["msg"], str) else ""
        sentences.append(f"{field}: {message}" if field else message)
    return "; ".join(sentences)


def _message_in(text: str) -> str:
    found = _MESSAGE_IN_TEXT.search(text)
    return re.sub(r"\\(.)", lambda escape: " " if escape[1] in "nrt" else escape[1], found[1]) if found else ""


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""

"""Chunks of a chat completion: read the text, the finish reason and the token counts, whatever else a server sends.

Only the fields that are used are read. Others may have any shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chatfeedback.inference.error_body import is_error
from chatfeedback.inference.errors import StreamedError
from chatfeedback.inference.json_text import parse_json

CHUNK_KEYS = ("choices", "usage")
"""Keys of which a chunk has at least one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Choice of a chunk: the next text and refusal, and the finish reason at the end."""

    text: str
    refusal: str
    is_last: bool
    finish_reason: str | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Chunk of a stream, or a whole completion. The values of `model` to `provider` are as the server sent them."""

    choices: tuple[Choice, ...] = ()
    usage: tuple[int | None, int | None] | None = None
    """Token counts of prompt and reply."""
    model: Any = None
    system_fingerprint: Any = None
    provider: Any = None


def read_chunk(data: str) -> Chunk:
    """Read the data of an event. Raises StreamedError for an error, ValueError or TypeError for what is no chunk."""
    payload = parse_json(data)
    check_chunk(payload)
    choices = payload.get("choices") or ()
    if not isinstance(choices, list | tuple):
        raise TypeError(f"the choices of a chunk are a {type(choices).__name__}")
    return Chunk(
        tuple(map(_read_choice, choices)),
        _read_usage(payload.get("usage")),
        payload.get("model"),
        payload.get("system_fingerprint"),
        payload.get("provider"),
    )


def check_chunk(payload: Any) -> None:
    """Check that the data of an event is a chat completion, or a chunk of one.

    Raises StreamedError for an error of the server, TypeError for any other payload.
    """
    if isinstance(payload, list) and is_error(payload):
        raise StreamedError(payload)
    if not isinstance(payload, dict):
        raise TypeError(f"a chunk is an object, not a {type(payload).__name__}")
    if payload.get("error") is not None or "error" in (payload.get("object"), payload.get("type")):
        raise StreamedError(payload)
    if not any(key in payload for key in CHUNK_KEYS):
        raise StreamedError(payload) if is_error(payload) else TypeError("a chunk has no choices")


def _read_choice(choice: Any) -> Choice:
    if not isinstance(choice, dict):
        raise TypeError(f"a choice is a {type(choice).__name__}")
    delta, message = choice.get("delta"), choice.get("message")
    is_whole = delta is None and message is not None
    part = message if is_whole else delta
    if part is not None and not isinstance(part, dict):
        raise TypeError(f"the delta of a choice is a {type(part).__name__}")
    reason = choice.get("finish_reason")
    refusal = part.get("refusal") if part else None
    return Choice(
        text=_read_text(part.get("content")) if part else "",
        refusal=refusal if isinstance(refusal, str) else "",
        is_last=is_whole or bool(reason),
        finish_reason=reason if isinstance(reason, str) and reason else None,
    )


def _read_text(content: Any) -> str:
    """Return the text of a chunk, a string or blocks."""
    if isinstance(content, list):
        return "".join(map(_read_block, content))
    if content is not None and not isinstance(content, str):
        raise TypeError(f"the text of a chunk is a {type(content).__name__}")
    return content or ""


def _read_block(block: object) -> str:
    """Return the text of a content block (Mistral); thoughts and references are not part of the reply."""
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        raise TypeError("a block of content is none")
    text = block.get("text", "")
    if not isinstance(text, str):
        raise TypeError(f"the text of a block is a {type(text).__name__}")
    return text if block["type"] == "text" else ""


def _read_usage(usage: Any) -> tuple[int | None, int | None] | None:
    """Return the token counts. Missing or malformed ones must not fail a complete reply."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = (usage.get(f"{side}_tokens") for side in ("prompt", "completion"))
    return (prompt if type(prompt) is int else None, completion if type(completion) is int else None)

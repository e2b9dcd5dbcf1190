"""Provenance of a reply: parameters of the request as it was sent, and what the endpoint reports of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from chatfeedback.domain.conversation.events import Provenance
from chatfeedback.inference.chunks import Chunk

OnProvenance = Callable[[Provenance], None]

PROVIDER_HEADER = "x-inference-provider"
"""Header in which the router of Hugging Face names the provider that it chose."""
MAX_CHARS = 200
"""Characters kept of a value that an endpoint reports."""


def with_request(current: Provenance, payload: Mapping[str, Any], headers: Mapping[str, str]) -> Provenance:
    """Return `current` with the parameters in the JSON of the request, and the provider in the response headers."""
    return replace(
        current,
        sent_temperature=payload.get("temperature"),
        sent_top_p=payload.get("top_p"),
        sent_max_tokens=payload.get("max_tokens"),
        sent_seed=payload.get("seed"),
        reported_provider=_clean(headers.get(PROVIDER_HEADER)),
    )


def with_chunk(current: Provenance, chunk: Chunk) -> Provenance:
    """Return `current` with the values of a chunk that are still missing. The field `provider` is OpenRouter's."""
    if (
        (current.reported_model or not chunk.model)
        and (current.system_fingerprint or not chunk.system_fingerprint)
        and (current.reported_provider or not chunk.provider)
    ):
        return current  # fast path: nearly every chunk
    return replace(
        current,
        reported_model=current.reported_model or _clean(chunk.model),
        system_fingerprint=current.system_fingerprint or _clean(chunk.system_fingerprint),
        reported_provider=current.reported_provider or _clean(chunk.provider),
    )


def _clean(value: object) -> str | None:
    """Return the value, stripped and truncated, if it is a non-empty text."""
    return value.strip()[:MAX_CHARS] or None if isinstance(value, str) else None

"""The provenance of a reply: read from the request as it was sent, and from what the endpoint says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from huggingface_hub import ChatCompletionStreamOutput

from chatfeedback.domain.conversation.events import Provenance

OnProvenance = Callable[[Provenance], None]

PROVIDER_HEADER = "x-inference-provider"
"""By which the router of Hugging Face says which provider it chose."""
LONGEST = 200
"""Characters that are kept of what an endpoint says of itself."""


def sent(known: Provenance, payload: Mapping[str, Any], headers: Mapping[str, str]) -> Provenance:
    """Return `known` with the parameters in the JSON of the request, and the provider that the answer names."""
    return replace(
        known,
        sent_temperature=payload.get("temperature"),
        sent_top_p=payload.get("top_p"),
        sent_max_tokens=payload.get("max_tokens"),
        sent_seed=payload.get("seed"),
        reported_provider=_word(headers.get(PROVIDER_HEADER)),
    )


def told(known: Provenance, chunk: ChatCompletionStreamOutput) -> Provenance:
    """Return `known` with what a chunk says, where nothing was said before. `provider` is OpenRouter's."""
    if known.reported_model and known.system_fingerprint:
        return known  # nearly every chunk of a server that says both
    return replace(
        known,
        reported_model=known.reported_model or _word(chunk.model),
        system_fingerprint=known.system_fingerprint or _word(chunk.system_fingerprint),
        reported_provider=known.reported_provider or _word(getattr(chunk, "provider", None)),
    )


def _word(said: object) -> str | None:
    """Return what was said if it is a text with something in it."""
    return said.strip()[:LONGEST] or None if isinstance(said, str) else None

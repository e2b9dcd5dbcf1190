"""Value types of requests to a model and its replies; cheap to import."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from chatfeedback.config.keys import clean_key
from chatfeedback.errors import SettingsError

# Hosts of Hugging Face itself, which may get its token.
_HUGGING_FACE_HOSTS = ("huggingface.co", ".huggingface.co", ".endpoints.huggingface.cloud")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters. `temperature` from 0 (always the likeliest), `top_p` above 0 and up to 1."""

    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Endpoint of one model: an OpenAI-compatible API at `base_url`, else Hugging Face.

    Attributes:
        model: The model's id at the endpoint.
        provider: One of Hugging Face's inference providers; without it Hugging Face chooses.
        base_url: The address of an OpenAI-compatible API; None for Hugging Face's providers.
        api_key: The key. Without one, Hugging Face gets the token of the environment or of `hf auth login`; any other
            address gets no key.
        first_token_seconds: Timeout from the request to the first piece of a reply.
        timeout_seconds: Timeout between two pieces.
        max_reply_chars: Maximum length of one reply.
        attempts: Maximum attempts to get the first piece of a reply.
        weights_sha256: The hash of the file of a local model.

    Raises SettingsError if `base_url` is not an address, or `api_key` cannot be sent.
    """

    model: str
    provider: str | None = None
    base_url: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    first_token_seconds: float = 120.0
    timeout_seconds: float = 120.0
    max_reply_chars: int = 100_000
    attempts: int = 3
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        try:
            is_valid = self.url is None or (self.url.scheme in ("http", "https") and bool(self.url.hostname))
        except ValueError:
            is_valid = False
        if not is_valid:
            raise SettingsError(
                f"The base_url of the model {self.model!r} is not an address such as http://127.0.0.1:8000/v1."
            )
        if self.api_key:
            object.__setattr__(self, "api_key", clean_key(self.api_key, f"The key for the model {self.model!r}"))

    @property
    def url(self) -> SplitResult | None:
        """The parts of `base_url`; None for Hugging Face's providers."""
        if self.base_url is None:
            return None
        url = urlsplit(self.base_url.strip())
        url.port  # noqa: B018 - raises ValueError for an invalid port
        return url

    @property
    def public_name(self) -> str:
        """Name of the endpoint for records and display, without secrets: "http://host:8000/v1", "auto"."""
        url = self.url
        if url is None:
            return self.provider or "auto"
        return url._replace(netloc=url.netloc.rpartition("@")[2], query="", fragment="").geturl()

    @property
    def is_hugging_face(self) -> bool:
        """True if Hugging Face itself answers here, over an encrypted connection."""
        url = self.url
        if url is None:
            return True
        host = url.hostname or ""
        trusted = any(host.endswith(name) if name.startswith(".") else host == name for name in _HUGGING_FACE_HOSTS)
        return url.scheme == "https" and trusted

    @property
    def is_loopback(self) -> bool:
        """True if the endpoint is on this machine, which no proxy can reach."""
        host = (self.url.hostname if self.url else None) or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """Message of a request to a model."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """Request for one reply, messages oldest first.

    `seed`: from 0 below 2**31, which every server accepts. `fresh`: bypass caches of whole replies.
    """

    messages: tuple[ChatMessage, ...]
    sampling: Sampling
    seed: int
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """Next piece of a reply, never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """End of a reply: the endpoint's finish reason and token counts, None where it reports none."""

    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    refusal: str = ""
    """Refusal of the model in its own words, if the server separates it from the text."""

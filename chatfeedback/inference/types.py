"""What is asked of a model and what comes back: plain values, cheap to import."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from chatfeedback.errors import SettingsError

# Who answers here is Hugging Face itself, so its token may be sent here.
_HUGGING_FACE_HOSTS = ("huggingface.co", ".huggingface.co", ".endpoints.huggingface.cloud")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. `temperature` from 0 (always the likeliest), `top_p` above 0 and up to 1."""

    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one model is reached: at `base_url`, an OpenAI-compatible API, or else through Hugging Face.

    `provider` names one of Hugging Face's inference providers; without it Hugging Face chooses. `api_key`: without
    one, Hugging Face gets the token of the environment or of `hf auth login`, any other address gets no key.

    What is endured of it: `first_token_seconds` from asking to the first piece of a reply, `timeout_seconds` of silence
    between two pieces, `max_reply_chars` in one reply, and `attempts` to ask for a reply of which nothing has come.

    Raises SettingsError when `base_url` is not an address.
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
    """Of the file of a local model."""

    def __post_init__(self) -> None:
        try:
            usable = self.url is None or (self.url.scheme in ("http", "https") and bool(self.url.hostname))
        except ValueError:
            usable = False
        if not usable:
            raise SettingsError(
                f"The base_url of the model {self.model!r} is not an address such as http://127.0.0.1:8000/v1."
            )

    @property
    def url(self) -> SplitResult | None:
        """The parts of `base_url`; None for Hugging Face's providers."""
        if self.base_url is None:
            return None
        url = urlsplit(self.base_url.strip())
        url.port  # noqa: B018 - raises ValueError where there is none
        return url

    @property
    def public_name(self) -> str:
        """The endpoint as it may be recorded and shown, without secrets: "http://host:8000/v1", "auto"."""
        url = self.url
        if url is None:
            return self.provider or "auto"
        return url._replace(netloc=url.netloc.rpartition("@")[2], query="", fragment="").geturl()

    @property
    def is_hugging_face(self) -> bool:
        """Whether Hugging Face answers here, over a connection that nobody else reads."""
        url = self.url
        if url is None:
            return True
        host = url.hostname or ""
        trusted = any(host.endswith(name) if name.startswith(".") else host == name for name in _HUGGING_FACE_HOSTS)
        return url.scheme == "https" and trusted

    @property
    def is_loopback(self) -> bool:
        """Whether the endpoint is on this machine, where no proxy leads."""
        host = (self.url.hostname if self.url else None) or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message as a model is told of it."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """What one reply is asked with, messages oldest first.

    `seed`: from 0 below 2**31, which every server takes. `fresh`: no cache of whole replies may answer.
    """

    messages: tuple[ChatMessage, ...]
    sampling: Sampling
    seed: int
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of a reply, never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a reply: why it ended, in the endpoint's word, and what it counted, where it tells."""

    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    refusal: str = ""
    """Why the model does not answer, in its own words, where a server keeps that apart from the text."""

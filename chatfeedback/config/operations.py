"""Settings of operations: logging, metrics and shutdown."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, SecretStr

from chatfeedback.config.types import Frozen

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
Token = Annotated[SecretStr, Field(min_length=16)]


class OperationSettings(Frozen):
    """Operations settings, at the top level."""

    log_format: LogFormat = Field(
        default="text", description="A line of the server's log is `text` for people, or `json` for programs."
    )
    log_level: LogLevel = Field(
        default="info", description="What is logged: `debug`, `info`, `warning` or `error`, and what is worse."
    )
    metrics_token: Token | None = Field(
        default=None,
        description="The bearer token with which `/metrics` can be read, at least 16 characters; without it only "
        "a server without sign-in answers there.",
    )
    shutdown_seconds: FiniteFloat = Field(
        default=20,
        ge=0,
        description="How long replies may still be written when the server is asked to end; the rest is kept as it is.",
    )

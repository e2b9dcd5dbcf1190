"""Settings of models: endpoints and request parameters.

Request parameters at the top level are the defaults of every model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, FiniteFloat, SecretStr, StringConstraints, field_validator, model_validator

from chatfeedback.config.keys import clean_key
from chatfeedback.config.types import BaseUrl, Frozen, Name, Text
from chatfeedback.errors import SettingsError

LOCAL_MODEL = "local"
LOCAL_MODEL_NAME = "SmolLM2-135M-Instruct"

Provider = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]


class RequestSettings(Frozen):
    """Request parameters. At the top level these are the defaults of every model."""

    system_prompt: Text = Field(
        default="You are a friendly chatbot",
        description="The instruction before every conversation; an empty one is not sent.",
    )
    temperature: FiniteFloat = Field(
        default=0.95, ge=0, le=2, description="How freely words are chosen, 0 to 2; at 0 always the likeliest."
    )
    top_p: FiniteFloat = Field(
        default=0.9, gt=0, le=1, description="Words are drawn from the likeliest that make up this share, 0 to 1."
    )
    max_tokens: int = Field(default=512, ge=1, le=2**31 - 1, description="The longest reply, in tokens.")
    max_reply_chars: int = Field(
        default=100_000,
        ge=1,
        description="The longest reply in characters, where the endpoint goes on beyond `max_tokens`; it fails there.",
    )
    first_token_seconds: FiniteFloat = Field(
        default=120, gt=0, description="How long the endpoint may take to the first piece of a reply; then it failed."
    )
    timeout_seconds: FiniteFloat = Field(
        default=120, gt=0, description="How long the endpoint may be silent between two pieces; then the reply failed."
    )
    attempts: int = Field(
        default=3,
        ge=1,
        le=10,
        description="How often an endpoint that is busy or unavailable is asked; 1 asks only once.",
    )


class ModelSettings(RequestSettings):
    """Model of the picker, and its endpoint."""

    name: Name = Field(
        default=LOCAL_MODEL_NAME,
        description="The name that is shown and recorded, unique. By default the same as `model`.",
    )
    model: Name = Field(
        default=LOCAL_MODEL,
        description="The id of the model at its endpoint; `local` is the model that runs in chatfeedback.",
    )
    local: bool = Field(default=False, description='`local = true` says the same as `model = "local"`.')
    provider: Provider | None = Field(
        default=None,
        description="The inference provider of the Hugging Face Hub; without one the Hub chooses.",
    )
    base_url: BaseUrl | None = Field(
        default=None,
        description="The address of an OpenAI-compatible server, such as `http://127.0.0.1:8000/v1`.",
    )
    api_key: SecretStr | None = Field(
        default=None, description="The key for the endpoint; better not in a file, see `api_key_env`."
    )
    api_key_env: Name | None = Field(
        default=None, description="The name of the environment variable that holds the key."
    )
    context_tokens: int | None = Field(
        default=None, ge=1, description="The window of the model in tokens, where the endpoint does not tell it."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_names(cls, values: Any) -> Any:
        """Fill in defaults: `local` and `model = "local"` are equivalent; the id is the default name."""
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        if filled.get("local") is True:
            filled.setdefault("model", LOCAL_MODEL)
        if "model" not in filled:
            raise ValueError("a model needs `model`, its id at the endpoint, or `local = true`")
        if filled["model"] == LOCAL_MODEL:
            filled.setdefault("local", True)
        elif isinstance(filled["model"], str):
            filled.setdefault("name", filled["model"])
        return filled

    @model_validator(mode="after")
    def _check_one_endpoint(self) -> Self:
        if self.local != (self.model == LOCAL_MODEL):
            raise ValueError('`local = true` goes with `model = "local"` or without `model`')
        if self.local and (self.provider or self.base_url or self.api_key or self.api_key_env):
            raise ValueError("the local model has no provider, base_url, api_key or api_key_env")
        if self.local and self.context_tokens is not None:
            raise ValueError("the window of the local model is set as context_tokens in the table [local]")
        if self.provider and self.base_url:
            raise ValueError("provider is for models of the Hub, leave it out beside base_url")
        if self.api_key and self.api_key_env:
            raise ValueError("give either api_key or api_key_env, not both")
        return self

    def resolve_api_key(self) -> SecretStr | None:
        """Return the API key, None without one. Raises SettingsError if it is missing, or cannot be sent."""
        if self.api_key_env is None:
            source = f"The api_key of the model {self.name!r}"
            return self.api_key and SecretStr(clean_key(self.api_key.get_secret_value(), source))
        key = os.environ.get(self.api_key_env)
        if not key:
            raise SettingsError(
                f"The key for the model {self.name!r} should be in the environment variable "
                f"{self.api_key_env}, which is not set."
            )
        source = f"The key for the model {self.name!r} in the environment variable {self.api_key_env}"
        return SecretStr(clean_key(key, source))


class LocalSettings(Frozen):
    """Local model, served by llama.cpp in a child process."""

    gguf: Path | None = Field(default=None, description="The weights, a GGUF file; by default those described below.")
    context_tokens: int | None = Field(
        default=None,
        ge=1,
        description="The window in tokens, at most what the model was trained for; by default that, up to 8192.",
    )
    threads: int | None = Field(
        default=None, ge=1, description="Threads to compute with; by default one for each core but one."
    )

    @field_validator("gguf")
    @classmethod
    def _expand_home(cls, path: Path | None) -> Path | None:
        return path and path.expanduser()


def with_defaults(model: ModelSettings, inherited: Mapping[str, Any], local: LocalSettings) -> ModelSettings:
    """Return `model` with the top-level defaults, and for a local model the values of the table [local]."""
    update = {name: value for name, value in inherited.items() if name not in model.model_fields_set}
    if model.local:
        update["context_tokens"] = local.context_tokens
        if local.gguf and "name" not in model.model_fields_set:
            update["name"] = local.gguf.stem
    return model.model_copy(update=update)

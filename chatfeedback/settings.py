"""What can be set, and what is allowed.

Sources, strongest first: command-line flags, environment variables `CHATFEEDBACK_*` (`__` goes into a
table: `CHATFEEDBACK_LOCAL__GGUF`), the file `chatfeedback.toml`, the defaults written here. Tables of two
sources are merged key by key; lists (`models`, `reasons`) are replaced whole.

Only `Settings.load` reads flags, environment and file. `Settings(...)` itself reads nothing but its
arguments, and what it returns never changes. A value that cannot be used raises `SettingsError`: one
sentence with the setting, the place it came from and what is allowed, never with a secret in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    FiniteFloat,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from chatfeedback.access_settings import AccessSettings, ConsentSettings, OidcSettings
from chatfeedback.errors import SettingsError
from chatfeedback.operation_settings import OperationSettings
from chatfeedback.setting_types import BaseUrl, Frozen, Name, Text
from chatfeedback.sources import ENV_PREFIX, Sources
from chatfeedback.store.engine import parse_url

LOCAL_MODEL = "local"
LOCAL_MODEL_NAME = "SmolLM2-135M-Instruct"


def _database_url(url: str) -> str:
    """`url` with its driver named; ValueError when it is none that the store can use."""
    try:
        return parse_url(url).render_as_string(hide_password=False)
    except SettingsError as error:
        raise ValueError(str(error)) from None
    except ValueError:  # from a port that is no number; its text could quote a piece of the password
        raise ValueError("it should be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE") from None


Provider = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$", max_length=64)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]


class RequestSettings(Frozen):
    """How a reply is asked for. At the top level these are the defaults of every model."""

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
        default=3, ge=1, le=10, description="How often an endpoint that is busy or away is asked; 1 asks only once."
    )


class ModelSettings(RequestSettings):
    """One model of the picker, and the endpoint that it is reached at."""

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
        """`local` and `model = "local"` say the same; another model is called by its id unless named."""
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
    def _one_endpoint(self) -> Self:
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
        """The key for the endpoint, None without one. Raises SettingsError when `api_key_env` is not set."""
        if self.api_key_env is None:
            return self.api_key
        key = os.environ.get(self.api_key_env)
        if not key:
            raise SettingsError(
                f"The key for the model {self.name!r} should be in the environment variable "
                f"{self.api_key_env}, which is not set."
            )
        return SecretStr(key)


class LocalSettings(Frozen):
    """The model that runs in chatfeedback itself, behind llama.cpp's server."""

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


class ReasonSettings(Frozen):
    """One reason that the feedback panel offers."""

    code: Code = Field(
        description="What is stored: lower-case letters, digits and `_`; unique, and never changed later."
    )
    label: Name = Field(description="What is shown; it may be changed and translated at any time.")
    polarity: Literal["like", "dislike", "any"] = Field(
        default="any", description="The rating that it is offered with: `like`, `dislike` or `any`."
    )


DEFAULT_REASONS = (
    ReasonSettings(code="correct", label="Correct", polarity="like"),
    ReasonSettings(code="clear", label="Clear", polarity="like"),
    ReasonSettings(code="helpful", label="Helpful", polarity="like"),
    ReasonSettings(code="complete", label="Complete", polarity="like"),
    ReasonSettings(code="good_style", label="Good style", polarity="like"),
    ReasonSettings(code="factual_error", label="Factually wrong", polarity="dislike"),
    ReasonSettings(code="instructions_not_followed", label="Instructions not followed", polarity="dislike"),
    ReasonSettings(code="incomplete", label="Incomplete", polarity="dislike"),
    ReasonSettings(code="unclear", label="Unclear", polarity="dislike"),
    ReasonSettings(code="too_long", label="Too long", polarity="dislike"),
    ReasonSettings(code="repetitive", label="Repeats itself", polarity="dislike"),
    ReasonSettings(code="bad_style", label="Poor style or tone", polarity="dislike"),
    ReasonSettings(code="needless_refusal", label="Refused without need", polarity="dislike"),
    ReasonSettings(code="unsafe", label="Unsafe or offensive", polarity="dislike"),
)


class Settings(RequestSettings, AccessSettings, OperationSettings, BaseSettings):
    """Everything that can be set; immutable. `Settings.load` is the way to get one."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        validate_default=True,
    )

    database_url: DatabaseUrl = Field(
        default="sqlite:///chatfeedback.db",
        repr=False,  # it may hold a password
        description="Where all is kept: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE`.",
    )
    migrate: bool = Field(
        default=False, description="`serve` brings a Postgres database up to date; a SQLite file it always does."
    )
    host: Name = Field(default="127.0.0.1", description="The address to listen on; `0.0.0.0` opens it to the network.")
    port: int = Field(default=7860, ge=0, le=65535, description="The port to listen on; 0 takes a free one.")
    title: Name = Field(default="chatfeedback", description="The title of the page and the label of the chat.")
    max_message_chars: int = Field(
        default=32_000, ge=1, description="The longest message that can be sent, in characters."
    )
    shown_messages: int = Field(
        default=50, ge=2, description="How many messages of a long conversation are drawn; older ones on demand."
    )
    reply_linger_seconds: FiniteFloat = Field(
        default=60, ge=0, description="How long a reply is still written on when nobody watches it."
    )
    local: LocalSettings = Field(default=LocalSettings(), description="The local model, a table: see below.")
    models: tuple[ModelSettings, ...] = Field(
        default=(),
        description="The models of the picker, the first one chosen; by default only the local model.",
    )
    reasons: tuple[ReasonSettings, ...] = Field(
        default=DEFAULT_REASONS, description="The reasons of the feedback panel, in their order."
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Constructing reads its arguments only: `load` is the one place that looks around."""
        return (init_settings,)

    @field_validator("models")
    @classmethod
    def _complete_models(cls, models: tuple[ModelSettings, ...], info: ValidationInfo) -> tuple[ModelSettings, ...]:
        """At least one model; each with the defaults of the top level and a name of its own."""
        inherited = {name: info.data[name] for name in RequestSettings.model_fields if name in info.data}
        local = info.data.get("local", LocalSettings())
        completed = tuple(
            _completed(model, inherited, local) for model in models or (ModelSettings(model=LOCAL_MODEL),)
        )
        seen: set[str] = set()
        for model in completed:
            if model.name in seen:
                raise ValueError(f"two models are called {model.name!r}, give one of them another name")
            seen.add(model.name)
            if model.context_tokens is not None and model.context_tokens <= model.max_tokens:
                raise ValueError(
                    f"context_tokens of {model.name!r} ({model.context_tokens}) must be larger than "
                    f"max_tokens ({model.max_tokens})"
                )
        return completed

    @field_validator("reasons")
    @classmethod
    def _unique_codes(cls, reasons: tuple[ReasonSettings, ...]) -> tuple[ReasonSettings, ...]:
        codes = [reason.code for reason in reasons]
        for code in codes:
            if codes.count(code) > 1:
                raise ValueError(f"two reasons have the code {code!r}")
        return reasons

    @classmethod
    def load(cls, config: Path | None = None, **flags: Any) -> Settings:
        """Settings from `flags` (those that are not None), the environment, the file, the defaults.

        `config` is the file to read; without it `CHATFEEDBACK_CONFIG`, else `chatfeedback.toml` in the
        working directory if there is one. The flags `model`, `base_url`, `provider` and `api_key_env`
        describe one model, which replaces all configured ones; the others are names of settings.
        Raises SettingsError.
        """
        sources = Sources.read(cls, config, flags)
        try:
            return cls(**sources.merged())
        except ValidationError as error:
            known = {
                "": cls.model_fields,
                "local": LocalSettings.model_fields,
                "models": ModelSettings.model_fields,
                "oidc": OidcSettings.model_fields,
                "consent": ConsentSettings.model_fields,
                "reasons": ReasonSettings.model_fields,
            }
            raise SettingsError(sources.explain(error.errors(include_url=False)[0], known)) from None


def _completed(model: ModelSettings, inherited: Mapping[str, Any], local: LocalSettings) -> ModelSettings:
    """`model` with the defaults of the top level, and what a local model takes from the table [local]."""
    update = {name: value for name, value in inherited.items() if name not in model.model_fields_set}
    if model.local:
        update["context_tokens"] = local.context_tokens
        if local.gguf and "name" not in model.model_fields_set:
            update["name"] = local.gguf.stem
    return model.model_copy(update=update)

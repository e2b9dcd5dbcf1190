"""Settings: all options, their types and defaults.

Sources, by precedence: command-line flags, environment variables `CHATFEEDBACK_*` (`__` separates nested keys:
`CHATFEEDBACK_LOCAL__GGUF`), the file `chatfeedback.toml`, the defaults here. Tables of two sources are merged key by
key; lists (`models`, `reasons`) are replaced as a whole.

Only `Settings.load` reads flags, environment and file. `Settings(...)` itself reads only its arguments, and is
immutable. An invalid value raises `SettingsError`: one sentence with the setting, its source and what is allowed, never
with a secret.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    FiniteFloat,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from chatfeedback.config.auth import AccessSettings, ConsentSettings, OidcSettings, StudySettings
from chatfeedback.config.models import LOCAL_MODEL, LocalSettings, ModelSettings, RequestSettings, with_defaults
from chatfeedback.config.operations import OperationSettings
from chatfeedback.config.sources import ENV_PREFIX, Sources
from chatfeedback.config.types import Frozen, Name
from chatfeedback.errors import SettingsError
from chatfeedback.store.database.engine import parse_url


def _check_database_url(url: str) -> str:
    """Return `url` with an explicit driver. Raises ValueError if the store does not support it."""
    try:
        return parse_url(url).render_as_string(hide_password=False)
    except SettingsError as error:
        raise ValueError(str(error)) from None
    except ValueError:  # an invalid port; its message could quote a part of the password
        raise ValueError("it should be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE") from None


Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$", max_length=64)]
DatabaseUrl = Annotated[str, AfterValidator(_check_database_url)]


class ReasonSettings(Frozen):
    """Reason of the feedback panel."""

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
    """All settings, immutable; create them with `Settings.load`."""

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
        default=60, ge=0, description="How long a reply goes on when no page is open."
    )
    local: LocalSettings = Field(default=LocalSettings(), description="The local model, a table: see below.")
    models: tuple[ModelSettings, ...] = Field(
        default=(),
        description="The models of the picker, the first one chosen; by default only the local model.",
    )
    study: StudySettings = Field(
        default=StudySettings(), description="The study that conversations belong to, a table: see below."
    )
    reasons: tuple[ReasonSettings, ...] = Field(
        default=DEFAULT_REASONS, description="The reasons of the feedback panel, in their order."
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Restrict the constructor to its arguments: only `load` reads other sources."""
        return (init_settings,)

    @field_validator("models")
    @classmethod
    def _complete_models(cls, models: tuple[ModelSettings, ...], info: ValidationInfo) -> tuple[ModelSettings, ...]:
        """Return at least one model, each with the top-level defaults; check that names are unique."""
        inherited = {name: info.data[name] for name in RequestSettings.model_fields if name in info.data}
        local = info.data.get("local", LocalSettings())
        all_models = tuple(
            with_defaults(model, inherited, local) for model in models or (ModelSettings(model=LOCAL_MODEL),)
        )
        names: set[str] = set()
        for model in all_models:
            if model.name in names:
                raise ValueError(f"two models are called {model.name!r}, give one of them another name")
            names.add(model.name)
            if model.context_tokens is not None and model.context_tokens <= model.max_tokens:
                raise ValueError(
                    f"context_tokens of {model.name!r} ({model.context_tokens}) must be larger than "
                    f"max_tokens ({model.max_tokens})"
                )
        return all_models

    @field_validator("reasons")
    @classmethod
    def _check_unique_codes(cls, reasons: tuple[ReasonSettings, ...]) -> tuple[ReasonSettings, ...]:
        codes = [reason.code for reason in reasons]
        for code in codes:
            if codes.count(code) > 1:
                raise ValueError(f"two reasons have the code {code!r}")
        return reasons

    @classmethod
    def load(cls, config: Path | None = None, **flags: Any) -> Settings:
        """Load settings from flags, environment, file and defaults. Raises SettingsError.

        Args:
            config: The file to read; by default `CHATFEEDBACK_CONFIG`, else `chatfeedback.toml` in the working
                directory if there is one.
            flags: Command-line flags; None counts as not given. `model`, `base_url`, `provider` and `api_key_env`
                describe one model, which replaces all configured ones; the others are names of settings.
        """
        sources = Sources.read(cls, config, flags)
        try:
            return cls(**sources.merge())
        except ValidationError as error:
            tables = {
                "": cls.model_fields,
                "local": LocalSettings.model_fields,
                "models": ModelSettings.model_fields,
                "oidc": OidcSettings.model_fields,
                "consent": ConsentSettings.model_fields,
                "study": StudySettings.model_fields,
                "reasons": ReasonSettings.model_fields,
            }
            raise SettingsError(sources.explain(error.errors(include_url=False)[0], tables)) from None

"""Sources of settings: read and merge flags, environment and file, and explain errors.

Raw values are kept by source, so that an error message can name the source of a refused value. Values are quoted only
if they cannot hold a secret.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource

from chatfeedback.errors import SettingsError

CONFIG_FILE = Path("chatfeedback.toml")
CONFIG_VARIABLE = "CHATFEEDBACK_CONFIG"
ENV_PREFIX = "CHATFEEDBACK_"

# Flags of `serve` that together describe one model, which replaces the configured ones.
_MODEL_FLAGS = ("model", "base_url", "provider", "api_key_env")
# Settings whose values may hold secrets; never quoted.
_SECRET_SETTINGS = {
    "api_key",
    "base_url",
    "client_secret",
    "database_url",
    "issuer",
    "metrics_token",
    "models",
    "oidc",
    "public_url",
}
_LINE_LISTS = {"trusted_proxies"}
"""Lists that an environment variable may give as a line instead of JSON."""
# Plain sentences instead of pydantic's messages in terms of types.
_MESSAGES = {
    "bool_parsing": "it should be true or false",
    "float_parsing": "it should be a number",
    "int_parsing": "it should be a whole number",
    "missing": "it is missing",
    "tuple_type": "it should be a list of tables",
}

Location = tuple[int | str, ...]


@dataclass(frozen=True)
class Sources:
    """Raw values of all sources, before validation. `path` is the settings file, None without one."""

    flags: Mapping[str, Any]
    environment: Mapping[str, Any]
    file: Mapping[str, Any]
    path: Path | None

    @classmethod
    def read(cls, settings: type[BaseSettings], config: Path | None, flags: Mapping[str, Any]) -> Sources:
        """Read the environment and the file. Raises SettingsError if one cannot be read."""
        path = _config_path(config)
        _check_variables(settings.model_fields)
        set_flags = {name: value for name, value in flags.items() if value is not None}
        return cls(
            flags=_with_single_model(set_flags),
            environment=_Environment(settings)(),
            file=_read_file(path) if path else {},
            path=path,
        )

    def merge(self) -> dict[str, Any]:
        """Merge the sources by precedence: flags, environment, file."""
        return _merge(_merge(self.file, self.environment), self.flags)

    def explain(self, error: ErrorDetails, tables: Mapping[str, Collection[str]]) -> str:
        """Explain pydantic's `error` in one sentence. `tables`: the settings of each table; "" is the top level."""
        location = error["loc"]
        if not location:
            return f"The settings do not go together: {error['msg'].removeprefix('Value error, ')}."
        setting = re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, location)))
        origin = self._origin(location)
        if error["type"] == "extra_forbidden":
            names = tables[str(location[0]) if len(location) > 1 else ""]
            close = difflib.get_close_matches(str(location[-1]), names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "docs/configuration.md lists what there is."
            return f"There is no setting {setting!r} ({origin}); {hint}"
        message = error["msg"].removeprefix("Value error, ").removesuffix(".")
        message = re.sub(r"^[A-Z](?=[a-z])", lambda match: match[0].lower(), message)
        allowed = _MESSAGES.get(error["type"]) or re.sub(r"^(input|string|value) should", "it should", message)
        value = error["input"]
        quotable = isinstance(value, (str, int, float)) and location[-1] not in _SECRET_SETTINGS
        quoted = f", not {value!r}" if quotable and len(repr(value)) <= 60 else ""
        return f"The setting {setting} ({origin}) cannot be used: {allowed}{quoted}."

    def _origin(self, location: Location) -> str:
        """Describe the source of a setting; for a missing one, the source of the table it is missing in."""
        for length in range(len(location), 0, -1):
            prefix = location[:length]
            if _contains(self.flags, prefix):
                return f"from the flag --{_flag(prefix)}"
            if _contains(self.environment, prefix):
                return f"from the environment variable {_variable(prefix)}"
            if _contains(self.file, prefix):
                return f"from the file {self.path}"
        return "by default"


class _Environment(EnvSettingsSource):
    """Environment source whose errors name the variable but not its value, which may be a secret."""

    def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:
        """Decode JSON; return a line as it is for settings that allow one. Raises SettingsError."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            if field_name in _LINE_LISTS:
                return value
            variable = ENV_PREFIX + field_name.upper()
            raise SettingsError(f"The environment variable {variable} should be JSON, and is not.") from None


def _check_variables(settings: Collection[str]) -> None:
    """Check that each variable with our prefix is a setting. Raises SettingsError."""
    for variable in sorted(os.environ):
        name = variable.upper().removeprefix(ENV_PREFIX).lower()
        if not variable.upper().startswith(ENV_PREFIX) or variable.upper() == CONFIG_VARIABLE:
            continue
        # Skip the variables that Kubernetes adds for a service named chatfeedback.
        if name.partition("__")[0] in settings or re.match(r"service_|port_\d", name):
            continue
        close = difflib.get_close_matches(name, settings, n=1)
        hint = (
            f"did you mean {ENV_PREFIX}{close[0].upper()}?" if close else "docs/configuration.md lists what there is."
        )
        raise SettingsError(f"There is no setting {name!r} (from the environment variable {variable}); {hint}")


def _config_path(path: Path | None) -> Path | None:
    if path is not None:
        return path
    if variable := os.environ.get(CONFIG_VARIABLE):
        return Path(variable)
    return CONFIG_FILE if CONFIG_FILE.exists() else None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))  # editors on Windows begin with a byte order mark
    except OSError as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"The settings file {path} is not UTF-8 text.") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"The settings file {path} is not valid TOML: {error}.") from error


def _with_single_model(flags: dict[str, Any]) -> dict[str, Any]:
    """Combine the flags that describe a model to the only entry of `models`."""
    single = {name: flags.pop(name) for name in _MODEL_FLAGS if name in flags}
    if single and "model" not in single:
        flag = next(iter(single)).replace("_", "-")
        raise SettingsError(f"The flag --{flag} needs --model, the id of the model at that endpoint.")
    return {**flags, "models": [single]} if single else flags


def _merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Merge recursively, table by table; values of `override` win."""
    merged = dict(base)
    for key, value in override.items():
        current = merged.get(key)
        if isinstance(current, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(current, value)
        else:
            merged[key] = value
    return merged


def _contains(source: Any, location: Location) -> bool:
    for key in location:
        try:
            source = source[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _flag(location: Location) -> str:
    """Return the flag of a location: ("models", 0, "base_url") comes from --base-url."""
    if location[0] == "models":
        return str(location[2] if len(location) > 2 else "model").replace("_", "-")
    return str(location[0]).replace("_", "-")


def _variable(location: Location) -> str:
    """Return the environment variable of a location: its own, or that of an enclosing table as JSON."""
    present = {name.upper() for name in os.environ}
    names = [ENV_PREFIX + "__".join(map(str, location[:n])).upper() for n in range(len(location), 0, -1)]
    return next((name for name in names if name in present), names[0])

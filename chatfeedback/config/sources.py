"""Where the values of the settings come from: flags, environment, file; and which of them was at fault.

The raw values are kept by source, so that a refused one is explained with the place where it was written.
Values themselves are quoted only where they cannot hold a secret.
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

# Flags of `serve` that together describe the one model which replaces the configured ones.
_MODEL_FLAGS = ("model", "base_url", "provider", "api_key_env")
# Values of these may hold secrets.
_NEVER_QUOTED = {
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
_LINES = {"trusted_proxies"}
"""Lists that may be written as a line in the environment."""
# What pydantic says in the words of a type checker, said in words for people.
_ALLOWED = {
    "bool_parsing": "it should be true or false",
    "float_parsing": "it should be a number",
    "int_parsing": "it should be a whole number",
    "missing": "it is missing",
    "tuple_type": "it should be a list of tables",
}

Location = tuple[int | str, ...]


@dataclass(frozen=True)
class Sources:
    """The raw values of every source, before they are checked. `path` is the file's, None without one."""

    flags: Mapping[str, Any]
    environment: Mapping[str, Any]
    file: Mapping[str, Any]
    path: Path | None

    @classmethod
    def read(cls, settings: type[BaseSettings], config: Path | None, flags: Mapping[str, Any]) -> Sources:
        """Reads the environment and the file. Raises SettingsError when one cannot be read."""
        path = _config_path(config)
        _refuse_unknown(settings.model_fields)
        given = {name: value for name, value in flags.items() if value is not None}
        return cls(
            flags=_with_single_model(given),
            environment=_Environment(settings)(),
            file=_read_file(path) if path else {},
            path=path,
        )

    def merged(self) -> dict[str, Any]:
        """Each value of the strongest source that has it."""
        return _merged(_merged(self.file, self.environment), self.flags)

    def explain(self, error: ErrorDetails, known: Mapping[str, Collection[str]]) -> str:
        """One sentence for pydantic's `error`. `known`: the settings of each table, "" is the top level."""
        location = error["loc"]
        if not location:
            return f"The settings do not go together: {error['msg'].removeprefix('Value error, ')}."
        setting = re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, location)))
        origin = self._origin(location)
        if error["type"] == "extra_forbidden":
            names = known[str(location[0]) if len(location) > 1 else ""]
            close = difflib.get_close_matches(str(location[-1]), names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "docs/configuration.md lists what there is."
            return f"There is no setting {setting!r} ({origin}); {hint}"
        message = error["msg"].removeprefix("Value error, ").removesuffix(".")
        message = re.sub(r"^[A-Z](?=[a-z])", lambda first: first[0].lower(), message)
        allowed = _ALLOWED.get(error["type"]) or re.sub(r"^(input|string|value) should", "it should", message)
        value = error["input"]
        quotable = isinstance(value, (str, int, float)) and location[-1] not in _NEVER_QUOTED
        quoted = f", not {value!r}" if quotable and len(repr(value)) <= 60 else ""
        return f"The setting {setting} ({origin}) cannot be used: {allowed}{quoted}."

    def _origin(self, location: Location) -> str:
        """The strongest source that holds the setting, or failing that the table that it is missing in."""
        for length in range(len(location), 0, -1):
            at = location[:length]
            if _holds(self.flags, at):
                return f"from the flag --{_flag(at)}"
            if _holds(self.environment, at):
                return f"from the environment variable {_variable(at)}"
            if _holds(self.file, at):
                return f"from the file {self.path}"
        return "by default"


class _Environment(EnvSettingsSource):
    """The environment, with an error that names the variable and not its value."""

    def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            if field_name in _LINES:
                return value
            variable = ENV_PREFIX + field_name.upper()
            raise SettingsError(f"The environment variable {variable} should be JSON, and is not.") from None


def _refuse_unknown(known: Collection[str]) -> None:
    """Raises SettingsError for a variable that is meant as a setting and is none."""
    for variable in sorted(os.environ):
        name = variable.upper().removeprefix(ENV_PREFIX).lower()
        if not variable.upper().startswith(ENV_PREFIX) or variable.upper() == CONFIG_VARIABLE:
            continue
        # What Kubernetes adds for a service that is called chatfeedback is no setting.
        if name.partition("__")[0] in known or re.match(r"service_|port_\d", name):
            continue
        close = difflib.get_close_matches(name, known, n=1)
        hint = (
            f"did you mean {ENV_PREFIX}{close[0].upper()}?" if close else "docs/configuration.md lists what there is."
        )
        raise SettingsError(f"There is no setting {name!r} (from the environment variable {variable}); {hint}")


def _config_path(given: Path | None) -> Path | None:
    if given is not None:
        return given
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    return CONFIG_FILE if CONFIG_FILE.exists() else None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"The settings file {path} is not UTF-8 text.") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"The settings file {path} is not valid TOML: {error}.") from error


def _with_single_model(flags: dict[str, Any]) -> dict[str, Any]:
    """`flags` with those that describe a model put together as the only entry of `models`."""
    single = {name: flags.pop(name) for name in _MODEL_FLAGS if name in flags}
    if single and "model" not in single:
        given = next(iter(single)).replace("_", "-")
        raise SettingsError(f"The flag --{given} needs --model, the id of the model at that endpoint.")
    return {**flags, "models": [single]} if single else flags


def _merged(weak: Mapping[str, Any], strong: Mapping[str, Any]) -> dict[str, Any]:
    """Both, table by table; where both have a value, that of `strong`."""
    merged = dict(weak)
    for key, value in strong.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _holds(source: Any, location: Location) -> bool:
    for key in location:
        try:
            source = source[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _flag(location: Location) -> str:
    """The flag behind `location`: ("models", 0, "base_url") was given as --base-url."""
    if location[0] == "models":
        return str(location[2] if len(location) > 2 else "model").replace("_", "-")
    return str(location[0]).replace("_", "-")


def _variable(location: Location) -> str:
    """The variable that holds `location`: its own, or one above it that holds a whole table as JSON."""
    present = {name.upper() for name in os.environ}
    names = [ENV_PREFIX + "__".join(map(str, location[:n])).upper() for n in range(len(location), 0, -1)]
    return next((name for name in names if name in present), names[0])

"""Types of values that several tables of settings share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, HttpUrl, StringConstraints, TypeAdapter


def _check_storable(text: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("it has characters that no database stores (NUL, or halves of a character)")
    return text


def _check_base_url(url: str) -> str:
    """Return `url` unchanged. Raises ValueError unless it is an http(s) address without a password."""
    parsed = TypeAdapter(HttpUrl).validate_python(url)
    if parsed.username or parsed.password:
        raise ValueError("a key does not belong into the address, give it as api_key_env")
    return url


Text = Annotated[str, AfterValidator(_check_storable)]
Name = Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
BaseUrl = Annotated[str, AfterValidator(_check_base_url)]


class Frozen(BaseModel):
    """Table of settings: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

"""Settings of authentication, sessions, consent, studies and rate limits."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, FiniteFloat, SecretStr, StringConstraints, model_validator

from chatfeedback.config.types import BaseUrl, Frozen, Name, Text
from chatfeedback.errors import SettingsError

Auth = Literal["none", "password", "oidc", "proxy"]
_PORTS = {"http": 80, "https": 443}
_MAX_SESSION_HOURS = 400 * 24
"""Browsers limit the lifetime of cookies to 400 days."""


def _parse_origin(url: str) -> str:
    """Normalize `url` to an origin, `https://chat.example.org`. Raises ValueError for anything else."""
    error = ValueError("it should be an address without a path, such as https://chat.example.org")
    try:
        parsed = urlsplit(url.strip().rstrip("/"))
        port = parsed.port
    except ValueError:
        raise error from None
    if "@" in parsed.netloc:
        raise ValueError("a name or a password does not belong into it")
    if parsed.scheme not in _PORTS or not parsed.hostname:
        raise error
    if parsed.path or parsed.query or parsed.fragment:
        raise ValueError(
            "chatfeedback cannot be served below a path; give it a host name or a port of its own, such as "
            "https://chat.example.org"
        )
    if not re.fullmatch(r"[a-z0-9._:-]+", parsed.hostname):
        raise ValueError("it should be written as browsers send it, in ASCII (a name of other letters as xn--…)")
    host = f"[{parsed.hostname}]" if ":" in parsed.hostname else parsed.hostname
    # As browsers serialize an origin: without the default port.
    return f"{parsed.scheme}://{host}" + (f":{port}" if port not in (None, _PORTS[parsed.scheme]) else "")


def _parse_network(address: str) -> str:
    try:
        return str(ipaddress.ip_network(address))
    except ValueError:
        raise ValueError("it should be an address or a network, such as 10.0.0.7 or 10.0.0.0/24") from None


Origin = Annotated[str, AfterValidator(_parse_origin)]
Network = Annotated[str, AfterValidator(_parse_network)]
Header = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]*$", max_length=100)]


class OidcSettings(Frozen):
    """OpenID Connect provider, for `auth = "oidc"`."""

    issuer: BaseUrl = Field(description="The address of the provider, exactly as it names itself.")
    client_id: Name = Field(description="The client id that the provider has assigned.")
    client_secret: SecretStr | None = Field(
        default=None, description="The secret for it; better not in a file, see `client_secret_env`."
    )
    client_secret_env: Name | None = Field(
        default=None, description="The name of the environment variable that holds the secret."
    )
    scopes: tuple[Name, ...] = Field(
        default=("openid", "profile"), description="What the provider is asked for; `openid` is part of it."
    )
    name_claim: Name = Field(
        default="preferred_username", description="What of the provider's answer is taken for the person's name."
    )
    label: Name = Field(default="Sign in", description="What the button says: `Sign in with Hugging Face`.")

    @model_validator(mode="after")
    def _check_one_secret(self) -> Self:
        if self.client_secret and self.client_secret_env:
            raise ValueError("give either client_secret or client_secret_env, not both")
        if "openid" not in self.scopes:
            raise ValueError("`openid` must be one of the scopes")
        return self

    def resolve_secret(self) -> SecretStr | None:
        """Return the client secret, None for a public client. Raises SettingsError if `client_secret_env` is unset."""
        if self.client_secret_env is None:
            return self.client_secret
        secret = os.environ.get(self.client_secret_env)
        if not secret:
            raise SettingsError(
                f"The secret for the sign-in should be in the environment variable {self.client_secret_env}, "
                "which is not set."
            )
        return SecretStr(secret)


class ConsentSettings(Frozen):
    """Consent text that all people must agree to before anything else."""

    version: Name = Field(description="Recorded with every conversation; another one is asked for again.")
    text: Text | None = Field(default=None, description="What is asked, plain text; an empty line parts paragraphs.")
    file: Path | None = Field(default=None, description="A file with the text, instead of `text`.")

    @model_validator(mode="after")
    def _check_one_text(self) -> Self:
        if (self.text is None) == (self.file is None):
            raise ValueError("give either text or file")
        return self

    def read(self) -> str:
        """Return the text. Raises SettingsError if the file cannot be read."""
        if self.file is None:
            return self.text or ""
        try:
            return self.file.expanduser().read_text("utf-8-sig")  # editors on Windows begin with a byte order mark
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"The consent text {self.file} cannot be read: {error}.") from error


class StudySettings(Frozen):
    """Study of new conversations, unless a signed link sets another one."""

    name: Name | None = Field(default=None, description="The study, as recorded with every conversation.")
    condition: Name | None = Field(default=None, description="The condition, or arm, of the study.")


class AccessSettings(Frozen):
    """Authentication settings, at the top level."""

    auth: Auth = Field(
        default="none",
        description=(
            "How people sign in: `none` (one local person, this machine only), `password`, `oidc`, or `proxy` (a proxy "
            "in front says who it is)."
        ),
    )
    annotator: Name = Field(default="local", description="The name of the one local person, with `none`.")
    public_url: Origin | None = Field(
        default=None, description="The address that people use, such as `https://chat.example.org`, behind a proxy."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(), description="Addresses or networks of the proxies whose `X-Forwarded-*` headers are believed."
    )
    proxy_header: Header = Field(
        default="X-Forwarded-User", description="The header in which a trusted proxy names the person, with `proxy`."
    )
    sign_up: bool = Field(
        default=False,
        description="Create an annotator for each new identity of the provider or proxy; else only known users.",
    )
    session_hours: FiniteFloat = Field(
        default=336, gt=0, le=_MAX_SESSION_HOURS, description="How long a sign-in lasts at most."
    )
    session_idle_hours: FiniteFloat = Field(
        default=72, gt=0, le=_MAX_SESSION_HOURS, description="How long it lasts without being used."
    )
    messages_per_minute: int = Field(
        default=60, ge=1, description="How many replies one person may ask for in a minute."
    )
    streams_at_once: int = Field(default=4, ge=1, description="How many replies may be written for one person at once.")
    max_request_bytes: int = Field(default=1_000_000, ge=10_000, description="The largest request that is read.")
    oidc: OidcSettings | None = Field(default=None, description="The provider, a table: see below.")
    consent: ConsentSettings | None = Field(default=None, description="What people must agree to, a table: see below.")

    @model_validator(mode="before")
    @classmethod
    def _split_proxies(cls, values: Any) -> Any:
        """Split a line of addresses: an environment variable may hold a line or a JSON list."""
        proxies = values.get("trusted_proxies") if isinstance(values, dict) else None
        if not isinstance(proxies, str):
            return values
        return {**values, "trusted_proxies": proxies.replace(",", " ").split()}

    @model_validator(mode="after")
    def _check_complete(self) -> Self:
        if self.auth == "oidc" and (self.oidc is None or self.public_url is None):
            raise ValueError('auth = "oidc" needs a table [oidc], and public_url for the way back from the provider')
        if self.auth == "proxy" and not self.trusted_proxies:
            raise ValueError('auth = "proxy" needs trusted_proxies: otherwise any client could sign in as any user')
        return self

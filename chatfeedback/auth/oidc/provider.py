"""OpenID Connect provider: settings, discovery metadata, keys, and HTTP requests to it.

Metadata and keys are fetched on first use and cached for an hour. Responses are limited to `_MAX_RESPONSE_BYTES` and to
a timeout. Requests go to https addresses only, except on this machine. Failures are ProviderUnavailable; an error
response of the token endpoint is an OAuthError.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc.jwk import KeySet
from pydantic import SecretStr

from chatfeedback.auth.oidc.id_token import signing_keys
from chatfeedback.errors import ProviderUnavailable, SettingsError

_MAX_RESPONSE_BYTES = 512 * 1024
_CACHE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """Settings of the provider, and of this site as its client.

    `issuer`: the provider's URL, exactly as it names itself. `client_secret`: None for a public client.
    `name_claim`: the claim with a person's display name. Raises SettingsError for an unusable value.
    """

    issuer: str
    client_id: str
    client_secret: SecretStr | None = None
    scopes: tuple[str, ...] = ("openid", "profile")
    name_claim: str = "preferred_username"

    def __post_init__(self) -> None:
        if not _is_safe(self.issuer, loopback=True) or urlsplit(self.issuer).query:
            raise SettingsError("The issuer for sign-in must be an address such as https://huggingface.co.")
        if not self.client_id:
            raise SettingsError(
                "The client id for sign-in is missing; the provider gives it when a site is registered."
            )
        if "openid" not in self.scopes:
            raise SettingsError('The scopes for sign-in must have "openid" among them.')

    @property
    def host(self) -> str:
        """Host of the provider, its name in messages."""
        return urlsplit(self.issuer).netloc

    @property
    def secret(self) -> str | None:
        """Plain client secret; None for a public client."""
        return self.client_secret.get_secret_value() or None if self.client_secret else None


@dataclass(frozen=True, slots=True)
class Metadata:
    """Discovery metadata of a provider, as far as it is used here."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    sends_issuer: bool
    posts_secret: bool


class Provider:
    """HTTP client of one provider; bound to the event loop that it is first used in.

    `timeout`: seconds for one response, to its last byte.
    """

    def __init__(self, settings: ProviderSettings, *, timeout: float) -> None:
        self.settings = settings
        self._timeout = timeout
        self._http = AsyncOAuth2Client(
            settings.client_id,
            settings.secret,
            scope=" ".join(settings.scopes),
            code_challenge_method="S256",
            timeout=timeout,
            trust_env=not _is_loopback(settings.issuer),  # a proxy of the environment cannot reach this machine
            headers={"accept-encoding": "identity", "user-agent": "chatfeedback"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # cookies must not leak between people
            event_hooks={"response": [self._limit_response]},
        )
        self._metadata_lock = asyncio.Lock()
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, KeySet] | None = None

    async def metadata(self) -> Metadata:
        """Return the discovery metadata of the provider, cached."""
        async with self._metadata_lock:
            if self._metadata is None or self._metadata[0] < time.monotonic():
                address = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
                published = await self._get(address, "its configuration")
                self._metadata = time.monotonic() + _CACHE_SECONDS, self._read_metadata(published)
            return self._metadata[1]

    async def keys(self, *, refresh: bool = False) -> tuple[KeySet, bool]:
        """Return the provider's public keys, and True if they were fetched just now. `refresh`: bypass the cache."""
        if not refresh and self._keys and self._keys[0] >= time.monotonic():
            return self._keys[1], False
        published = await self._get((await self.metadata()).jwks_uri, "its keys")
        try:
            keys = signing_keys(published)
        except ValueError as error:
            raise self.invalid_response("its keys are not a set of keys") from error
        self._keys = time.monotonic() + _CACHE_SECONDS, keys
        return keys, True

    async def authorization_url(self, **parameters: str) -> str:
        """Return the authorization URL for the browser; a `code_verifier` parameter becomes its S256 challenge."""
        metadata = await self.metadata()
        try:
            address, _ = self._http.create_authorization_url(metadata.authorization_endpoint, **parameters)
        except ValueError as error:  # the endpoint has an invalid query
            raise self.invalid_response("its authorization_endpoint is not an address") from error
        return str(address)

    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> dict[str, Any]:
        """Exchange a code for tokens. Raises OAuthError, in the provider's words, if the provider refuses."""
        metadata = await self.metadata()
        with self._translate_errors("the tokens"):
            try:
                async with asyncio.timeout(self._timeout):
                    tokens = await self._http.fetch_token(
                        metadata.token_endpoint,
                        grant_type="authorization_code",
                        code=code,
                        code_verifier=verifier,
                        redirect_uri=redirect_uri,
                        auth=self._client_auth(metadata),
                    )
            except (TypeError, OverflowError) as error:  # Authlib calculates with an unchecked `expires_in`
                raise self.invalid_response("the tokens cannot be read") from error
        self._http.token = None  # the client is shared by all sign-ins
        return dict(tokens)

    async def userinfo(self, address: str, access_token: str) -> dict[str, Any]:
        """Fetch the claims of the userinfo endpoint with a person's access token."""
        return await self._get(address, "what it knows of a person", {"authorization": f"Bearer {access_token}"})

    async def close(self) -> None:
        """Close the connections; call it once, at the end."""
        await self._http.aclose()

    def unreachable(self) -> ProviderUnavailable:
        """Return the error for a provider that cannot be reached."""
        return ProviderUnavailable(f"The sign-in service at {self.settings.host} cannot be reached; try again later.")

    def invalid_response(self, problem: str) -> ProviderUnavailable:
        """Return the error for an invalid response. `problem` is shown to people and quotes nothing received."""
        return ProviderUnavailable(
            f"The sign-in service at {self.settings.host} does not answer as it should ({problem}); try again later."
        )

    def _client_auth(self, metadata: Metadata) -> Any:
        settings = self.settings
        if settings.secret is None:
            return self._http.client_auth("none")
        if metadata.posts_secret:
            return self._http.client_auth("client_secret_post")
        # RFC 6749, 2.3.1: both are form-encoded before they are joined, which Authlib omits.
        return httpx2.BasicAuth(quote(settings.client_id, safe=""), quote(settings.secret, safe=""))

    async def _get(self, address: str, description: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        with self._translate_errors(description):
            async with asyncio.timeout(self._timeout):
                response = await self._http.request(
                    "GET", address, headers={"accept": "application/json", **(headers or {})}, withhold_token=True
                )
            if response.status_code != 200:
                raise self.invalid_response(f"HTTP status {response.status_code} for {description}")
            document = json.loads(response.content)
        if not isinstance(document, dict):
            raise self.invalid_response(f"{description} cannot be read")
        return document

    @contextmanager
    def _translate_errors(self, description: str) -> Iterator[None]:
        """Translate network errors and unreadable responses to ProviderUnavailable."""
        try:
            yield
        except httpx2.HTTPStatusError as error:
            raise self.invalid_response(f"HTTP status {error.response.status_code} for {description}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:  # a timeout is an OSError too
            raise self.unreachable() from error
        except (ValueError, RecursionError) as error:
            raise self.invalid_response(f"{description} cannot be read") from error

    async def _limit_response(self, response: httpx2.Response) -> None:
        """Limit the response body before it is read. A compressed one is refused: it may expand beyond the limit."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise self.invalid_response("its answer is packed")
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - for the type checker
        response.stream = _LimitedStream(response.stream, self.invalid_response("its answer is too long"))

    def _read_metadata(self, published: dict[str, Any]) -> Metadata:
        # The issuer decides whose tokens are trusted: metadata of another issuer must not be taken for this one's.
        if published.get("issuer") != self.settings.issuer:
            raise self.invalid_response("it calls itself by another issuer than the one that is set here")
        endpoints = {name: published.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
        endpoints["userinfo_endpoint"] = published.get("userinfo_endpoint")
        for name, address in endpoints.items():
            optional = name == "userinfo_endpoint" and address is None
            if not optional and not _is_safe(address, loopback=_is_loopback(self.settings.issuer)):
                raise self.invalid_response(f"its {name} is not an https address")
        methods = published.get("token_endpoint_auth_methods_supported")
        supported = methods if isinstance(methods, list) else ["client_secret_basic"]
        return Metadata(
            **endpoints,  # type: ignore[arg-type] # checked above
            sends_issuer=published.get("authorization_response_iss_parameter_supported") is True,
            posts_secret="client_secret_post" in supported and "client_secret_basic" not in supported,
        )


class _LimitedStream(httpx2.AsyncByteStream):
    """Response body that raises `error` beyond `_MAX_RESPONSE_BYTES`."""

    def __init__(self, body: httpx2.AsyncByteStream, error: ProviderUnavailable) -> None:
        self._body = body
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._body:
            size += len(chunk)
            if size > _MAX_RESPONSE_BYTES:
                raise self._error
            yield chunk

    async def aclose(self) -> None:
        """Close the body."""
        await self._body.aclose()


def _is_safe(address: object, *, loopback: bool) -> bool:
    """Return True if secrets may be sent to this URL: https, or on this machine if `loopback` allows it."""
    try:
        url = urlsplit(address if isinstance(address, str) else "")
        is_plain = bool(url.hostname) and url.username is None and not url.fragment and (url.port or 1) > 0
    except ValueError:
        return False
    return is_plain and (url.scheme == "https" or (url.scheme == "http" and loopback and _is_loopback(url.geturl())))


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")

"""One OpenID Connect provider: its settings, what it publishes about itself, and the exchange of messages with it.

Its configuration and its keys are asked for when they are needed first, and kept for an hour. Whatever it answers is
read up to `_MAX_RESPONSE_BYTES` bytes and within a set time. Nothing leaves for an address that is not https, except on
this machine. What goes wrong is ProviderUnavailable; a refusal by the provider is its OAuthError.
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
_KEPT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """Who vouches for people, and as whom this site asks.

    `issuer`: the provider's address, exactly as it calls itself. `client_secret`: None for a public client.
    `name_claim`: what a person is called by. Raises SettingsError when one cannot be used.
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
        """The provider as sentences call it."""
        return urlsplit(self.issuer).netloc

    @property
    def secret(self) -> str | None:
        """The client secret itself; None for a public client."""
        return self.client_secret.get_secret_value() or None if self.client_secret else None


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a provider publishes about itself, as far as it is used here."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    sends_issuer: bool
    posts_secret: bool


class Provider:
    """Asks one provider. Belongs to the event loop that it is first used in.

    `timeout`: seconds for one answer, to its last byte.
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
            trust_env=not _is_loopback(settings.issuer),  # a proxy of the environment does not lead to this machine
            headers={"accept-encoding": "identity", "user-agent": "chatfeedback"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # one person's must not go with another's code
            event_hooks={"response": [self._bound]},
        )
        self._asking = asyncio.Lock()
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, KeySet] | None = None

    async def metadata(self) -> Metadata:
        """What the provider publishes about itself."""
        async with self._asking:
            if self._metadata is None or self._metadata[0] < time.monotonic():
                address = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
                published = await self._get(address, "its configuration")
                self._metadata = time.monotonic() + _KEPT_SECONDS, self._read_metadata(published)
            return self._metadata[1]

    async def keys(self, *, anew: bool = False) -> tuple[KeySet, bool]:
        """The provider's public keys, and whether they were asked for just now. `anew`: do not take kept ones."""
        if not anew and self._keys and self._keys[0] >= time.monotonic():
            return self._keys[1], False
        published = await self._get((await self.metadata()).jwks_uri, "its keys")
        try:
            keys = signing_keys(published)
        except ValueError as error:
            raise self.invalid_response("its keys are not a set of keys") from error
        self._keys = time.monotonic() + _KEPT_SECONDS, keys
        return keys, True

    async def sign_in_address(self, **parameters: str) -> str:
        """Where a browser goes to sign in, with a `code_verifier` among the parameters as its S256 challenge."""
        metadata = await self.metadata()
        try:
            address, _ = self._http.create_authorization_url(metadata.authorization_endpoint, **parameters)
        except ValueError as error:  # a query in the endpoint that is none
            raise self.invalid_response("its authorization_endpoint is not an address") from error
        return str(address)

    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> dict[str, Any]:
        """The tokens for a code. Raises OAuthError, in the provider's words, when it gives none."""
        metadata = await self.metadata()
        with self._translated("the tokens"):
            try:
                async with asyncio.timeout(self._timeout):
                    tokens = await self._http.fetch_token(
                        metadata.token_endpoint,
                        grant_type="authorization_code",
                        code=code,
                        code_verifier=verifier,
                        redirect_uri=redirect_uri,
                        auth=self._authentication(metadata),
                    )
            except (TypeError, OverflowError) as error:  # Authlib reckons with an `expires_in` that may be anything
                raise self.invalid_response("the tokens cannot be read") from error
        self._http.token = None  # the client is shared by everybody who signs in
        return dict(tokens)

    async def userinfo(self, address: str, access_token: str) -> dict[str, Any]:
        """What the provider's userinfo endpoint says about the person with this access token."""
        return await self._get(address, "what it knows of a person", {"authorization": f"Bearer {access_token}"})

    async def close(self) -> None:
        """Closes what is still open; call it once, at the end."""
        await self._http.aclose()

    def unreachable(self) -> ProviderUnavailable:
        return ProviderUnavailable(f"The sign-in service at {self.settings.host} cannot be reached; try again later.")

    def invalid_response(self, what: str) -> ProviderUnavailable:
        """`what` ends the sentence that a person reads, and holds nothing that was sent."""
        return ProviderUnavailable(
            f"The sign-in service at {self.settings.host} does not answer as it should ({what}); try again later."
        )

    def _authentication(self, metadata: Metadata) -> Any:
        settings = self.settings
        if settings.secret is None:
            return self._http.client_auth("none")
        if metadata.posts_secret:
            return self._http.client_auth("client_secret_post")
        # RFC 6749, 2.3.1: both are encoded as in a form before they are joined, which Authlib leaves out.
        return httpx2.BasicAuth(quote(settings.client_id, safe=""), quote(settings.secret, safe=""))

    async def _get(self, address: str, what: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        with self._translated(what):
            async with asyncio.timeout(self._timeout):
                response = await self._http.request(
                    "GET", address, headers={"accept": "application/json", **(headers or {})}, withhold_token=True
                )
            if response.status_code != 200:
                raise self.invalid_response(f"HTTP status {response.status_code} for {what}")
            document = json.loads(response.content)
        if not isinstance(document, dict):
            raise self.invalid_response(f"{what} cannot be read")
        return document

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Faults of the network and answers that cannot be read become ProviderUnavailable."""
        try:
            yield
        except httpx2.HTTPStatusError as error:
            raise self.invalid_response(f"HTTP status {error.response.status_code} for {what}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:  # a timeout is an OSError too
            raise self.unreachable() from error
        except (ValueError, RecursionError) as error:
            raise self.invalid_response(f"{what} cannot be read") from error

    async def _bound(self, response: httpx2.Response) -> None:
        """Called before the body is read. One that is packed could be far larger than it looks."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise self.invalid_response("its answer is packed")
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - for the type checker
        response.stream = _Bounded(response.stream, self.invalid_response("its answer is too long"))

    def _read_metadata(self, published: dict[str, Any]) -> Metadata:
        # The issuer says whose tokens are believed: a configuration of somebody else must not be taken for this one's.
        if published.get("issuer") != self.settings.issuer:
            raise self.invalid_response("it calls itself by another issuer than the one that is set here")
        endpoints = {name: published.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
        endpoints["userinfo_endpoint"] = published.get("userinfo_endpoint")
        for name, address in endpoints.items():
            optional = name == "userinfo_endpoint" and address is None
            if not optional and not _is_safe(address, loopback=_is_loopback(self.settings.issuer)):
                raise self.invalid_response(f"its {name} is not an https address")
        methods = published.get("token_endpoint_auth_methods_supported")
        offered = methods if isinstance(methods, list) else ["client_secret_basic"]
        return Metadata(
            **endpoints,  # type: ignore[arg-type] # checked above
            sends_issuer=published.get("authorization_response_iss_parameter_supported") is True,
            posts_secret="client_secret_post" in offered and "client_secret_basic" not in offered,
        )


class _Bounded(httpx2.AsyncByteStream):
    """A body that raises `error` in place of what lies beyond `_MAX_RESPONSE_BYTES`."""

    def __init__(self, body: httpx2.AsyncByteStream, error: ProviderUnavailable) -> None:
        self._body = body
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._body:
            read += len(chunk)
            if read > _MAX_RESPONSE_BYTES:
                raise self._error
            yield chunk

    async def aclose(self) -> None:
        await self._body.aclose()


def _is_safe(address: object, *, loopback: bool) -> bool:
    """Whether secrets may be sent there: https, or on this machine where `loopback` allows it."""
    try:
        url = urlsplit(address if isinstance(address, str) else "")
        plain = bool(url.hostname) and url.username is None and not url.fragment and (url.port or 1) > 0
    except ValueError:
        return False
    return plain and (url.scheme == "https" or (url.scheme == "http" and loopback and _is_loopback(url.geturl())))


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")

"""Authenticators: identify the user of a request by session cookie, proxy header, or as the single local user.

The client address, the scheme and the request id are read from `X-Forwarded-*` and `X-Request-ID` only if the
connection comes from a proxy that the settings list. From all other connections these headers are removed first.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Protocol
from urllib.parse import urlsplit

from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from chatfeedback.auth.service import AuthService
from chatfeedback.domain.roles import Person
from chatfeedback.errors import NotAllowed

COOKIE = "chatfeedback_session"
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:@/?#\\\s]+))(?::[0-9]*)?")
_FORWARDED = (b"forwarded", b"x-forwarded-", b"x-real-ip", b"x-request-id")


class Authenticator(Protocol):
    """Function that identifies the user of a request."""

    async def __call__(self, scope: Scope) -> Person | None:
        """Return the user of a request; None if it is not authenticated.

        Raises NotAllowed for a known user without access, and StoreError.
        """


def header(scope: Scope, name: str) -> str | None:
    """Return the value of a header; None if it is missing or ambiguous, that is, sent more than once."""
    values = headers(scope, name)
    return values[0] if len(values) == 1 else None


def headers(scope: Scope, name: str) -> list[str]:
    """Return all values of a header."""
    key = name.lower().encode()
    return [value.decode("latin-1") for other_key, value in scope["headers"] if other_key == key]


def cookie(scope: Scope, name: str) -> str | None:
    """Return the value of a cookie; None if it is missing, or has several values: one may be an attacker's."""
    header_value = ";".join(value.decode("latin-1") for key, value in scope["headers"] if key == b"cookie")
    pairs = (cookie_parser(pair) for pair in header_value.split(";"))
    values = {pair[name] for pair in pairs if name in pair}
    return values.pop() if len(values) == 1 else None


def host_name(host: str) -> str | None:
    """Return the name in a `Host` header, without port and in lower case; None if the header is malformed."""
    match = _HOST.fullmatch(host.lower())
    return match[1] or match[2] if match else None


def is_secure(scope: Scope) -> bool:
    """Return True if the browser uses TLS, to this server or to a trusted proxy in front of it."""
    return bool(scope.get("scheme") == "https")


def cookie_name(name: str, scope: Scope) -> str:
    """Return the name of a cookie, over TLS with the prefix `__Host-`.

    Browsers accept a cookie with this prefix from this very host only, and send it back over TLS only.
    """
    return f"__Host-{name}" if is_secure(scope) else name


class SingleUserAuth:
    """Authenticator without sign-in: every request comes from the same local user."""

    def __init__(self, person: Callable[[], Person]) -> None:
        self._person = person

    async def __call__(self, scope: Scope) -> Person:
        """Return the local user."""
        return self._person()


class SessionAuth:
    """Authenticator that reads the session cookie."""

    def __init__(self, auth_service: AuthService) -> None:
        self._auth_service = auth_service

    async def __call__(self, scope: Scope) -> Person | None:
        """Return the user of the session that the cookie names."""
        token = cookie(scope, cookie_name(COOKIE, scope))
        unattended = bool(scope.get("state", {}).get("unattended"))
        return await asyncio.to_thread(self._auth_service.person, token, unattended=unattended) if token else None


class ProxyHeaderAuth:
    """Authenticator that reads the user from a header of the proxy."""

    def __init__(self, auth_service: AuthService, name: str) -> None:
        self._auth_service = auth_service
        self._header = name

    async def __call__(self, scope: Scope) -> Person | None:
        """Return the user whom the proxy names. Raises NotAllowed for a connection that bypasses the proxy."""
        if not scope.get("state", {}).get("from_proxy"):
            raise NotAllowed("This server is reached through its proxy only.")
        subject = _decode_utf8(header(scope, self._header) or "").strip()
        return await asyncio.to_thread(self._auth_service.person_from_proxy, subject) if subject else None


def _decode_utf8(value: str) -> str:
    """Decode the value of a header as UTF-8, the encoding of names from proxies; else leave it as Latin-1."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value


class TrustedProxyMiddleware:
    """ASGI middleware: trust `X-Forwarded-For`, `-Proto` and `X-Request-ID` of listed proxies, else remove them.

    A request for the host of an https `origin` (the public URL) counts as TLS. This holds even if the proxy sends no
    scheme or is not listed: session cookies must never be sent without TLS.
    """

    def __init__(self, app: ASGIApp, networks: Iterable[str], origin: str | None) -> None:
        trusted_hosts, public_url = list(networks), urlsplit(origin or "")
        self._app = app
        self._networks = [ipaddress.ip_network(network) for network in trusted_hosts]
        self._proxy_headers = ProxyHeadersMiddleware(
            self._with_public_scheme,  # type: ignore[arg-type]
            trusted_hosts=trusted_hosts,
        )
        self._tls_host = public_url.hostname if public_url.scheme == "https" else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Apply or remove the proxy headers, then call the application."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        trusted = self._is_trusted(scope.get("client"))
        scope.setdefault("state", {})["from_proxy"] = trusted
        if trusted:
            return await self._proxy_headers(scope, receive, send)  # type: ignore[arg-type]
        scope["headers"] = [pair for pair in scope["headers"] if not pair[0].startswith(_FORWARDED)]
        return await self._with_public_scheme(scope, receive, send)

    async def _with_public_scheme(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._tls_host is not None and host_name(header(scope, "host") or "") == self._tls_host:
            scope["scheme"] = "https"
        await self._app(scope, receive, send)

    def _is_trusted(self, client: tuple[str, int] | None) -> bool:
        """Return True if the connection itself comes from a listed proxy."""
        try:
            address = ipaddress.ip_address(client[0]) if client else None
        except ValueError:
            return False
        return address is not None and any(address in network for network in self._networks)

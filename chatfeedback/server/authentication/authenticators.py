"""From a request to the person who sent it: a cookie, a proxy's word, or the one local person.

The address of a client, the scheme and the id of the request are taken from `X-Forwarded-*` and `X-Request-ID` only
when the connection itself comes from a proxy that the settings list; from anybody else these headers are taken off
before anything reads them.
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
    """Finds out who sent a request. Raises NotAllowed for whoever is known and may not come in, StoreError."""

    async def __call__(self, scope: Scope) -> Person | None: ...


def header(scope: Scope, name: str) -> str | None:
    """The one value of a header; None without it, and when there are several, of which nobody knows which is meant."""
    found = headers(scope, name)
    return found[0] if len(found) == 1 else None


def headers(scope: Scope, name: str) -> list[str]:
    """Every value of a header."""
    wanted = name.lower().encode()
    return [value.decode("latin-1") for key, value in scope["headers"] if key == wanted]


def cookie(scope: Scope, name: str) -> str | None:
    """The value of a cookie; None without it, and when there are several values, of which one is somebody else's."""
    sent = ";".join(value.decode("latin-1") for key, value in scope["headers"] if key == b"cookie")
    parts = (cookie_parser(part) for part in sent.split(";"))
    values = {part[name] for part in parts if name in part}
    return values.pop() if len(values) == 1 else None


def name_in(host: str) -> str | None:
    """The name in a `Host` header, without the port and in small letters; None when it is not one name."""
    found = _HOST.fullmatch(host.lower())
    return found[1] or found[2] if found else None


def is_secure(scope: Scope) -> bool:
    """Whether the browser speaks TLS, with us or with a trusted proxy in front."""
    return bool(scope.get("scheme") == "https")


def cookie_name(name: str, scope: Scope) -> str:
    """With TLS, a browser takes a cookie of this prefix from this very host only, and sends it back with TLS only."""
    return f"__Host-{name}" if is_secure(scope) else name


class SingleUserAuth:
    """There is no sign-in: it is always the same person."""

    def __init__(self, person: Callable[[], Person]) -> None:
        self._person = person

    async def __call__(self, scope: Scope) -> Person:
        return self._person()


class SessionAuth:
    """Whose session the cookie names."""

    def __init__(self, auth_service: AuthService) -> None:
        self._auth_service = auth_service

    async def __call__(self, scope: Scope) -> Person | None:
        token = cookie(scope, cookie_name(COOKIE, scope))
        unattended = bool(scope.get("state", {}).get("unattended"))
        return await asyncio.to_thread(self._auth_service.person, token, unattended=unattended) if token else None


class ProxyHeaderAuth:
    """Whom the proxy names in a header."""

    def __init__(self, auth_service: AuthService, name: str) -> None:
        self._auth_service = auth_service
        self._header = name

    async def __call__(self, scope: Scope) -> Person | None:
        if not scope.get("state", {}).get("from_proxy"):
            raise NotAllowed("This server is reached through its proxy only.")
        subject = _utf8(header(scope, self._header) or "").strip()
        return await asyncio.to_thread(self._auth_service.person_from_proxy, subject) if subject else None


def _utf8(value: str) -> str:
    """The value of a header, as UTF-8 where it is that: so proxies write names."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value


class TrustedProxyMiddleware:
    """Believes `X-Forwarded-For`, `-Proto` and `X-Request-ID` of trusted proxies; takes them off all other requests.

    Who asks for the host of an https `origin`, the address that people use, speaks TLS with whatever is in front of
    us, also where that says nothing or is not listed: cookies must not go without it.
    """

    def __init__(self, app: ASGIApp, networks: Iterable[str], origin: str | None) -> None:
        listed, public = list(networks), urlsplit(origin or "")
        self._app = app
        self._networks = [ipaddress.ip_network(network) for network in listed]
        self._believing = ProxyHeadersMiddleware(self._as_asked_for, trusted_hosts=listed)  # type: ignore[arg-type]
        self._tls_host = public.hostname if public.scheme == "https" else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        trusted = self._is_trusted(scope.get("client"))
        scope.setdefault("state", {})["from_proxy"] = trusted
        if trusted:
            return await self._believing(scope, receive, send)  # type: ignore[arg-type]
        scope["headers"] = [pair for pair in scope["headers"] if not pair[0].startswith(_FORWARDED)]
        return await self._as_asked_for(scope, receive, send)

    async def _as_asked_for(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._tls_host is not None and name_in(header(scope, "host") or "") == self._tls_host:
            scope["scheme"] = "https"
        await self._app(scope, receive, send)

    def _is_trusted(self, client: tuple[str, int] | None) -> bool:
        """Whether the connection itself comes from a listed proxy."""
        try:
            address = ipaddress.ip_address(client[0]) if client else None
        except ValueError:
            return False
        return address is not None and any(address in network for network in self._networks)

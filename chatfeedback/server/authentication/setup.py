"""Authentication setup: build authenticator, routes and middleware from the settings.

For every authentication mode, the rest of the application sees the same: the `Person` that the middleware has set.
"""

from __future__ import annotations

import asyncio
import ipaddress
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import APIRouter, FastAPI
from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from chatfeedback.auth.current_user import person_in
from chatfeedback.auth.hashing_pool import HashingPool
from chatfeedback.auth.service import AuthService
from chatfeedback.config.settings import Settings
from chatfeedback.domain.roles import Person
from chatfeedback.errors import NotSignedIn
from chatfeedback.server import templates
from chatfeedback.server.admin import AdminPages
from chatfeedback.server.authentication.authenticators import (
    Authenticator,
    ProxyHeaderAuth,
    SessionAuth,
    SingleUserAuth,
    TrustedProxyMiddleware,
)
from chatfeedback.server.authentication.csrf import Forms
from chatfeedback.server.authentication.routes import Consent, password_routes, session_routes
from chatfeedback.server.authorization.middleware import AccessConfig, AccessMiddleware
from chatfeedback.server.error_responses import internal_error, refusal
from chatfeedback.store.accounts import secrets
from chatfeedback.store.database.availability import StoreFailed
from chatfeedback.ui.account import SignIn
from chatfeedback.ui.app import Page
from chatfeedback.ui.assets import ASSETS

if TYPE_CHECKING:  # imported only if the settings configure a provider
    from chatfeedback.auth.oidc.client import OidcClient

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
PAGE_FILES = ("pages.css", "model.svg")


class AuthSetup:
    """Authentication and authorization of one application, as the settings configure them."""

    def __init__(self, settings: Settings, engine: Engine, store_failed: StoreFailed) -> None:
        consent = settings.consent
        self._settings = settings
        self._engine = engine
        self._store_failed = store_failed
        self._consent = Consent(consent.version, consent.read()) if consent else None
        self._forms = Forms(secrets.get_or_create(engine, "forms"))
        self.auth_service = AuthService(
            engine,
            lifetime=timedelta(hours=settings.session_hours),
            idle=timedelta(hours=settings.session_idle_hours),
            consent_version=consent.version if consent else None,
            sign_up=settings.sign_up,
            store_failed=store_failed,
        )
        self._hashing = HashingPool()
        self.sign_in = SignIn(
            token_for=self._token_for,
            multi_user=settings.auth != "none",
            has_sessions=settings.auth in ("password", "oidc"),
            has_passwords=settings.auth == "password",
        )
        self._provider = _provider(settings)
        templates.configure(settings.title)

    async def close(self) -> None:
        """Close the connections to the identity provider, and end the threads that hash passwords."""
        await asyncio.to_thread(self._hashing.close)
        if self._provider is not None:
            await self._provider.close()

    @staticmethod
    def person(request: Request) -> Person:
        """Return the authenticated user of a request. Raises NotSignedIn."""
        person = person_in(request.scope)
        if person is None:
            raise NotSignedIn
        return person

    @staticmethod
    def gradio_username(request: Request) -> str | None:
        """Return the user name for Gradio: the annotator id, or None without an authenticated user."""
        person = person_in(request.scope)
        return person.annotator_id if person else None

    def routes(self) -> APIRouter:
        """Return the routes of authentication, of the admin pages and of their files."""
        settings = self._settings
        router = APIRouter(include_in_schema=False)
        seconds = settings.session_hours * 3600
        if settings.auth == "password":
            router.include_router(
                password_routes(self.auth_service, self._hashing, self._forms, session_seconds=seconds)
            )
        if self._provider is not None and settings.oidc is not None and settings.public_url is not None:
            from chatfeedback.server.authentication.oidc_routes import oidc_routes

            key = secrets.get_or_create(self._engine, "oidc")
            router.include_router(
                oidc_routes(
                    self.auth_service,
                    self._provider,
                    key=key,
                    label=settings.oidc.label,
                    public_url=settings.public_url,
                    session_seconds=seconds,
                )
            )
        signs_in = self.sign_in.has_sessions
        router.include_router(session_routes(self.auth_service, self._forms, self._consent, signs_in=signs_in))

        if not signs_in:

            @router.api_route("/login", methods=["GET", "HEAD", "POST"])
            def redirect_to_page(request: Request) -> Response:
                return RedirectResponse("/", status_code=303)  # hides Gradio's own route of this name

        router.include_router(
            AdminPages(
                self._engine,
                self._hashing,
                self._forms,
                local_passwords=settings.auth == "password",
                issuer=settings.oidc.issuer if settings.auth == "oidc" and settings.oidc else None,
            ).routes()
        )

        @router.api_route("/pages/{name}", methods=["GET", "HEAD"])
        def page_file(request: Request, name: str) -> Response:
            if name not in PAGE_FILES:
                return refusal(request.scope, 404, "There is no such file.")
            return FileResponse(ASSETS / name, headers={"cache-control": "max-age=3600"})

        return router

    def wrap(self, app: FastAPI, page: Page) -> None:
        """Add the middleware of authentication and authorization to the application."""
        settings = self._settings
        config = AccessConfig(
            actions=page.actions,
            files=page.files,
            forget_page=page.forget,
            scripts=page.scripts,
            hosts=allowed_hosts(settings),
            # Without a token, a site that uses DNS rebinding could read the metrics.
            host_exempt={"/healthz", "/readyz"} | ({"/metrics"} if settings.metrics_token else set()),
            origin=settings.public_url,
            consent_version=self._consent.version if self._consent else None,
            max_request_bytes=settings.max_request_bytes,
        )
        app.add_middleware(
            AccessMiddleware,
            config=config,
            authenticate=self._authenticator(),
            auth_service=self.auth_service,
            store_failed=self._store_failed,
        )
        app.add_middleware(CorrelationIdMiddleware)
        app.add_exception_handler(Exception, internal_error)
        app.add_middleware(TrustedProxyMiddleware, networks=settings.trusted_proxies, origin=settings.public_url)

    def _authenticator(self) -> Authenticator:
        settings = self._settings
        if settings.auth == "none":
            return SingleUserAuth(self.auth_service.local(settings.annotator))
        if settings.auth == "proxy":
            return ProxyHeaderAuth(self.auth_service, settings.proxy_header)
        return SessionAuth(self.auth_service)

    def _token_for(self, request: Request, purpose: str) -> str:
        return self._forms.token(request, purpose)


def allowed_hosts(settings: Settings) -> frozenset[str] | None:
    """Return the host names that the server accepts in `Host`; None for any."""
    public_names = {urlsplit(settings.public_url).hostname or ""} if settings.public_url else set()
    if settings.auth == "none":
        return LOOPBACK | public_names
    return (LOOPBACK | public_names) if public_names else None


def _provider(settings: Settings) -> OidcClient | None:
    """Return the client of the identity provider; None without one. Raises SettingsError."""
    if settings.auth != "oidc" or settings.oidc is None:
        return None
    from chatfeedback.auth.oidc.client import OidcClient, ProviderSettings

    oidc = settings.oidc
    return OidcClient(
        ProviderSettings(
            issuer=oidc.issuer,
            client_id=oidc.client_id,
            client_secret=oidc.resolve_secret(),
            scopes=oidc.scopes,
            name_claim=oidc.name_claim,
        )
    )


def is_loopback(host: str) -> bool:
    """Return True if only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

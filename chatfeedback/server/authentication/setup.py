"""The door as the settings want it: how people sign in, the routes for that, and the gate around everything.

Whatever the way of signing in, the rest of the application sees one thing: the `Person` that the gate found.
"""

from __future__ import annotations

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
from chatfeedback.auth.service import AuthService
from chatfeedback.config.settings import Settings
from chatfeedback.domain.roles import Person
from chatfeedback.errors import NotSignedIn
from chatfeedback.server import templates
from chatfeedback.server.admin import Administration
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
from chatfeedback.server.error_responses import broken, refusal
from chatfeedback.store.accounts import secrets
from chatfeedback.store.database.availability import StoreFailed
from chatfeedback.ui.account import SignIn
from chatfeedback.ui.app import Page
from chatfeedback.ui.assets import ASSETS

if TYPE_CHECKING:  # loaded where somebody signs in with it
    from chatfeedback.auth.oidc.client import OidcClient

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
PAGE_FILES = ("pages.css", "model.svg")


class AuthSetup:
    """Lets people in, in the way that the settings name."""

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
        self.sign_in = SignIn(
            token_for=self._token_for,
            multi_user=settings.auth != "none",
            has_sessions=settings.auth in ("password", "oidc"),
            has_passwords=settings.auth == "password",
        )
        self._provider = _provider(settings)
        templates.configure(settings.title)

    async def close(self) -> None:
        """Lets go of the connections to the provider."""
        if self._provider is not None:
            await self._provider.close()

    @staticmethod
    def person(request: Request) -> Person:
        """Whom the gate let in with this request. Raises NotSignedIn."""
        person = person_in(request.scope)
        if person is None:
            raise NotSignedIn
        return person

    @staticmethod
    def gradio_username(request: Request) -> str | None:
        """What Gradio takes for the user's name: an id, and nothing for whom the gate has not let in."""
        person = person_in(request.scope)
        return person.annotator_id if person else None

    def routes(self) -> APIRouter:
        """Everything that is there for signing in."""
        settings = self._settings
        router = APIRouter(include_in_schema=False)
        seconds = settings.session_hours * 3600
        if settings.auth == "password":
            router.include_router(password_routes(self.auth_service, self._forms, session_seconds=seconds))
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
            def nothing_to_do(request: Request) -> Response:
                return RedirectResponse("/", status_code=303)  # and never Gradio's own route of this name

        router.include_router(
            Administration(
                self._engine,
                self._forms,
                passwords_of_our_own=settings.auth == "password",
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
            scripts=page.scripts,
            hosts=allowed_hosts(settings),
            # Without a token, a site elsewhere that has itself resolved to us could read the metrics.
            at_any_name={"/healthz", "/readyz"} | ({"/metrics"} if settings.metrics_token else set()),
            origin=settings.public_url,
            consent_version=self._consent.version if self._consent else None,
            max_request_bytes=settings.max_request_bytes,
        )
        app.add_middleware(
            AccessMiddleware,
            config=config,
            identify=self._identify(),
            auth_service=self.auth_service,
            store_failed=self._store_failed,
        )
        app.add_middleware(CorrelationIdMiddleware)
        app.add_exception_handler(Exception, broken)
        app.add_middleware(TrustedProxyMiddleware, networks=settings.trusted_proxies, origin=settings.public_url)

    def _identify(self) -> Authenticator:
        settings = self._settings
        if settings.auth == "none":
            return SingleUserAuth(self.auth_service.local(settings.annotator))
        if settings.auth == "proxy":
            return ProxyHeaderAuth(self.auth_service, settings.proxy_header)
        return SessionAuth(self.auth_service)

    def _token_for(self, request: Request, purpose: str) -> str:
        return self._forms.token(request, purpose)


def allowed_hosts(settings: Settings) -> frozenset[str] | None:
    """Return the names that the server may be called by; None: any."""
    named = {urlsplit(settings.public_url).hostname or ""} if settings.public_url else set()
    if settings.auth == "none":
        return LOOPBACK | named
    return (LOOPBACK | named) if named else None


def _provider(settings: Settings) -> OidcClient | None:
    """The provider that people sign in with, None where they do not. Raises SettingsError."""
    if settings.auth != "oidc" or settings.oidc is None:
        return None
    from chatfeedback.auth.oidc.client import OidcClient, ProviderSettings

    chosen = settings.oidc
    return OidcClient(
        ProviderSettings(
            issuer=chosen.issuer,
            client_id=chosen.client_id,
            client_secret=chosen.resolve_secret(),
            scopes=chosen.scopes,
            name_claim=chosen.name_claim,
        )
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""Composition root of the web application: builds everything from the settings, down to the routes.

One FastAPI application per process, with its own routes (health, metrics, downloads, authentication, admin) and the
Gradio page mounted at the root. The lifespan starts the models and recovers replies that a dead process left behind.
At shutdown it ends running replies with the text so far.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.responses import FileResponse
from sqlalchemy import Engine

from chatfeedback.analytics.dashboard import DashboardQueries
from chatfeedback.auth import links
from chatfeedback.config.settings import Settings
from chatfeedback.domain.conversation.events import Assignment
from chatfeedback.inference.registry import ModelRegistry
from chatfeedback.server.authentication.setup import AuthSetup
from chatfeedback.server.conversation_version import version_routes
from chatfeedback.server.downloads import download_routes
from chatfeedback.server.health import Health, health_routes
from chatfeedback.server.metrics import Metrics
from chatfeedback.services.assignments import Assignments
from chatfeedback.services.chat import ChatService
from chatfeedback.services.rate_limits import RateLimiter
from chatfeedback.store.accounts import secrets
from chatfeedback.store.database.engine import LOCK_SECONDS, open_engine
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.opening import open_event_store
from chatfeedback.ui.assets import ASSETS


@dataclass(frozen=True, slots=True)
class _Components:
    """Components of one application."""

    settings: Settings
    metrics: Metrics
    engine: Engine
    store: EventStore
    models: ModelRegistry
    auth: AuthSetup
    service: ChatService

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Run the components from before the first request until after the last."""
        await self.service.start()
        self.models.start()
        try:
            yield
        finally:
            await self.service.close()
            await self.models.close()
            await self.auth.close()
            await asyncio.to_thread(self.store.close)
            self.engine.dispose()


def build_app(settings: Settings) -> FastAPI:
    """Return the application for these settings; the database must be ready (`migrate.ensure_ready`)."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # for Gradio code that ignores the setting of our Blocks
    components = _build_components(settings)
    app = FastAPI(title=settings.title, lifespan=components.lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = components.service
    _add_routes(app, components)
    return _with_page(app, components)


def _build_components(settings: Settings) -> _Components:
    metrics, models = Metrics(), ModelRegistry(settings)
    engine = open_engine(settings.database_url, lock_seconds=LOCK_SECONDS)
    store = open_event_store(engine, on_commit=metrics.record_commit)
    auth = AuthSetup(settings, engine, store.availability.failed)
    service = ChatService(
        store,
        models.models,
        {reason.code: reason.polarity for reason in settings.reasons},
        max_message_chars=settings.max_message_chars,
        linger_seconds=settings.reply_linger_seconds,
        limits=RateLimiter(messages_per_minute=settings.messages_per_minute, streams_at_once=settings.streams_at_once),
        on_refused=auth.auth_service.record_refusal,
    )
    metrics.watch(store, service)
    return _Components(settings, metrics, engine, store, models, auth, service)


def _add_routes(app: FastAPI, components: _Components) -> None:
    """Add our routes; they must come before the page, which answers all other paths."""
    settings, auth = components.settings, components.auth
    app.add_api_route("/favicon.ico", lambda: FileResponse(ASSETS / "model.svg"), methods=["GET", "HEAD"])
    token = settings.metrics_token.get_secret_value() if settings.metrics_token else None
    health = Health(components.store, components.service, components.models.states)
    app.include_router(health_routes(health, components.metrics, token=token, is_open=settings.auth == "none"))
    app.include_router(download_routes(components.engine, auth.person, auth.auth_service.record_export))
    app.include_router(version_routes(components.service, auth.person))
    app.include_router(auth.routes())


def _with_page(app: FastAPI, components: _Components) -> FastAPI:
    """Return the application with the page at its root, behind the access middleware."""
    from chatfeedback.ui.app import Limits, build_page
    from chatfeedback.ui.chat.panel import Reason

    settings, auth = components.settings, components.auth
    page = build_page(
        components.service,
        DashboardQueries(components.engine, components.store.conversation),
        Assignments(
            secrets.get_or_create(components.engine, links.KEY),
            Assignment(study=settings.study.name, condition=settings.study.condition),
        ),
        auth.sign_in,
        auth.auth_service.record_refusal,
        title=settings.title,
        models=list(components.models.models),
        reasons=[Reason(reason.code, reason.label, reason.polarity) for reason in settings.reasons],
        shown_messages=settings.shown_messages,
        limits=Limits(settings.max_message_chars, settings.max_request_bytes),
    )
    mounted = page.mount(app, auth.gradio_username)
    auth.wrap(mounted, page)
    return mounted

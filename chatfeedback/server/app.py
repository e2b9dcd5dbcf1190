"""The web application: everything is put together here, from the settings down to the routes.

One process: FastAPI with our own routes (health, metrics, downloads) and the Gradio page mounted at the root. Its
lifespan opens the store and the models, ends what a dead process left behind, and on the way out ends what is still
being written with the text so far.
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
from chatfeedback.server.conversation_version import following_routes
from chatfeedback.server.downloads import downloads
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
class _Parts:
    """What an application is made of, one of each."""

    settings: Settings
    metrics: Metrics
    engine: Engine
    store: EventStore
    catalogue: ModelRegistry
    door: AuthSetup
    service: ChatService

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """From the first request to the last."""
        await self.service.start()
        self.catalogue.start()
        try:
            yield
        finally:
            await self.service.close()
            await self.catalogue.close()
            await self.door.close()
            await asyncio.to_thread(self.store.close)
            self.engine.dispose()


def build_app(settings: Settings) -> FastAPI:
    """The application for these settings; the database must be ready (`admin.ensure_ready`)."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # for whatever our own Blocks do not say
    parts = _put_together(settings)
    app = FastAPI(title=settings.title, lifespan=parts.lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = parts.service
    _add_routes(app, parts)
    return _with_page(app, parts)


def _put_together(settings: Settings) -> _Parts:
    metrics, catalogue = Metrics(), ModelRegistry(settings)
    engine = open_engine(settings.database_url, lock_seconds=LOCK_SECONDS)
    store = open_event_store(engine, committed=metrics.record_commit)
    door = AuthSetup(settings, engine, store.availability.failed)
    service = ChatService(
        store,
        catalogue.models,
        {reason.code: reason.polarity for reason in settings.reasons},
        max_message_chars=settings.max_message_chars,
        linger_seconds=settings.reply_linger_seconds,
        limits=RateLimiter(messages_per_minute=settings.messages_per_minute, streams_at_once=settings.streams_at_once),
        on_refused=door.auth_service.record_refusal,
    )
    metrics.watch(store, service)
    return _Parts(settings, metrics, engine, store, catalogue, door, service)


def _add_routes(app: FastAPI, parts: _Parts) -> None:
    """Ours, before the page, which takes every address that is left."""
    settings, door = parts.settings, parts.door
    app.add_api_route("/favicon.ico", lambda: FileResponse(ASSETS / "model.svg"), methods=["GET", "HEAD"])
    token = settings.metrics_token.get_secret_value() if settings.metrics_token else None
    health = Health(parts.store, parts.service, parts.catalogue.states)
    app.include_router(health_routes(health, parts.metrics, token=token, is_open=settings.auth == "none"))
    app.include_router(downloads(parts.engine, door.person, door.auth_service.record_export))
    app.include_router(following_routes(parts.service, door.person))
    app.include_router(door.routes())


def _with_page(app: FastAPI, parts: _Parts) -> FastAPI:
    """Return the application with the page at its root, behind the access middleware."""
    from chatfeedback.ui.app import build_page
    from chatfeedback.ui.chat.panel import Reason

    settings, door = parts.settings, parts.door
    page = build_page(
        parts.service,
        DashboardQueries(parts.engine, parts.store.conversation),
        Assignments(
            secrets.get_or_create(parts.engine, links.KEY),
            Assignment(study=settings.study.name, condition=settings.study.condition),
        ),
        door.sign_in,
        door.auth_service.record_refusal,
        title=settings.title,
        models=list(parts.catalogue.models),
        reasons=[Reason(reason.code, reason.label, reason.polarity) for reason in settings.reasons],
        shown_messages=settings.shown_messages,
    )
    mounted = page.mount(app, door.gradio_username)
    door.wrap(mounted, page)
    return mounted

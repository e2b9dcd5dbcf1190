"""The web application: everything is put together here, from the settings down to the routes.

One process: FastAPI with our own routes (health, metrics, downloads) and the Gradio page mounted at the root. Its
lifespan opens the store and the models, ends what a dead process left behind, and on the way out ends what is still
being written with the text so far.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import webbrowser
from collections.abc import AsyncIterator
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from sqlalchemy import Engine

from chatfeedback import logs
from chatfeedback.access import links
from chatfeedback.analytics.desk import AnalyticsDesk
from chatfeedback.domain.events import Assignment
from chatfeedback.errors import SettingsError, StoreUnavailable
from chatfeedback.lasting import lasting
from chatfeedback.limits import Limits
from chatfeedback.service import ChatService
from chatfeedback.settings import Settings
from chatfeedback.store import admin, keys, serving
from chatfeedback.store.engine import LOCK_SECONDS, open_engine
from chatfeedback.store.event_store import EventStore
from chatfeedback.store.writer import open_writer
from chatfeedback.web.assignments import Assignments
from chatfeedback.web.catalogue import Catalogue
from chatfeedback.web.door import Door, is_loopback
from chatfeedback.web.downloads import downloads
from chatfeedback.web.ending import Server
from chatfeedback.web.following import following_routes
from chatfeedback.web.health import Health, health_routes
from chatfeedback.web.layout import ASSETS
from chatfeedback.web.metrics import Metrics

SCRIPTS = ("outage.js", "session.js", "stream.js", "unsaved.js", "messages.js", "page.js", "scroll.js", "following.js")
STYLES = ("chat.css", "messages.css", "analytics.css")
GRACE_SECONDS = 3
"""How long requests may go on at the end, after the replies have been waited for (`shutdown_seconds`)."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What an application is made of, one of each."""

    settings: Settings
    metrics: Metrics
    engine: Engine
    store: EventStore
    catalogue: Catalogue
    door: Door
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
    metrics, catalogue = Metrics(), Catalogue(settings)
    engine = open_engine(settings.database_url, lock_seconds=LOCK_SECONDS)
    store = EventStore(engine, open_writer(engine), metrics.committed)
    door = Door(settings, engine, store.availability.failed)
    service = ChatService(
        store,
        catalogue.models,
        {reason.code: reason.polarity for reason in settings.reasons},
        longest_message=settings.max_message_chars,
        linger_seconds=settings.reply_linger_seconds,
        limits=Limits(messages_per_minute=settings.messages_per_minute, streams_at_once=settings.streams_at_once),
        refused=door.desk.refused,
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
    app.include_router(downloads(parts.engine, door.person, door.desk.exported))
    app.include_router(following_routes(parts.service, door.person))
    app.include_router(door.routes())


def _with_page(app: FastAPI, parts: _Parts) -> FastAPI:
    """The application with the page at its root, behind the door."""
    import gradio as gr

    from chatfeedback.web import app as page
    from chatfeedback.web import katex
    from chatfeedback.web.panel import Reason

    settings, door = parts.settings, parts.door
    blocks = page.build_blocks(
        parts.service,
        AnalyticsDesk(parts.engine, parts.store.conversation),
        Assignments(
            keys.secret(parts.engine, links.KEY),
            Assignment(study=settings.study.name, condition=settings.study.condition),
        ),
        door.sign_in,
        door.desk.refused,
        title=settings.title,
        models=list(parts.catalogue.models),
        reasons=[Reason(reason.code, reason.label, reason.polarity) for reason in settings.reasons],
        shown_messages=settings.shown_messages,
    )
    scripts = [(ASSETS / name).read_text() for name in SCRIPTS]
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        blocks,
        path="",
        theme=page.theme(),
        css_paths=[ASSETS / name for name in STYLES],
        head=katex.meta() + "".join(f"<script>{script}</script>" for script in scripts),
        auth_dependency=door.name_for_gradio,
        run_history=False,
        footer_links=[],
        ssr_mode=False,
        show_error=False,
    )
    door.close_around(mounted, blocks, scripts)
    return mounted


def serve(settings: Settings, *, open_browser: bool) -> None:
    """Runs the application until it is asked to end, and has ended.

    Raises SettingsError when the port cannot be had, and for an open house: no sign-in, and not on this machine only.
    Raises StoreError when the database cannot be used, or another process serves its file.
    """
    _must_be_private(settings)
    logs.configure(settings.log_format, settings.log_level)
    with serving.alone(settings.database_url):
        admin.ensure_ready(settings.database_url, migrate=settings.migrate)
        listening = _listen(settings.host, settings.port)
        port = listening.getsockname()[1]
        with lasting():
            app = build_app(settings)
        server = new_server(app, settings.shutdown_seconds, grace_seconds=GRACE_SECONDS)
        # uvicorn raises a SIGTERM once more when it is done, for whoever handled it before.
        signal.signal(signal.SIGTERM, server.handle_exit)
        shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - it compares
        address = f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"
        print(f"chatfeedback is at {address}  (Ctrl+C ends it)", flush=True)  # noqa: T201 - the one thing it has to say
        if open_browser:
            # The socket listens already: a browser that is quicker than the application waits for it.
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        with contextlib.suppress(SystemExit):  # uvicorn's own way to end when the application does not start
            server.run(sockets=[listening])
        if not server.started:
            raise StoreUnavailable("chatfeedback could not be started; the log says why.")


def new_server(app: FastAPI, shutdown_seconds: float, *, grace_seconds: int) -> Server:
    """What serves the application, silent but for what went wrong.

    `shutdown_seconds`: for replies to be finished at the end; `grace_seconds`: then, for requests to be answered.
    """
    logging.getLogger("uvicorn.error").addFilter(_not_the_end_of_streams)
    # What a proxy says of a client is looked at by `identity.Forwarding`, and of listed proxies only.
    # There is no log of requests: addresses hold the names of pages, and the codes of those who sign in.
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=grace_seconds,
        proxy_headers=False,
        server_header=False,
    )
    logging.getLogger("uvicorn.access").disabled = True  # `access_log` alone counts for nothing where it has a handler
    return Server(config, app.state.service, shutdown_seconds)


def _not_the_end_of_streams(record: logging.LogRecord) -> bool:
    """Pages hold streams open for as long as they live; that a stream is cut off is no error.

    The end of the process cancels them. And a page that is reloaded while it waits for answers may leave a request for
    them behind, which Gradio answers with 404 when the answer has begun already.
    """
    error = record.exc_info[1] if record.exc_info else None
    too_late = isinstance(error, RuntimeError) and isinstance(error.__cause__, HTTPException)
    cut_off = too_late or isinstance(error, asyncio.CancelledError)
    return not cut_off and "timeout graceful shutdown exceeded" not in record.getMessage()


def _must_be_private(settings: Settings) -> None:
    """Raises SettingsError where anybody who reaches this machine could do everything."""
    if settings.auth == "none" and not is_loopback(settings.host):
        raise SettingsError(
            f"Without sign-in, chatfeedback listens on this machine only, and not on {settings.host}; choose how "
            "people sign in with --auth (docs/security.md), or leave out --host."
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY on its connections; else each small answer waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"{host}:{port} cannot be listened on ({error.strerror}); choose another --port or --host."
        ) from None
    return listening

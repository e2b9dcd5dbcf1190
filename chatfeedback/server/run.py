"""Run the server: from the settings to the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
import webbrowser

import uvicorn
from fastapi import FastAPI, HTTPException

from chatfeedback.config.settings import Settings
from chatfeedback.errors import SettingsError, StoreUnavailable
from chatfeedback.server import logging as logs
from chatfeedback.server.app import build_app
from chatfeedback.server.authentication.setup import is_loopback
from chatfeedback.server.gc_freeze import frozen_startup
from chatfeedback.server.shutdown import Server
from chatfeedback.store.database import file_lock, migrate

GRACE_SECONDS = 3
"""How long requests may go on at the end, after the replies have been waited for (`shutdown_seconds`)."""


def serve(settings: Settings, *, open_browser: bool) -> None:
    """Runs the application until it is asked to end, and has ended.

    Raises SettingsError when the port cannot be had, and for an open house: no sign-in, and not on this machine only.
    Raises StoreError when the database cannot be used, or another process serves its file.
    """
    _check_private(settings)
    logs.configure(settings.log_format, settings.log_level)
    with file_lock.exclusive(settings.database_url):
        migrate.ensure_ready(settings.database_url, migrate=settings.migrate)
        listening = _listen(settings.host, settings.port)
        port = listening.getsockname()[1]
        with frozen_startup():
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


def _check_private(settings: Settings) -> None:
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

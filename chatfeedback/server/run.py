"""Run the server: check the settings, listen, serve until shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import socket
import sys
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
from chatfeedback.store.database.engine import readable_by_all

log = logging.getLogger(__name__)
GRACE_SECONDS = 3
"""Seconds that requests may take at shutdown, after the wait for replies (`shutdown_seconds`)."""


def serve(settings: Settings, *, open_browser: bool) -> None:
    """Run the application until a signal ends it and the shutdown is complete.

    Raises:
        SettingsError: The port cannot be bound, or the server would listen beyond loopback without authentication.
        StoreError: The database cannot be used, or another process serves its file.
    """
    _check_not_public_without_auth(settings)
    logs.configure(settings.log_format, settings.log_level)
    with file_lock.exclusive(settings.database_url):
        migrate.ensure_ready(settings.database_url, migrate=settings.migrate)
        if file := readable_by_all(settings.database_url):
            log.warning("every user of this machine can read %s; run `chmod o= %s`", file, shlex.quote(str(file)))
        listening = _listen(settings.host, settings.port)
        port = listening.getsockname()[1]
        with frozen_startup():
            app = build_app(settings)
        server = new_server(app, settings.shutdown_seconds, grace_seconds=GRACE_SECONDS)
        # uvicorn raises SIGTERM again when it has ended, for the handler that was installed before its own.
        signal.signal(signal.SIGTERM, server.handle_exit)
        host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - a comparison
        address = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        _say(f"chatfeedback is at {address}  (Ctrl+C ends it)")
        if open_browser:
            # The socket listens already: a browser that connects before the application is ready waits.
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        with contextlib.suppress(SystemExit):  # uvicorn exits like this if the application does not start
            server.run(sockets=[listening])
        if not server.started:
            raise StoreUnavailable("chatfeedback could not be started; the log says why.")


def new_server(app: FastAPI, shutdown_seconds: float, *, grace_seconds: int) -> Server:
    """Return a uvicorn server of the application that logs only warnings and errors.

    Args:
        app: The application, with its chat service in `app.state.service`.
        shutdown_seconds: Seconds at shutdown for running replies to finish.
        grace_seconds: Seconds after that for open requests.
    """
    logging.getLogger("uvicorn.error").addFilter(_is_not_stream_cancellation)
    # `TrustedProxyMiddleware` reads the forwarded headers, and those of listed proxies only.
    # There is no access log: URLs hold session hashes of pages and authorization codes of sign-ins.
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=grace_seconds,
        proxy_headers=False,
        server_header=False,
    )
    logging.getLogger("uvicorn.access").disabled = True  # `access_log=False` has no effect on a logger with a handler
    return Server(config, app.state.service, shutdown_seconds)


def _is_not_stream_cancellation(record: logging.LogRecord) -> bool:
    """Return False for records of cancelled event streams, which are no errors: pages hold them open.

    Shutdown cancels them. A page that is reloaded while it waits for events may also leave a request for them behind,
    which Gradio answers with 404 after the response has started.
    """
    error = record.exc_info[1] if record.exc_info else None
    too_late = isinstance(error, RuntimeError) and isinstance(error.__cause__, HTTPException)
    cancelled = too_late or isinstance(error, asyncio.CancelledError)
    return not cancelled and "timeout graceful shutdown exceeded" not in record.getMessage()


def _say(line: str) -> None:
    """Print the only output of the server; if nothing can be written, as to a closed stdout, the log has it."""
    try:
        print(line, flush=True)  # noqa: T201
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the line is still in its buffer
        log.warning("%s; the standard output cannot be written (%s)", line, error.strerror)


def _check_not_public_without_auth(settings: Settings) -> None:
    """Check that a server without authentication listens on loopback only. Raises SettingsError."""
    if settings.auth == "none" and not is_loopback(settings.host):
        raise SettingsError(
            f"Without sign-in, chatfeedback listens on this machine only, and not on {settings.host}; choose how "
            "people sign in with --auth (docs/security.md), or leave out --host."
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if the socket names its protocol; without it each small response waits 40 ms.
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

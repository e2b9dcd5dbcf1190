"""Graceful shutdown: refuse new work, drain running replies for a limited time, store the rest.

SIGTERM or Ctrl+C starts the shutdown. Pages are served until the last reply is finished, at most `shutdown_seconds`:
users see their replies to the end and can rate them. A second signal ends the wait. The process exits with status 0.

A database that does not respond must not block the exit. `STORE_SECONDS` after the time for requests, the process
exits with status 1. No accepted event is lost: the replies are recovered as interrupted when their leases expire.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from types import FrameType

import uvicorn

from chatfeedback.services.chat import ChatService

log = logging.getLogger(__name__)

STORE_SECONDS = 10
"""Seconds for the last writes to the database, after the time for replies and requests."""


class Server(uvicorn.Server):
    """Uvicorn server that drains the replies of `service` before it stops, with a deadline for the database."""

    def __init__(self, config: uvicorn.Config, service: ChatService, shutdown_seconds: float) -> None:
        super().__init__(config)
        self._service = service
        self._shutdown_seconds = shutdown_seconds
        self._drain_cancelled = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadline_set = False
        """True after a signal, which sets a deadline for the exit. A shutdown without a signal has none."""
        self._drained = threading.Event()
        self._closed = False
        """True once the store is closed, so that everything is stored."""

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal or `should_exit` ends the server."""
        self._loop = asyncio.get_running_loop()
        if self.should_exit:
            self._apply_signal()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal: the first one starts the shutdown, a second one ends the wait for replies."""
        # Do no more here: the code that the signal interrupts may hold any lock.
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._apply_signal)
        # Always pass SIGTERM to uvicorn: after a second SIGINT it would skip the shutdown of the lifespan.
        super().handle_exit(signal.SIGTERM, frame)

    def _apply_signal(self) -> None:
        if self._deadline_set:
            self._drain_cancelled.set()
            self._drained.set()
            return
        self._deadline_set = True
        # A daemon thread: at exit Python joins all other threads, also those that wait for the database.
        threading.Thread(target=self._exit_at_deadline, name="chatfeedback-ending", daemon=True).start()

    def _exit_at_deadline(self) -> None:
        """Exit the process if it has not ended by the deadline."""
        if self.started:
            self._drained.wait(min(self._shutdown_seconds, threading.TIMEOUT_MAX))
        time.sleep((self.config.timeout_graceful_shutdown or 0) + STORE_SECONDS)
        if self._closed:
            log.warning("ended without waiting for what is still under way; everything that was accepted is stored")
            os._exit(0)
        log.error(
            "the database does not answer, so the process ends without it; replies whose end is not stored, and that "
            "are interrupted when their leases are over: %d",
            self._service.writing,
        )
        os._exit(1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain the running replies, at most `shutdown_seconds`, then shut down the server and the store."""
        drain = asyncio.create_task(self._service.drain())
        cancelled = asyncio.create_task(self._drain_cancelled.wait())
        if writing := self._service.writing:
            log.info("ending; replies that may go on for %g seconds: %d", self._shutdown_seconds, writing)
        await asyncio.wait({drain, cancelled}, timeout=self._shutdown_seconds, return_when="FIRST_COMPLETED")
        for task in (drain, cancelled):
            task.cancel()
        self._drained.set()
        if writing := self._service.writing:
            log.warning("ending; replies that are not finished, and are kept as they are: %d", writing)
        await super().shutdown(sockets)
        self._closed = True

"""A server that ends in order: it takes no new work, lets replies be finished for a while, and stores the rest.

SIGTERM and Ctrl+C begin the end. Until the last reply is finished, at most `shutdown_seconds`, pages are still served:
people see their replies to the end, and rate them; a second signal ends the wait. The process then ends with status 0.

A database that does not answer must not keep it: `STORE_SECONDS` after requests had their time it ends at once, with
status 1. Nothing that was accepted is lost by that, and the replies are ended when their leases are over.
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
"""How long the database has to take what is stored at the end, after the replies and requests had their time."""


class Server(uvicorn.Server):
    """Waits for the replies of `service` before it lets go of the pages, and for the database only so long."""

    def __init__(self, config: uvicorn.Config, service: ChatService, shutdown_seconds: float) -> None:
        super().__init__(config)
        self._service = service
        self._shutdown_seconds = shutdown_seconds
        self._hurried = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._limited = False
        """Whether a signal has begun the end, which ends the process in time. An end without one is the caller's."""
        self._replies_over = threading.Event()
        self._closed = False
        """Whether the store was closed, so that everything is stored."""

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        if self.should_exit:
            self._heed()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the end, another one hurries it on."""
        # No more than this is done here: what the signal interrupts may hold any lock.
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._heed)
        # For uvicorn it is always a SIGTERM: after a second Ctrl+C it would leave out what is to be done at the end.
        super().handle_exit(signal.SIGTERM, frame)

    def _heed(self) -> None:
        if self._limited:
            self._hurried.set()
            self._replies_over.set()
            return
        self._limited = True
        # A thread that Python does not wait for. It waits for all others, also for those that wait for the database.
        threading.Thread(target=self._end_in_time, name="chatfeedback-ending", daemon=True).start()

    def _end_in_time(self) -> None:
        """Ends the process, if it has not ended by itself when the time for everything is over."""
        if self.started:
            self._replies_over.wait(min(self._shutdown_seconds, threading.TIMEOUT_MAX))
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
        draining, warned_to_wait = asyncio.create_task(self._service.drain()), asyncio.create_task(self._hurried.wait())
        if writing := self._service.writing:
            log.info("ending; replies that may go on for %g seconds: %d", self._shutdown_seconds, writing)
        await asyncio.wait({draining, warned_to_wait}, timeout=self._shutdown_seconds, return_when="FIRST_COMPLETED")
        for task in (draining, warned_to_wait):
            task.cancel()
        self._replies_over.set()
        if writing := self._service.writing:
            log.warning("ending; replies that are not finished, and are kept as they are: %d", writing)
        await super().shutdown(sockets)
        self._closed = True

"""A server that ends in order: it takes no new work, lets replies be finished for a while, and stores the rest.

SIGTERM and Ctrl+C begin the end. Until the last reply is finished, at most `shutdown_seconds`, pages are still served:
people see their replies to the end, and rate them; a second signal ends the wait. The process then ends with status 0.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from types import FrameType

import uvicorn

from chatfeedback.service import ChatService

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Waits for the replies of `service` before it lets go of the pages."""

    def __init__(self, config: uvicorn.Config, service: ChatService, shutdown_seconds: float) -> None:
        super().__init__(config)
        self._service = service
        self._shutdown_seconds = shutdown_seconds
        self._hurried = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the end, another one hurries it on."""
        if self.should_exit and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hurried.set)
        # For uvicorn it is always a SIGTERM: after a second Ctrl+C it would leave out what is to be done at the end.
        super().handle_exit(signal.SIGTERM, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        draining, hurried = asyncio.create_task(self._service.drain()), asyncio.create_task(self._hurried.wait())
        if writing := self._service.writing:
            log.info("ending; replies that may go on for %g seconds: %d", self._shutdown_seconds, writing)
        await asyncio.wait({draining, hurried}, timeout=self._shutdown_seconds, return_when="FIRST_COMPLETED")
        for task in (draining, hurried):
            task.cancel()
        if writing := self._service.writing:
            log.warning("ending; replies that are not finished, and are kept as they are: %d", writing)
        await super().shutdown(sockets)

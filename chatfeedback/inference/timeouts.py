"""Stream timeouts: limits on the silence of an endpoint.

Only pieces of the reply reset a timeout. Headers, keep-alives and chunks without text do not, or a server that sends
nothing else would hold a reply for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chatfeedback.inference.errors import StreamTimeout
from chatfeedback.inference.types import Endpoint

# Maximum wait for the token counts, which come in a separate chunk after the last one of the reply.
USAGE_SECONDS = 5.0


class StreamTimeouts:
    """Timeouts of one attempt at a reply, from now on: to the first piece, then between two pieces."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._seconds, self._setting = endpoint.first_token_seconds, "first_token_seconds"
        self._gap_seconds = endpoint.timeout_seconds
        self._deadline = asyncio.get_running_loop().time() + self._seconds

    def reset(self, *, complete: bool) -> None:
        """Reset the timeout after a piece. `complete`: only the token counts are still missing."""
        self._seconds, self._setting = self._gap_seconds, "timeout_seconds"
        self._deadline = asyncio.get_running_loop().time() + (
            min(self._gap_seconds, USAGE_SECONDS) if complete else self._gap_seconds
        )

    @asynccontextmanager
    async def enforce(self) -> AsyncIterator[None]:
        """Enforce the deadline on the block. Raises StreamTimeout."""
        try:
            async with asyncio.timeout_at(self._deadline) as timeout:
                yield
        except TimeoutError as error:
            if timeout.expired():
                raise StreamTimeout(self._seconds, self._setting) from error
            raise

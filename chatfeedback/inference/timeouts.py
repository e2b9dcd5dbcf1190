"""How long an endpoint may be silent.

Only pieces of the reply end a silence: headers, keep-alives and chunks without text do not, or a server that sends
nothing else would hold a reply for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chatfeedback.inference.errors import StreamTimeout
from chatfeedback.inference.types import Endpoint

# Token counts come in a chunk of their own after the last one of the reply; they are not waited for longer.
USAGE_SECONDS = 5.0


class StreamTimeouts:
    """With one attempt at a reply, from now on."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._seconds, self._setting = endpoint.first_token_seconds, "first_token_seconds"
        self._between = endpoint.timeout_seconds
        self._until = asyncio.get_running_loop().time() + self._seconds

    def reset(self, *, whole: bool) -> None:
        """A piece has come. `whole`: nothing but the token counts is missing any more."""
        self._seconds, self._setting = self._between, "timeout_seconds"
        self._until = asyncio.get_running_loop().time() + (
            min(self._between, USAGE_SECONDS) if whole else self._between
        )

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Cuts off what is waited for in the block. Raises Silence."""
        try:
            async with asyncio.timeout_at(self._until) as limit:
                yield
        except TimeoutError as error:
            if limit.expired():
                raise StreamTimeout(self._seconds, self._setting) from error
            raise

"""A model as the service sees it: how it is asked, and what of a conversation fits into its window."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from chatfeedback.domain.conversation.decide import ThreadMessage
from chatfeedback.domain.conversation.events import Generation
from chatfeedback.errors import ModelError
from chatfeedback.inference import context_window
from chatfeedback.inference.client import (
    ChatMessage,
    Delta,
    Finish,
    ModelClient,
    OnPause,
    OnProvenance,
    ReplyRequest,
    Sampling,
)

Connect = Callable[[], Awaitable[ModelClient]]
Answered = Callable[[ModelError | None], None]
"""Is told how a reply ended: by this error, or by itself (None). Of one that was given up, nothing is told."""
Pieces = AsyncGenerator[Delta | Finish, None]


@dataclass(frozen=True, slots=True)
class ChatModel:
    """One entry of the model picker.

    `model` is its id at the endpoint, for the local model the name of the weights. `connect` gives the client; for the
    local model it waits until the weights are loaded. `endpoint` names where
    the model is reached, without secrets. `window`: its size in tokens, None as long as it is not known.
    """

    name: str
    model: str
    endpoint: str
    provider: str | None
    sampling: Sampling
    system_prompt: str
    window: Callable[[], int | None]
    connect: Connect
    answered: Answered = lambda _error: None

    def plan(self, thread: Sequence[ThreadMessage]) -> Generation:
        """What to ask for a reply to `thread`, oldest first: a fresh seed, and the messages that fit."""
        sent = self.fit(thread)
        return Generation(
            model=self.name,
            endpoint=self.endpoint,
            provider=self.provider,
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            max_tokens=self.sampling.max_tokens,
            seed=secrets.randbelow(2**31),
            system_prompt=self.system_prompt,
            sent_ids=tuple(message.message_id for message in sent),
            model_id=self.model,
        )

    def fit(self, thread: Sequence[ThreadMessage]) -> Sequence[ThreadMessage]:
        """The thread without its oldest turns where they do not fit into the window."""
        return context_window.fit(
            thread,
            context_tokens=self.window(),
            system_prompt=self.system_prompt,
            max_tokens=self.sampling.max_tokens,
        )

    def shrink(self, thread: Sequence[ThreadMessage]) -> Sequence[ThreadMessage] | None:
        """A shorter thread, after the endpoint said that this one is too long; None when there is none."""
        return context_window.shrink(thread)

    async def stream(
        self,
        thread: Sequence[ThreadMessage],
        *,
        seed: int,
        fresh: bool,
        on_pause: OnPause | None = None,
        on_provenance: OnProvenance | None = None,
    ) -> Pieces:
        """The reply in pieces, and a Finish at last; see ModelClient.stream. Raises ModelError."""
        system = (ChatMessage("system", self.system_prompt),) if self.system_prompt else ()
        said = (ChatMessage(message.role, message.text) for message in thread)
        request = ReplyRequest((*system, *said), self.sampling, seed, fresh)
        try:
            client = await self.connect()
            # A generator that is closed does not close the one that it reads from.
            async with contextlib.aclosing(client.stream(request, on_pause, on_provenance)) as pieces:
                async for piece in pieces:
                    yield piece
        except ModelError as error:
            self.answered(error)
            raise
        self.answered(None)

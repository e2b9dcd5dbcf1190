"""Chat model: one entry of the model picker, as the services see it."""

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
    OnChanges,
    OnPause,
    OnProvenance,
    ReplyRequest,
    Sampling,
)

Connect = Callable[[], Awaitable[ModelClient]]
OnResult = Callable[[ModelError | None], None]
"""Callback with the result of a reply: its error, or None for a success. Not called for a cancelled reply."""
Pieces = AsyncGenerator[Delta | Finish, None]


@dataclass(frozen=True, slots=True)
class ChatModel:
    """Chat model: endpoint, sampling and context window of one entry of the model picker.

    Attributes:
        name: The name in the picker, which is recorded.
        model: The model's id at the endpoint; for the local model the name of the weights.
        endpoint: The public name of the endpoint, without secrets.
        provider: The inference provider of the Hugging Face Hub.
        sampling: The sampling parameters.
        system_prompt: The system prompt; an empty one is not sent.
        window: Returns the context window in tokens; None while it is unknown.
        connect: Returns the client; for the local model it waits until the weights are loaded.
        on_result: Callback with the result of each reply.
    """

    name: str
    model: str
    endpoint: str
    provider: str | None
    sampling: Sampling
    system_prompt: str
    window: Callable[[], int | None]
    connect: Connect
    on_result: OnResult = lambda _error: None

    def plan(self, thread: Sequence[ThreadMessage]) -> Generation:
        """Plan a reply to `thread` (oldest first): a new seed, and the messages that fit into the window."""
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
        """Return the thread without the oldest turns that do not fit into the context window."""
        return context_window.fit(
            thread,
            context_tokens=self.window(),
            system_prompt=self.system_prompt,
            max_tokens=self.sampling.max_tokens,
        )

    def shrink(self, thread: Sequence[ThreadMessage]) -> Sequence[ThreadMessage] | None:
        """Return a shorter thread after the endpoint rejected this one as too long; None if there is none."""
        return context_window.shrink(thread)

    async def stream(
        self,
        thread: Sequence[ThreadMessage],
        *,
        seed: int,
        fresh: bool,
        on_pause: OnPause | None = None,
        on_provenance: OnProvenance | None = None,
        on_changes: OnChanges | None = None,
    ) -> Pieces:
        """Stream the reply in pieces, then a Finish; see `ModelClient.stream`. Raises ModelError."""
        system = (ChatMessage("system", self.system_prompt),) if self.system_prompt else ()
        messages = (ChatMessage(message.role, message.text) for message in thread)
        request = ReplyRequest((*system, *messages), self.sampling, seed, fresh)
        try:
            client = await self.connect()
            # A generator that is closed does not close the one that it reads from.
            async with contextlib.aclosing(client.stream(request, on_pause, on_provenance, on_changes)) as pieces:
                async for piece in pieces:
                    yield piece
        except ModelError as error:
            self.on_result(error)
            raise
        self.on_result(None)

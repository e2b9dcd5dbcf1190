"""Streaming client for Hugging Face's inference providers and any OpenAI-compatible server.

huggingface_hub's AsyncInferenceClient prepares the request. The HTTP exchange and the reading of the reply are our own,
which guarantees:

- a reply has its own connection, closed as soon as its consumer stops, however it stops;
- the Hugging Face token goes to Hugging Face and nowhere else;
- every failure becomes one ModelError (`errors`), and a truncated reply is never taken for a complete one;
- what a server does not accept of a request is left out, and what was really sent is reported (`request_shape`);
- transient errors are retried before the first piece of the reply (`retries`), never after it;
- a reply ends: by a timeout (`timeouts`), or by its length if the server ignores `max_tokens`;
- a reply takes at most its share of the event loop, however fast it arrives (`pacing`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import groupby

import httpx2
from huggingface_hub import ChatCompletionInputStreamOptions, get_token, is_offline_mode
from huggingface_hub.errors import OfflineModeIsEnabled

from chatfeedback.config.keys import clean_key
from chatfeedback.errors import KeyRefused, ModelError, SettingsError
from chatfeedback.inference import errors, retries
from chatfeedback.inference.addresses import completion_urls
from chatfeedback.inference.error_body import Refusal
from chatfeedback.inference.event_stream import event_batches
from chatfeedback.inference.exchange import Exchange
from chatfeedback.inference.provenance import OnProvenance
from chatfeedback.inference.reply_reader import ReplyReader
from chatfeedback.inference.request_shape import MAX_REQUESTS, OnChanges, RequestShape
from chatfeedback.inference.retries import OnPause
from chatfeedback.inference.timeouts import StreamTimeouts
from chatfeedback.inference.types import ChatMessage, Delta, Endpoint, Finish, ReplyRequest, Sampling

__all__ = [
    "ChatMessage",
    "Delta",
    "Endpoint",
    "Finish",
    "ModelClient",
    "OnChanges",
    "OnPause",
    "OnProvenance",
    "ReplyRequest",
    "Sampling",
]

log = logging.getLogger(__name__)

_COUNT_TOKENS = ChatCompletionInputStreamOptions(include_usage=True)


class ModelClient:
    """Client of one model at one endpoint; bound to the event loop that it is first used in."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._shape = RequestShape(completion_urls(endpoint.url) if endpoint.url else ())
        self._http = httpx2.AsyncClient(
            trust_env=not endpoint.is_loopback,  # a proxy of the environment cannot reach this machine
            timeout=None,  # see `StreamTimeouts`: a server's keep-alives must not reset a timeout
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )

    def stream(
        self,
        request: ReplyRequest,
        on_pause: OnPause | None = None,
        on_provenance: OnProvenance | None = None,
        on_changes: OnChanges | None = None,
    ) -> AsyncGenerator[Delta | Finish, None]:
        """Stream the reply in pieces, then exactly one Finish. Raises ModelError.

        To end the reply early, cancel the task that reads it or close the generator: that closes the connection, and
        most servers stop generating.

        Args:
            request: The messages and parameters.
            on_pause: Called for each pause before a retry.
            on_provenance: Called when the endpoint answers and whenever it reveals more of itself; the last call
                counts.
            on_changes: Called when the endpoint answers, with what was changed of the request because the endpoint
                does not accept it; the last call counts.
        """
        endpoint = self.endpoint
        return retries.retry_until_first_piece(
            lambda: self._attempt(request, on_provenance, on_changes),
            attempts=endpoint.attempts,
            model=endpoint.model,
            on_pause=on_pause,
        )

    async def aclose(self) -> None:
        """Close the connections; call it once, at the end."""
        await self._http.aclose()

    async def _attempt(
        self, request: ReplyRequest, on_provenance: OnProvenance | None, on_changes: OnChanges | None
    ) -> AsyncGenerator[Delta | Finish, None]:
        """Make one attempt; translate every failure to ModelError, and cut off a reply that is too long."""
        length, limit = 0, self.endpoint.max_reply_chars
        try:
            async with aclosing(self._exchange(request, on_provenance, on_changes)) as pieces:
                async for piece in pieces:
                    length += len(piece.text) if isinstance(piece, Delta) else 0
                    if length <= limit:
                        yield piece
                        continue
                    if isinstance(piece, Delta) and (rest := piece.text[: limit - length]):
                        yield Delta(rest)
                    raise errors.reply_too_long(self.endpoint)
        except ModelError:
            raise
        except Exception as error:
            raise errors.translate(error, self.endpoint, started=length > 0) from error

    async def _exchange(
        self, request: ReplyRequest, on_provenance: OnProvenance | None, on_changes: OnChanges | None
    ) -> AsyncGenerator[Delta | Finish, None]:
        """Send the request, again whenever a refusal teaches something about what the endpoint accepts."""
        timeouts, started = StreamTimeouts(self.endpoint), False
        async with timeouts.enforce():
            key = await self._api_key()
        for number in range(1, MAX_REQUESTS + 1):
            exchange = Exchange(self.endpoint, self._http, key, self._shape, fresh=request.fresh)
            exchange.on_provenance, exchange.on_changes = on_provenance, on_changes
            try:
                async with aclosing(self._read(exchange, request, timeouts)) as pieces:
                    async for piece in pieces:
                        started = True
                        yield piece
                return
            except (httpx2.HTTPStatusError, errors.StreamedError) as error:
                if started or number == MAX_REQUESTS or not self._learn(errors.read_refusal(error), exchange):
                    raise
            finally:
                await exchange.exit_stack.aclose()

    def _learn(self, refusal: Refusal, exchange: Exchange) -> bool:
        """Learn from a refusal; return True if the request is to be sent again."""
        is_learned = self._shape.learn(refusal, exchange.payload, exchange.sent, exchange.url)
        changes = self._shape.changes(exchange.payload)
        if is_learned and changes != exchange.changes:
            log_args = (self.endpoint.model, "; ".join(changes))
            log.warning("the model %r does not accept a request as it was; from now on: %s", *log_args)
        return is_learned

    async def _read(
        self, exchange: Exchange, request: ReplyRequest, timeouts: StreamTimeouts
    ) -> AsyncGenerator[Delta | Finish, None]:
        """Read the reply of one exchange."""
        reply = ReplyReader(exchange.report_chunk)
        async with timeouts.enforce():
            await self._send(exchange, request)
        batches = event_batches(exchange.response)
        exchange.exit_stack.push_async_callback(batches.aclose)
        while not reply.is_done and (events := await _next_batch(batches, timeouts, reply)) is not None:
            if text := reply.read(events):
                yield Delta(text)
            if reply.error is not None:
                raise reply.error
            if reply.is_progress:
                timeouts.reset(complete=reply.is_complete and not reply.was_early)
        if not reply.is_complete and not reply.is_done:
            raise EOFError("the stream ended before the reply did")
        yield reply.finish()

    async def _send(self, exchange: Exchange, request: ReplyRequest) -> None:
        """Send the request. huggingface_hub prepares it, and `Exchange` keeps the response."""
        await exchange.chat_completion(
            messages=_merge_roles(request.messages),
            model=_routed_model(self.endpoint),
            temperature=request.sampling.temperature,
            top_p=request.sampling.top_p,
            max_tokens=request.sampling.max_tokens,
            seed=request.seed,
            stream=True,
            stream_options=_COUNT_TOKENS,
        )

    async def _api_key(self) -> str | None:
        """Return the API key to send, or None. Check that the Hub can be asked with it."""
        endpoint = self.endpoint
        key = endpoint.api_key
        if key is None and endpoint.is_hugging_face:
            key = await asyncio.to_thread(get_token)  # reads files, and may have to renew a login
            if key is not None:
                key = _clean_token(key)
        if endpoint.url is None:
            _check_hub(endpoint, key)
        return key


async def _next_batch(
    batches: AsyncGenerator[list[str], None], timeouts: StreamTimeouts, reply: ReplyReader
) -> list[str] | None:
    """Return the next events, None after the last ones.

    Once the reply is complete, timeouts and broken connections are ignored: only the token counts can be lost.
    """
    try:
        async with timeouts.enforce():
            return await anext(batches, None)
    except httpx2.SSEError:  # a TransportError too, but the server sent something unreadable
        raise
    except (TimeoutError, httpx2.TransportError):
        if not reply.is_complete:
            raise
        return None


def _clean_token(token: str) -> str:
    """Return the token of Hugging Face without white space around it. Raises KeyRefused."""
    try:
        return clean_key(token, "The Hugging Face token (HF_TOKEN, or that of `hf auth login`)")
    except SettingsError as error:
        raise KeyRefused(str(error)) from error


def _check_hub(endpoint: Endpoint, key: str | None) -> None:
    """Check that Hugging Face's providers can be asked with `key`. Raises KeyRefused, OfflineModeIsEnabled."""
    if is_offline_mode():
        raise OfflineModeIsEnabled
    if key is None:
        raise KeyRefused(
            f"The model {endpoint.model!r} is reached through Hugging Face, which wants a token: "
            "set the environment variable HF_TOKEN, or run `hf auth login`."
        )
    if not key.startswith("hf_"):
        raise KeyRefused(
            f"The key for the model {endpoint.model!r} is not a Hugging Face token; for a key of the provider "
            "itself, set base_url to the provider's own address."
        )


def _routed_model(endpoint: Endpoint) -> str:
    """Return the model id for the endpoint: `model:provider` for Hugging Face's router, which resolves it.

    `AsyncInferenceClient(provider=…)` would ask the Hub for the model first, in a call that blocks the event loop.
    """
    return f"{endpoint.model}:{endpoint.provider}" if endpoint.provider and not endpoint.url else endpoint.model


def _merge_roles(messages: Sequence[ChatMessage]) -> list[dict[str, str]]:
    """Join neighbouring messages of one role by a blank line: some chat templates refuse two in a row."""
    return [
        {"role": role, "content": "\n\n".join(message.content for message in group)}
        for role, group in groupby(messages, key=lambda message: message.role)
    ]

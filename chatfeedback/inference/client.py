"""Streaming client for Hugging Face's inference providers and any OpenAI-compatible server.

huggingface_hub's AsyncInferenceClient prepares the request and parses the chunks. The HTTP exchange in between is our
own, which guarantees:

- a reply has its own connection, closed as soon as its consumer stops, however it stops;
- the Hugging Face token goes to Hugging Face and nowhere else;
- every failure becomes one ModelError (`errors`), and a truncated reply is never taken for a complete one;
- transient errors are retried before the first piece of the reply (`retries`), never after it;
- a reply ends: by a timeout (`timeouts`), or by its length if the server ignores `max_tokens`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing
from itertools import groupby
from typing import Any

import httpx2
from huggingface_hub import (
    AsyncInferenceClient,
    ChatCompletionInputStreamOptions,
    ChatCompletionStreamOutput,
    ChatCompletionStreamOutputChoice,
    get_token,
    is_offline_mode,
)
from huggingface_hub.errors import OfflineModeIsEnabled

from chatfeedback.domain.conversation.events import Provenance
from chatfeedback.errors import KeyRefused, ModelError
from chatfeedback.inference import errors, event_stream, provenance, retries
from chatfeedback.inference.provenance import OnProvenance
from chatfeedback.inference.retries import OnPause
from chatfeedback.inference.timeouts import StreamTimeouts
from chatfeedback.inference.types import ChatMessage, Delta, Endpoint, Finish, ReplyRequest, Sampling

__all__ = [
    "ChatMessage",
    "Delta",
    "Endpoint",
    "Finish",
    "ModelClient",
    "OnPause",
    "OnProvenance",
    "ReplyRequest",
    "Sampling",
]

# The documented header for Hugging Face's inference cache, and the HTTP one for all other caches.
_NO_CACHE = {"x-use-cache": "false", "cache-control": "no-cache"}
_COUNT_TOKENS = ChatCompletionInputStreamOptions(include_usage=True)
# Bytes read of an error response; real ones are far shorter.
_MAX_REFUSAL_BYTES = 2**16


class ModelClient:
    """Client of one model at one endpoint; bound to the event loop that it is first used in."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._counts_tokens = True
        self._http = httpx2.AsyncClient(
            trust_env=not endpoint.is_loopback,  # a proxy of the environment cannot reach this machine
            timeout=None,  # see `StreamTimeouts`: a server's keep-alives must not reset a timeout
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )

    def stream(
        self, request: ReplyRequest, on_pause: OnPause | None = None, on_provenance: OnProvenance | None = None
    ) -> AsyncGenerator[Delta | Finish, None]:
        """Stream the reply in pieces, then exactly one Finish. Raises ModelError.

        To end the reply early, cancel the task that reads it or close the generator: that closes the connection, and
        most servers stop generating. `on_pause` is called for each pause before a retry. `on_provenance` is called
        when the endpoint answers and whenever it reveals more of itself; the last call counts.
        """
        endpoint = self.endpoint
        return retries.retry_until_first_piece(
            lambda: self._attempt(request, on_provenance),
            attempts=endpoint.attempts,
            model=endpoint.model,
            on_pause=on_pause,
        )

    async def aclose(self) -> None:
        """Close the connections; call it once, at the end."""
        await self._http.aclose()

    async def _attempt(
        self, request: ReplyRequest, on_provenance: OnProvenance | None
    ) -> AsyncGenerator[Delta | Finish, None]:
        """Make one attempt; translate every failure to ModelError, and cut off a reply that is too long."""
        length, limit = 0, self.endpoint.max_reply_chars
        try:
            async with aclosing(self._exchange(request, on_provenance)) as pieces:
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
        self, request: ReplyRequest, on_provenance: OnProvenance | None
    ) -> AsyncGenerator[Delta | Finish, None]:
        usage, timeouts, reply_end = None, StreamTimeouts(self.endpoint), _ReplyEnd()
        async with timeouts.enforce():
            key = await self._api_key()
        exchange = _Exchange(self.endpoint, self._http, key, fresh=request.fresh, on_provenance=on_provenance)
        try:
            async with timeouts.enforce():
                chunks = aiter(await self._send(exchange, request))
            while (chunk := await _next_chunk(chunks, timeouts, complete=reply_end.is_complete)) is not None:
                usage = chunk.usage or usage
                exchange.report_provenance(provenance.with_chunk(exchange.provenance, chunk))
                for choice in chunk.choices or ():
                    if text := _text(choice):
                        yield Delta(text)
                    if reply_end.update(choice, text):
                        timeouts.reset(complete=reply_end.is_complete and not reply_end.was_early)
        finally:
            await exchange.exit_stack.aclose()
        if not reply_end.is_complete and not exchange.done:
            raise EOFError("the stream ended before the reply did")
        # Missing or malformed token counts must not fail a complete reply.
        prompt, completion = (getattr(usage, f"{side}_tokens", None) for side in ("prompt", "completion"))
        yield Finish(reply_end.reason, prompt, completion, reply_end.refusal)

    async def _send(self, exchange: _Exchange, request: ReplyRequest) -> AsyncIterable[ChatCompletionStreamOutput]:
        """Send the request; resend it without `stream_options` if the server does not support token counts."""
        while True:
            try:
                return await exchange.chat_completion(
                    messages=_merge_roles(request.messages),
                    model=_routed_model(self.endpoint),
                    temperature=request.sampling.temperature,
                    top_p=request.sampling.top_p,
                    max_tokens=request.sampling.max_tokens,
                    seed=request.seed,
                    stream=True,
                    stream_options=_COUNT_TOKENS if self._counts_tokens else None,
                )
            except httpx2.HTTPStatusError as error:
                is_unsupported = error.response.status_code in (400, 422) and "stream_options" in error.response.text
                if not (is_unsupported and self._counts_tokens):
                    raise
                self._counts_tokens = False

    async def _api_key(self) -> str | None:
        """Return the API key to send, or None. Check that the Hub can be asked with it."""
        endpoint = self.endpoint
        key = endpoint.api_key
        if key is None and endpoint.is_hugging_face:
            key = await asyncio.to_thread(get_token)  # reads files, and may have to renew a login
        if endpoint.url is None:
            _check_hub(endpoint, key)
        return key


class _Exchange(AsyncInferenceClient):
    """HTTP exchange of one reply, open until `exit_stack` is closed. `done`: the server sent `[DONE]`."""

    def __init__(
        self,
        endpoint: Endpoint,
        http: httpx2.AsyncClient,
        key: str | None,
        *,
        fresh: bool,
        on_provenance: OnProvenance | None,
    ) -> None:
        super().__init__(
            base_url=endpoint.url.geturl() if endpoint.url else None,
            # Without a key huggingface_hub would look for the user's token: pass a placeholder that is never sent.
            api_key=key or "none",
            headers=_NO_CACHE if fresh else None,
        )
        self._http = http
        self._has_key = bool(key)
        self._on_provenance = on_provenance
        self.provenance = Provenance(weights_sha256=endpoint.weights_sha256)
        self.done = False

    def report_provenance(self, current: Provenance) -> None:
        """Report the provenance of the reply if it has changed."""
        if current != self.provenance:
            self.provenance = current
            if self._on_provenance is not None:
                self._on_provenance(current)

    async def _inner_post(self, request_parameters: Any, *, stream: bool = False) -> Any:
        """Send the request that huggingface_hub has prepared; it parses the returned lines."""
        headers = dict(request_parameters.headers)
        if not self._has_key:
            headers.pop("authorization", None)
        response = await self.exit_stack.enter_async_context(
            self._http.stream("POST", request_parameters.url, json=request_parameters.json, headers=headers)
        )
        self.report_provenance(provenance.with_request(self.provenance, request_parameters.json, response.headers))
        if not response.is_success:
            raise await _refusal(response)
        lines = self._lines(response)
        self.exit_stack.push_async_callback(lines.aclose)
        return lines

    async def _lines(self, response: httpx2.Response) -> AsyncGenerator[str, None]:
        async with aclosing(event_stream.event_data(response)) as events:
            async for data in events:
                if data.strip() == "[DONE]":
                    self.done = True
                    return
                if data.strip():
                    payload = json.loads(data, parse_constant=lambda _name: None)
                    event_stream.check_chunk(payload)
                    # NaN is not JSON, and huggingface_hub recurses for ever on a field that is NaN.
                    yield f"data: {json.dumps(payload) if 'NaN' in data else data}"


async def _next_chunk(
    chunks: AsyncIterator[ChatCompletionStreamOutput], timeouts: StreamTimeouts, *, complete: bool
) -> ChatCompletionStreamOutput | None:
    """Return the next chunk, None after the last one.

    Once the reply is `complete`, timeouts and broken connections are ignored: only the token counts can be lost.
    """
    try:
        async with timeouts.enforce():
            return await anext(chunks, None)
    except httpx2.SSEError:  # a TransportError too, but the server sent something unreadable
        raise
    except (TimeoutError, httpx2.TransportError):
        if not complete:
            raise
        return None


class _ReplyEnd:
    """End of a reply, collected from the chunks."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.refusal = ""
        self.is_complete = False
        """A finish reason came with the last text, or after it."""
        self.was_early = False
        """Text came after a finish reason: the next reason is not trusted either, and the full timeout applies."""

    def update(self, choice: ChatCompletionStreamOutputChoice, text: str) -> bool:
        """Update from a chunk; return True if it brings text or the first finish reason."""
        refusal = getattr(choice.delta, "refusal", None)
        self.refusal += refusal if isinstance(refusal, str) else ""
        self.was_early |= bool(text) and self.reason is not None
        is_progress = bool(text) or (bool(choice.finish_reason) and self.reason is None)
        if text or choice.finish_reason:
            self.is_complete = bool(choice.finish_reason)
        self.reason = choice.finish_reason or self.reason
        return is_progress


def _text(choice: ChatCompletionStreamOutputChoice) -> str:
    """Return the text of a chunk. Raises TypeError if it is no text: no library has validated it."""
    content: Any = choice.delta.content if choice.delta else None
    if isinstance(content, list):
        return "".join(map(_text_of_block, content))
    if content is not None and not isinstance(content, str):
        raise TypeError(f"the text of a chunk is a {type(content).__name__}")
    return content or ""


def _text_of_block(block: object) -> str:
    """Return the text of a content block (Mistral); thoughts and references are not part of the reply."""
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        raise TypeError("a block of content is none")
    text = block.get("text", "")
    if not isinstance(text, str):
        raise TypeError(f"the text of a block is a {type(text).__name__}")
    return text if block["type"] == "text" else ""


async def _refusal(response: httpx2.Response) -> httpx2.HTTPStatusError:
    """Build the error for an unsuccessful response, with the beginning of its body."""
    body = b""
    async with aclosing(response.aiter_bytes()) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > _MAX_REFUSAL_BYTES:
                break
    headers = [header for header in response.headers.raw if header[0].lower() in (b"content-type", b"retry-after")]
    refusal = httpx2.Response(response.status_code, headers=headers, content=body, request=response.request)
    return httpx2.HTTPStatusError("the endpoint refused", request=response.request, response=refusal)


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

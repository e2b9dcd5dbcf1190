"""Replies from any endpoint, streamed.

One way leads to every model: huggingface_hub's AsyncInferenceClient prepares the request and reads the chunks,
for Hugging Face's providers and for any OpenAI-compatible server. The HTTP exchange between the two is ours, so
that these always hold:

- a reply has a connection of its own, closed the moment its consumer stops, however it stops;
- the Hugging Face token goes to Hugging Face and nowhere else;
- whatever goes wrong leaves as one ModelError (`faults`), and a reply that was cut off is never taken for whole;
- what may pass is asked for again before the first piece of the reply (`retrying`), and never after it;
- a reply ends: by silence (`patience`), or by its length where the server does not keep to `max_tokens`.
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

# What Hugging Face documents for its inference cache, and what HTTP says to every other cache.
_NO_CACHE = {"x-use-cache": "false", "cache-control": "no-cache"}
_COUNT_TOKENS = ChatCompletionInputStreamOptions(include_usage=True)
# What is read of a refusal; whole ones are far shorter.
_REFUSAL_BYTES = 2**16


class ModelClient:
    """Asks one model. Belongs to the event loop that it is first used in."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._counts_tokens = True
        self._http = httpx2.AsyncClient(
            trust_env=not endpoint.is_loopback,  # a proxy of the environment does not lead to this machine
            timeout=None,  # `StreamTimeouts` has its own, for which a server's keep-alives do not count as an answer
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )

    def stream(
        self, request: ReplyRequest, on_pause: OnPause | None = None, on_provenance: OnProvenance | None = None
    ) -> AsyncGenerator[Delta | Finish, None]:
        """The reply in pieces, then exactly one Finish. Raises ModelError.

        Cancel the task that reads it, or close the generator, to end the reply early: that closes the connection,
        and most servers stop to write. `on_pause` is told of the pauses before the endpoint is asked again,
        `on_provenance` when the endpoint answers, and again when it says more of itself; the last time counts.
        """
        endpoint = self.endpoint
        return retries.from_first_piece(
            lambda: self._attempt(request, on_provenance),
            attempts=endpoint.attempts,
            model=endpoint.model,
            on_pause=on_pause,
        )

    async def aclose(self) -> None:
        """Closes what is still open; call it once, at the end."""
        await self._http.aclose()

    async def _attempt(
        self, request: ReplyRequest, on_provenance: OnProvenance | None
    ) -> AsyncGenerator[Delta | Finish, None]:
        """One try. Raises ModelError for whatever goes wrong, and at once for a reply that does not end."""
        length, most = 0, self.endpoint.max_reply_chars
        try:
            async with aclosing(self._exchange(request, on_provenance)) as pieces:
                async for piece in pieces:
                    length += len(piece.text) if isinstance(piece, Delta) else 0
                    if length <= most:
                        yield piece
                        continue
                    if isinstance(piece, Delta) and (kept := piece.text[: most - length]):
                        yield Delta(kept)
                    raise errors.endless(self.endpoint)
        except ModelError:
            raise
        except Exception as error:
            raise errors.translated(error, self.endpoint, begun=length > 0) from error

    async def _exchange(
        self, request: ReplyRequest, on_provenance: OnProvenance | None
    ) -> AsyncGenerator[Delta | Finish, None]:
        usage, patience, end = None, StreamTimeouts(self.endpoint), _End()
        async with patience.waiting():
            key = await self._key()
        exchange = _Exchange(self.endpoint, self._http, key, fresh=request.fresh, on_provenance=on_provenance)
        try:
            async with patience.waiting():
                chunks = aiter(await self._ask(exchange, request))
            while (chunk := await _next(chunks, patience, whole=end.is_whole)) is not None:
                usage = chunk.usage or usage
                exchange.note(provenance.told(exchange.provenance, chunk))
                for choice in chunk.choices or ():
                    if text := _text(choice):
                        yield Delta(text)
                    if end.note(choice, text):
                        patience.reset(whole=end.is_whole and not end.is_early)
        finally:
            await exchange.exit_stack.aclose()
        if not end.is_whole and not exchange.done:
            raise EOFError("the stream ended before the reply did")
        # Counts that are none are no reason to call a whole reply failed.
        prompt, completion = (getattr(usage, f"{side}_tokens", None) for side in ("prompt", "completion"))
        yield Finish(end.reason, prompt, completion, end.refusal)

    async def _ask(self, exchange: _Exchange, request: ReplyRequest) -> AsyncIterable[ChatCompletionStreamOutput]:
        """Sends the request; once more without asking for token counts where the server does not know that."""
        while True:
            try:
                return await exchange.chat_completion(
                    messages=_alternating(request.messages),
                    model=_routed(self.endpoint),
                    temperature=request.sampling.temperature,
                    top_p=request.sampling.top_p,
                    max_tokens=request.sampling.max_tokens,
                    seed=request.seed,
                    stream=True,
                    stream_options=_COUNT_TOKENS if self._counts_tokens else None,
                )
            except httpx2.HTTPStatusError as error:
                refused = error.response.status_code in (400, 422) and "stream_options" in error.response.text
                if not (refused and self._counts_tokens):
                    raise
                self._counts_tokens = False

    async def _key(self) -> str | None:
        """The key to send, None for none. Raises when the Hub cannot be asked with it."""
        endpoint = self.endpoint
        key = endpoint.api_key
        if key is None and endpoint.is_hugging_face:
            key = await asyncio.to_thread(get_token)  # reads files, and may have to renew a login
        if endpoint.url is None:
            _check_hub(endpoint, key)
        return key


class _Exchange(AsyncInferenceClient):
    """One reply's request and response, open until `exit_stack` is closed. `done`: the server said that it is over."""

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
            # Without any key huggingface_hub would look for the user's token: it gets a word that is never sent.
            api_key=key or "none",
            headers=_NO_CACHE if fresh else None,
        )
        self._http = http
        self._keyed = bool(key)
        self._on_provenance = on_provenance
        self.provenance = Provenance(weights_sha256=endpoint.weights_sha256)
        self.done = False

    def note(self, known: Provenance) -> None:
        """Tell what is known by now of where the reply comes from."""
        if known != self.provenance:
            self.provenance = known
            if self._on_provenance is not None:
                self._on_provenance(known)

    async def _inner_post(self, request_parameters: Any, *, stream: bool = False) -> Any:
        """Called by huggingface_hub with the prepared request; it parses the lines that come back."""
        headers = dict(request_parameters.headers)
        if not self._keyed:
            headers.pop("authorization", None)
        response = await self.exit_stack.enter_async_context(
            self._http.stream("POST", request_parameters.url, json=request_parameters.json, headers=headers)
        )
        self.note(provenance.sent(self.provenance, request_parameters.json, response.headers))
        if not response.is_success:
            raise await _refusal(response)
        lines = self._lines(response)
        self.exit_stack.push_async_callback(lines.aclose)
        return lines

    async def _lines(self, response: httpx2.Response) -> AsyncGenerator[str, None]:
        async with aclosing(event_stream.events(response)) as events:
            async for data in events:
                if data.strip() == "[DONE]":
                    self.done = True
                    return
                if data.strip():
                    payload = json.loads(data, parse_constant=lambda _name: None)
                    event_stream.check(payload)
                    # NaN is no JSON, and huggingface_hub sets a field that is NaN for ever.
                    yield f"data: {json.dumps(payload) if 'NaN' in data else data}"


async def _next(
    chunks: AsyncIterator[ChatCompletionStreamOutput], patience: StreamTimeouts, *, whole: bool
) -> ChatCompletionStreamOutput | None:
    """The next chunk, None after the last one. Once the reply is whole, only the token counts can be lost."""
    try:
        async with patience.waiting():
            return await anext(chunks, None)
    except httpx2.SSEError:  # something was said that cannot be read
        raise
    except (TimeoutError, httpx2.TransportError):
        if not whole:
            raise
        return None


class _End:
    """The end of a reply, as far as the chunks tell it."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.refusal = ""
        self.is_whole = False
        """A reason to end came with the last text, or after it."""
        self.is_early = False
        """Text came after a reason to end: the next reason is not believed either, and more is waited for."""

    def note(self, choice: ChatCompletionStreamOutputChoice, text: str) -> bool:
        """Note what a chunk says of the end; return whether it brings text or the first reason."""
        refusal = getattr(choice.delta, "refusal", None)
        self.refusal += refusal if isinstance(refusal, str) else ""
        self.is_early |= bool(text) and self.reason is not None
        is_news = bool(text) or (bool(choice.finish_reason) and self.reason is None)
        if text or choice.finish_reason:
            self.is_whole = bool(choice.finish_reason)
        self.reason = choice.finish_reason or self.reason
        return is_news


def _text(choice: ChatCompletionStreamOutputChoice) -> str:
    """What a chunk adds to the reply. Raises TypeError for what is no text: no library has looked at it."""
    content: Any = choice.delta.content if choice.delta else None
    if isinstance(content, list):
        return "".join(map(_text_of_block, content))
    if content is not None and not isinstance(content, str):
        raise TypeError(f"the text of a chunk is a {type(content).__name__}")
    return content or ""


def _text_of_block(block: object) -> str:
    """Return the text of a block of content (Mistral); thoughts and references are no part of the reply."""
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        raise TypeError("a block of content is none")
    text = block.get("text", "")
    if not isinstance(text, str):
        raise TypeError(f"the text of a block is a {type(text).__name__}")
    return text if block["type"] == "text" else ""


async def _refusal(response: httpx2.Response) -> httpx2.HTTPStatusError:
    """The error for a response that is no success, with the beginning of what it says."""
    said = b""
    async with aclosing(response.aiter_bytes()) as pieces:
        async for piece in pieces:
            said += piece
            if len(said) > _REFUSAL_BYTES:
                break
    kept = [header for header in response.headers.raw if header[0].lower() in (b"content-type", b"retry-after")]
    read = httpx2.Response(response.status_code, headers=kept, content=said, request=response.request)
    return httpx2.HTTPStatusError("the endpoint refused", request=response.request, response=read)


def _check_hub(endpoint: Endpoint, key: str | None) -> None:
    """Raises when Hugging Face's providers cannot be asked with `key`."""
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


def _routed(endpoint: Endpoint) -> str:
    """The model's name as the endpoint knows it.

    Hugging Face's router takes the provider behind the name and resolves it itself. `AsyncInferenceClient(provider=…)`
    would ask the Hub for the model first, in a call that blocks the event loop.
    """
    return f"{endpoint.model}:{endpoint.provider}" if endpoint.provider and not endpoint.url else endpoint.model


def _alternating(messages: Sequence[ChatMessage]) -> list[dict[str, str]]:
    """The messages with neighbours of one role joined by a blank line: some chat templates refuse two in a row."""
    return [
        {"role": role, "content": "\n\n".join(message.content for message in group)}
        for role, group in groupby(messages, key=lambda message: message.role)
    ]

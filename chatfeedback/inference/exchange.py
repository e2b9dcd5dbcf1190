"""HTTP exchange of one request: huggingface_hub prepares it, and the response is kept open for the reader."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import httpx2
from huggingface_hub import AsyncInferenceClient

from chatfeedback.domain.conversation.events import Provenance
from chatfeedback.inference import provenance
from chatfeedback.inference.addresses import is_azure
from chatfeedback.inference.chunks import Chunk
from chatfeedback.inference.provenance import OnProvenance
from chatfeedback.inference.request_shape import OnChanges, RequestShape
from chatfeedback.inference.types import Endpoint

# The documented header for Hugging Face's inference cache, and the HTTP one for all other caches.
_NO_CACHE = {"x-use-cache": "false", "cache-control": "no-cache"}
# Bytes read of an error response; real ones are far shorter.
_MAX_REFUSAL_BYTES = 2**16


class Exchange(AsyncInferenceClient):
    """HTTP exchange of one request, open until `exit_stack` is closed."""

    def __init__(
        self,
        endpoint: Endpoint,
        http: httpx2.AsyncClient,
        key: str | None,
        shape: RequestShape,
        *,
        fresh: bool,
    ) -> None:
        super().__init__(
            base_url=endpoint.url.geturl() if endpoint.url else None,
            # Without a key huggingface_hub would look for the user's token: pass a placeholder that is never sent.
            api_key=key or "none",
            headers=_NO_CACHE if fresh else None,
        )
        self._endpoint = endpoint
        self._http = http
        self._key = key
        self._shape = shape
        self.on_provenance: OnProvenance | None = None
        self.on_changes: OnChanges | None = None
        self._provenance = Provenance(weights_sha256=endpoint.weights_sha256)
        self.payload: Mapping[str, Any] = {}
        """The request as planned."""
        self.sent: Mapping[str, Any] = {}
        """The request as it was sent."""
        self.changes: tuple[str, ...] = ()
        self.url = ""
        self.response: httpx2.Response

    def report_chunk(self, chunk: Chunk) -> None:
        """Report what a chunk reveals of the endpoint."""
        self._report(provenance.with_chunk(self._provenance, chunk))

    def _report(self, current: Provenance) -> None:
        """Report the provenance of the reply if it has changed."""
        if current is not self._provenance and current != self._provenance:
            self._provenance = current
            if self.on_provenance is not None:
                self.on_provenance(current)

    async def _inner_post(self, request_parameters: Any, *, stream: bool = False) -> Any:
        """Send the request that huggingface_hub has prepared, in the shape that the endpoint accepts."""
        headers = dict(request_parameters.headers)
        if not self._key:
            headers.pop("authorization", None)
        elif self._endpoint.url and is_azure(self._endpoint.url) and not self._key.startswith("eyJ"):
            del headers["authorization"]  # only for tokens of Entra, which are JSON Web Tokens
            headers["api-key"] = self._key
        self.payload = request_parameters.json
        self.sent, self.changes = self._shape.apply(self.payload), self._shape.changes(self.payload)
        self.url = self._shape.url or request_parameters.url
        self.response = await self.exit_stack.enter_async_context(
            self._http.stream("POST", self.url, json=self.sent, headers=headers)
        )
        self._report(provenance.with_request(self._provenance, self.sent, self.response.headers))
        if self.on_changes is not None:
            self.on_changes(self.changes)
        if not self.response.is_success:
            raise await _refusal(self.response)
        self._shape.accept(self.url)
        return ()


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

"""Model registry: the configured models with their clients.

Remote models cost nothing until they are asked. The local one loads its weights in the background when the application
starts, so that the page is there at once; a request meanwhile waits for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

from chatfeedback.config.models import ModelSettings
from chatfeedback.config.settings import Settings
from chatfeedback.errors import ChatFeedbackError, ContextExceeded, ModelError, ModelUnreachable
from chatfeedback.inference.chat_model import ChatModel
from chatfeedback.inference.client import Endpoint, ModelClient, Sampling
from chatfeedback.inference.local.process import DEFAULT_MODEL, LocalModel

LOCAL_ENDPOINT = "local (llama.cpp)"
LIMIT_FIELDS = ("first_token_seconds", "timeout_seconds", "max_reply_chars", "attempts")
"""Settings of a model that its endpoint takes over under the same names."""


class ModelRegistry:
    """Registry of the models of the picker, by name, in order; in one event loop from `start` to `close`."""

    def __init__(self, settings: Settings) -> None:
        self._local = settings.local
        self._local_limits = next((_request_limits(model) for model in settings.models if model.local), {})
        self._clients: list[ModelClient] = []
        self._loading: asyncio.Task[ModelClient] | None = None
        self._process: LocalModel | None = None
        self.models = {model.name: self._build_model(model) for model in settings.models}
        self._local_name = next((model.name for model in settings.models if model.local), None)
        self._failing: set[str] = set()

    def start(self) -> None:
        """Start to load the local model, if it is configured."""
        if self._local_name is not None:
            self._loading = asyncio.create_task(self._load())

    async def close(self) -> None:
        """Close all connections and stop the local model."""
        for client in self._clients:
            await client.aclose()
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])
        if self._process is not None:
            await asyncio.to_thread(self._process.stop)

    def states(self) -> dict[str, int]:
        """Count the models that are `ready`, `loading` and `failing`; the last failed at their last reply."""
        states = Counter({"ready": 0, "loading": 0, "failing": 0})
        states.update(map(self._state, self.models))
        return dict(states)

    def _state(self, name: str) -> str:
        if name == self._local_name:
            if self._loading is None or not self._loading.done():
                return "loading"
            if self._has_failed():
                return "failing"
        return "failing" if name in self._failing else "ready"

    def _record_result(self, name: str, error: ModelError | None) -> None:
        if error is None:
            self._failing.discard(name)
        elif not isinstance(error, ContextExceeded):  # that is the conversation's fault, not the model's
            self._failing.add(name)

    def _build_model(self, model: ModelSettings) -> ChatModel:
        if model.local:
            endpoint_name, connect, window = LOCAL_ENDPOINT, self._connect_local, self._local_window
            model_id = self._local.gguf.stem if self._local.gguf else DEFAULT_MODEL
        else:
            key = model.resolve_api_key()
            endpoint = Endpoint(
                model=model.model,
                provider=model.provider,
                base_url=model.base_url,
                api_key=key.get_secret_value() if key else None,
                **_request_limits(model),
            )
            client = ModelClient(endpoint)
            self._clients.append(client)

            async def connect() -> ModelClient:
                return client

            def window() -> int | None:
                return model.context_tokens

            endpoint_name, model_id = endpoint.public_name, model.model
        return ChatModel(
            name=model.name,
            model=model_id,
            endpoint=endpoint_name,
            provider=model.provider,
            sampling=Sampling(model.temperature, model.top_p, model.max_tokens),
            system_prompt=model.system_prompt,
            window=window,
            connect=connect,
            on_result=partial(self._record_result, model.name),
        )

    async def _load(self) -> ModelClient:
        local = self._local
        process = await asyncio.to_thread(
            LocalModel.start, local.gguf, context_tokens=local.context_tokens, threads=local.threads
        )
        self._process = process
        client = ModelClient(replace(process.endpoint, **self._local_limits))
        self._clients.append(client)
        return client

    def _local_window(self) -> int | None:
        # Unknown while the weights load; a thread that turns out too long is shrunk when the model rejects it.
        return self._process.context_tokens if self._process else self._local.context_tokens

    def _has_failed(self) -> bool:
        """Return True if the last attempt to load the local model failed, or its process has died since."""
        if self._loading is None or not self._loading.done():
            return False
        return self._loading.exception() is not None or not (self._process and self._process.is_running)

    async def _connect_local(self) -> ModelClient:
        if self._loading is None or self._has_failed():
            self.start()  # so that Retry can succeed after any failure
        assert self._loading is not None  # noqa: S101 - start() has set it
        try:
            return await asyncio.shield(self._loading)
        except ChatFeedbackError as error:
            raise ModelUnreachable(f"The local model could not be started. {error}") from error


def _request_limits(model: ModelSettings) -> dict[str, Any]:
    return {name: getattr(model, name) for name in LIMIT_FIELDS}

"""Health checks and metrics for operators: `/healthz`, `/readyz` and `/metrics`.

`/healthz` is the liveness check: the process is alive; if it does not respond, restart it. `/readyz` is the readiness
check: the process can work, so send requests to it. It fails while the database is down, which a restart does not
help. Both need no authentication and reveal no names.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from chatfeedback.errors import StoreError
from chatfeedback.server.metrics import Metrics
from chatfeedback.services.chat import ChatService
from chatfeedback.store.database import migrate
from chatfeedback.store.database.errors import translating
from chatfeedback.store.log.event_store import EventStore

DATABASE_TIMEOUT_SECONDS = 2.0
"""Seconds after which a database that does not respond counts as unavailable."""
ModelStates = Callable[[], Mapping[str, int]]
"""Function that returns the number of models that are `ready`, `loading` and `failing`."""


class Health:
    """Readiness of this process: probes the store and the models on request. Bound to one event loop."""

    def __init__(self, store: EventStore, service: ChatService, models: ModelStates) -> None:
        self._store = store
        self._service = service
        self._models = models
        self._probe_task: asyncio.Task[str] | None = None

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        """Return whether requests may be sent to this process, and the states that this depends on."""
        database = await self._database()
        models = self._models()
        can_answer = models["loading"] < sum(models.values())
        ready = database == "ready" and can_answer and not self._service.ending
        status = "ending" if self._service.ending else "ready" if ready else "not ready"
        return ready, {"status": status, "database": database, "models": dict(models)}

    async def _database(self) -> str:
        if self._store.availability.trouble is not None:
            return "unavailable"
        # One probe at a time: a database that hangs must not take a thread for each request.
        if self._probe_task is None or self._probe_task.done():
            self._probe_task = asyncio.create_task(asyncio.to_thread(self._probe))
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS):
                return await asyncio.shield(self._probe_task)
        except TimeoutError:
            return "unavailable"

    def _probe(self) -> str:
        try:
            with translating(), self._store.engine.connect() as connection:
                return "ready" if migrate.is_at_head(connection) else "of another release"
        except StoreError as error:
            self._store.availability.failed(error)
            return "unavailable"


def health_routes(health: Health, metrics: Metrics, *, token: str | None, is_open: bool) -> APIRouter:
    """Return the three routes.

    Args:
        health: The readiness of this process.
        metrics: The metrics to publish.
        token: The bearer token that `/metrics` requires.
        is_open: Serve `/metrics` without a token if none is configured.
    """
    router = APIRouter(include_in_schema=False)
    methods = ["GET", "HEAD"]

    @router.api_route("/healthz", methods=methods)
    async def alive() -> Response:
        return JSONResponse({"status": "alive"})

    @router.api_route("/readyz", methods=methods)
    async def ready() -> Response:
        is_ready, states = await health.ready()
        return JSONResponse(states, status_code=200 if is_ready else 503)

    @router.api_route("/metrics", methods=methods)
    async def prometheus_metrics(request: Request) -> Response:
        if token is None and not is_open:
            return PlainTextResponse("Set metrics_token to have metrics here.\n", status_code=404)
        authorization = request.headers.get("authorization", "").encode()
        if token is not None and not hmac.compare_digest(authorization, f"Bearer {token}".encode()):
            return PlainTextResponse(
                "Show the token of the metrics.\n", status_code=401, headers={"WWW-Authenticate": "Bearer"}
            )
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router

"""What the server says of itself to those who look after it: `/healthz`, `/readyz` and `/metrics`.

`/healthz`: the process is alive; who gets no answer may start it again. `/readyz`: it can do its work, so requests may
be sent to it; a database that is away is no reason to start anything again. Both are open to anybody and name nothing.
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

PATIENCE_SECONDS = 2.0
"""After which a database that does not answer counts as away."""
ModelStates = Callable[[], Mapping[str, int]]
"""How many models are `ready`, `loading` and `failing`."""


class Health:
    """Looks at the store and the models when it is asked. Lives in one event loop."""

    def __init__(self, store: EventStore, service: ChatService, models: ModelStates) -> None:
        self._store = store
        self._service = service
        self._models = models
        self._looking: asyncio.Task[str] | None = None

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether requests may be sent here, and what that is made of."""
        database = await self._database()
        models = self._models()
        can_answer = models["loading"] < sum(models.values())
        ready = database == "ready" and can_answer and not self._service.ending
        status = "ending" if self._service.ending else "ready" if ready else "not ready"
        return ready, {"status": status, "database": database, "models": dict(models)}

    async def _database(self) -> str:
        if self._store.availability.trouble is not None:
            return "unavailable"
        # One look at a time: a database that hangs must not take a thread for each who asks.
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(asyncio.to_thread(self._look))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await asyncio.shield(self._looking)
        except TimeoutError:
            return "unavailable"

    def _look(self) -> str:
        try:
            with translating(), self._store.engine.connect() as connection:
                return "ready" if migrate.is_at_head(connection) else "of another release"
        except StoreError as error:
            self._store.availability.failed(error)
            return "unavailable"


def health_routes(health: Health, metrics: Metrics, *, token: str | None, is_open: bool) -> APIRouter:
    """The three routes. `token` opens `/metrics`; without one it answers if `is_open`."""
    router = APIRouter(include_in_schema=False)
    looking = ["GET", "HEAD"]

    @router.api_route("/healthz", methods=looking)
    async def alive() -> Response:
        return JSONResponse({"status": "alive"})

    @router.api_route("/readyz", methods=looking)
    async def ready() -> Response:
        is_ready, found = await health.ready()
        return JSONResponse(found, status_code=200 if is_ready else 503)

    @router.api_route("/metrics", methods=looking)
    async def figures(request: Request) -> Response:
        if token is None and not is_open:
            return PlainTextResponse("Set metrics_token to have metrics here.\n", status_code=404)
        shown = request.headers.get("authorization", "").encode()
        if token is not None and not hmac.compare_digest(shown, f"Bearer {token}".encode()):
            return PlainTextResponse(
                "Show the token of the metrics.\n", status_code=401, headers={"WWW-Authenticate": "Bearer"}
            )
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router

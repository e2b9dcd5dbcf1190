"""Version of a conversation, which open pages poll every few seconds (assets/following.js).

The response needs one row of the database. A version that the page does not have means that another tab, process or
device has changed the conversation (docs/adr/0016).
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chatfeedback.domain.roles import Person
from chatfeedback.errors import NotFound
from chatfeedback.server.error_responses import refusal
from chatfeedback.services.chat import ChatService


def version_routes(service: ChatService, person: Callable[[Request], Person]) -> APIRouter:
    """Return the route GET `/conversations/{id}/version`; `person` returns the user of a request."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/conversations/{conversation_id}/version", methods=["GET", "HEAD"])
    async def version(request: Request, conversation_id: str) -> Response:
        try:
            return JSONResponse({"version": await service.version(person(request).annotator_id, conversation_id)})
        except NotFound as error:
            return refusal(request.scope, 404, str(error))

    return router

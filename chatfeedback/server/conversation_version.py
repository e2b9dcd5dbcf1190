"""The version of a conversation, which open pages ask for every few seconds (assets/following.js).

The answer is made from one row: it says whether something else than the page has changed the conversation.
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


def following_routes(service: ChatService, person: Callable[[Request], Person]) -> APIRouter:
    """GET `/conversations/{id}/version`."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/conversations/{conversation_id}/version", methods=["GET", "HEAD"])
    async def version(request: Request, conversation_id: str) -> Response:
        try:
            return JSONResponse({"version": await service.version(person(request).annotator_id, conversation_id)})
        except NotFound as error:
            return refusal(request.scope, 404, str(error))

    return router

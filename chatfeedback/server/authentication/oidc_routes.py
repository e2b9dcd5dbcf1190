"""Routes of the sign-in at an OpenID Connect provider: the redirect there, and the callback.

The pending state is kept in the browser, in a signed cookie, for ten minutes and for one callback.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import asdict

from fastapi import APIRouter
from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from chatfeedback.auth.oidc.client import OidcClient, Pending
from chatfeedback.auth.service import AuthService
from chatfeedback.errors import ChatFeedbackError, SignInRefused
from chatfeedback.server.authentication.authenticators import cookie, cookie_name
from chatfeedback.server.authentication.csrf import ENDED, drop_cookie, next_address, set_cookie
from chatfeedback.server.authentication.routes import begin_session, status_of
from chatfeedback.server.templates import render

log = logging.getLogger(__name__)
PENDING_COOKIE = "chatfeedback_oidc"
PENDING_SECONDS = 600
CALLBACK = "/login/oidc/callback"


def oidc_routes(
    auth_service: AuthService, client: OidcClient, *, key: bytes, label: str, public_url: str, session_seconds: float
) -> APIRouter:
    """Return GET `/login`, and `/login/oidc` with its callback. `label`: of the button. `key`: signs the cookie."""
    serializer = URLSafeTimedSerializer(
        key, salt="oidc", signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
    )
    router = APIRouter(include_in_schema=False)

    def login_page(request: Request, error: ChatFeedbackError | None = None) -> Response:
        asked = next_address(request.query_params.get("next"))
        status = status_of(error) if error else 200
        ended = ENDED in request.query_params
        return render("login.html", status=status, token="", next=asked, name="", error=error, ended=ended, oidc=label)

    @router.api_route("/login", methods=["GET", "HEAD"])
    def show(request: Request) -> Response:
        return login_page(request)

    @router.post("/login")
    def no_passwords() -> Response:
        return RedirectResponse("/login", status_code=303)

    @router.get("/login/oidc")
    async def begin(request: Request) -> Response:
        try:
            begun = await client.begin(f"{public_url}{CALLBACK}")
        except ChatFeedbackError as error:
            log.warning("a sign-in could not begin: %s", error)
            return login_page(request, error)
        response = RedirectResponse(begun.address, status_code=303)
        address = next_address(request.query_params.get("next"))
        signed = str(serializer.dumps({"pending": asdict(begun.pending), "next": address}))
        set_cookie(response, request, PENDING_COOKIE, signed, max_age=PENDING_SECONDS)
        return response

    @router.get(CALLBACK)
    async def finish(request: Request) -> Response:
        try:
            signed = cookie(request.scope, cookie_name(PENDING_COOKIE, request.scope))
            pending, address = _load(serializer, signed or "")
            identity = await client.complete(pending, dict(request.query_params))
            token = await asyncio.to_thread(auth_service.sign_in_with, identity.issuer, identity.subject, identity.name)
        except ChatFeedbackError as error:
            log.warning("a sign-in was refused: %s", error)
            response = login_page(request, error)
        else:
            response = begin_session(request, token, address, session_seconds)
        drop_cookie(response, request, PENDING_COOKIE)
        return response

    return router


def _load(serializer: URLSafeTimedSerializer, signed: str) -> tuple[Pending, str]:
    """Return the pending state and the address to go to. Raises SignInRefused for a forged or an expired cookie."""
    try:
        stored = serializer.loads(signed, max_age=PENDING_SECONDS)
    except BadData:
        raise SignInRefused("This sign-in was not begun in this browser, or took too long; begin it again.") from None
    return Pending(**stored["pending"]), next_address(stored["next"])

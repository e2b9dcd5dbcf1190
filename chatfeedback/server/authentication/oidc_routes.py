"""Sign-in at an OpenID Connect provider: the way there, and the way back.

What must be remembered in between is in the browser, in a cookie that only we can have made, for ten minutes and for
one try.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import time
from dataclasses import asdict

import orjson
from fastapi import APIRouter
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
    """GET `/login`, and `/login/oidc` with its callback. `label`: what the button says. `key`: for the cookie."""
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
        sealed = _sealed(key, begun.pending, address)
        set_cookie(response, request, PENDING_COOKIE, sealed, max_age=PENDING_SECONDS)
        return response

    @router.get(CALLBACK)
    async def finish(request: Request) -> Response:
        try:
            kept = cookie(request.scope, cookie_name(PENDING_COOKIE, request.scope))
            pending, address = _opened(key, kept or "")
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


def _sealed(key: bytes, pending: Pending, address: str) -> str:
    value = orjson.dumps({"pending": asdict(pending), "next": address, "until": int(time.time()) + PENDING_SECONDS})
    seal = hmac.new(key, value, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(seal + value).decode()


def _opened(key: bytes, sealed: str) -> tuple[Pending, str]:
    """What `_sealed` put away. Raises SignInRefused for anything else, and when it is too late."""
    try:
        whole = base64.urlsafe_b64decode(sealed.encode("ascii", "replace"))
    except (binascii.Error, ValueError):
        whole = b""
    seal, value = whole[:32], whole[32:]
    if hmac.compare_digest(seal, hmac.new(key, value, hashlib.sha256).digest()):
        kept = orjson.loads(value)
        if kept["until"] >= time.time():
            return Pending(**kept["pending"]), next_address(kept["next"])
    raise SignInRefused("This sign-in was not begun in this browser, or took too long; begin it again.")

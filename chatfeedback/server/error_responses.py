"""Refusals as answers: a page for somebody who opens an address, one line of text for everything else.

A page that is opened while the database is away comes by itself when that is back. What was sent is never sent again.
"""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import Scope

from chatfeedback.server import security_headers
from chatfeedback.server.authentication.authenticators import COOKIE, cookie, cookie_name, header, is_secure
from chatfeedback.server.authentication.csrf import ENDED
from chatfeedback.server.templates import render

NO_CONSENT = "no_consent"
"""The code of a refusal that sends people to the consent text."""
AGAIN_SECONDS = 5
"""After which a browser asks again for what could not be shown because the database is away."""


def refusal(scope: Scope, status: int, sentence: str, code: str = "") -> Response:
    """The answer for a refusal. Whoever opens the page without having signed in or agreed is sent to do so."""
    if not _opens_a_page(scope):
        return PlainTextResponse(f"{sentence}\n", status_code=status)
    if status == 401:
        # A browser forgets the cookie with the session; one that still has it has a session that has ended.
        had_session = scope["method"] == "GET" and cookie(scope, cookie_name(COOKIE, scope)) is not None
        query = urlencode({"next": _address(scope), **({ENDED: ""} if had_session else {})})
        return RedirectResponse(f"/login?{query}", status_code=303)
    if code == NO_CONSENT:
        return RedirectResponse(f"/consent?{urlencode({'next': _address(scope)})}", status_code=303)
    if status == 503 and scope["method"] == "GET":
        return render("away.html", status=status, headers={"refresh": str(AGAIN_SECONDS)})
    return render("refused.html", status=status, sentence=sentence, code=status)


def broken(request: Request, _error: Exception) -> Response:
    """The answer to an error that nobody foresaw, made outside of the gate; the error itself goes to the log."""
    headers = security_headers.headers(secure=is_secure(request.scope))
    headers |= {"content-security-policy": security_headers.OWN_PAGES, "cache-control": "no-store"}
    return PlainTextResponse("Something went wrong here; try again.\n", status_code=500, headers=headers)


def _opens_a_page(scope: Scope) -> bool:
    """Whether a person looks at the answer: to an address, or to a form that was sent."""
    return "text/html" in (header(scope, "accept") or "")


def _address(scope: Scope) -> str:
    if scope["method"] == "POST":
        return "/"  # a form of before is not sent again
    query = scope["query_string"].decode("latin-1")
    return f"{scope['path']}?{query}" if query else str(scope["path"])

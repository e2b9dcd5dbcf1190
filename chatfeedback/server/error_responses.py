"""Error responses: an HTML page for browser navigation, one line of plain text for every other request.

While the database is down, a page that was requested with GET reloads itself until the database is back. A form is
never sent again.
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
"""Code of a refusal that redirects the user to the consent text."""
REFRESH_SECONDS = 5
"""Seconds after which a browser reloads a page that needs the database, while that is down."""


def refusal(scope: Scope, status: int, sentence: str, code: str = "") -> Response:
    """Return the response of a refused request.

    A navigation without a session is redirected to the sign-in page; one without consent, to the consent text.
    """
    if not _accepts_html(scope):
        return PlainTextResponse(f"{sentence}\n", status_code=status)
    if status == 401:
        # A browser drops the cookie together with the session; if it still sends it, the session has ended.
        had_session = scope["method"] == "GET" and cookie(scope, cookie_name(COOKIE, scope)) is not None
        query = urlencode({"next": _address(scope), **({ENDED: ""} if had_session else {})})
        return RedirectResponse(f"/login?{query}", status_code=303)
    if code == NO_CONSENT:
        return RedirectResponse(f"/consent?{urlencode({'next': _address(scope)})}", status_code=303)
    if status == 503 and scope["method"] == "GET":
        return render("away.html", status=status, headers={"refresh": str(REFRESH_SECONDS)})
    return render("refused.html", status=status, sentence=sentence, code=status)


def internal_error(request: Request, _error: Exception) -> Response:
    """Return the response to an unexpected error; the error itself goes to the log.

    Starlette calls this outside of the access middleware, so the security headers are added here.
    """
    headers = security_headers.headers(secure=is_secure(request.scope))
    headers |= {"content-security-policy": security_headers.OWN_PAGES, "cache-control": "no-store"}
    return PlainTextResponse("Something went wrong here; try again.\n", status_code=500, headers=headers)


def _accepts_html(scope: Scope) -> bool:
    """Return True for a navigation: a user opened an address or submitted a form, and sees the response."""
    return "text/html" in (header(scope, "accept") or "")


def _address(scope: Scope) -> str:
    if scope["method"] == "POST":
        return "/"  # a form is not sent again
    query = scope["query_string"].decode("latin-1")
    return f"{scope['path']}?{query}" if query else str(scope["path"])

"""CSRF protection: forms that only our own pages can send.

Every form carries a token, a keyed hash of its purpose and of the browser that it was made for: the session, or before
there is one, a random value in a cookie. A page of another site can make a browser send a form, but cannot know the
token (OWASP, "Signed Double-Submit Cookie").
"""

from __future__ import annotations

import hashlib
import re
import secrets
from urllib.parse import parse_qsl, urlencode

from itsdangerous import Signer
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from chatfeedback.auth import links
from chatfeedback.auth.current_user import CSRF_FIELD, person_in
from chatfeedback.errors import InputError
from chatfeedback.server.authentication.authenticators import cookie, cookie_name, is_secure

BROWSER_COOKIE = "chatfeedback_form"
ENDED = "ended"
"""Parameter of `/login`, without a value: the session of the page has ended."""
_OURS = re.compile(r"[A-Za-z0-9_-]{32}")
"""Pattern of our values of BROWSER_COOKIE."""
_PARAMETERS = {"conversation": re.compile("[0-9a-f-]{36}"), links.PARAMETER: re.compile("[A-Za-z0-9_.-]{1,4000}")}
"""Allowed parameters of an own address. Mail and social services add others to links."""


class Forms:
    """Issuer and verifier of form tokens. `key`: a secret of this database."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def token(self, request: Request, purpose: str) -> str:
        """Return the token of a form for this browser. Raises InputError without a session or a cookie."""
        return self._signer(purpose).get_signature(_owner(request)).decode()

    async def sent(self, request: Request, purpose: str) -> FormData:
        """Return the fields of a form that was sent with its token. Raises InputError for any other."""
        form = await request.form(max_files=0, max_fields=50)
        token = form.get(CSRF_FIELD)
        owner = _owner(request)
        if not isinstance(token, str) or not self._signer(purpose).verify_signature(
            owner, token.encode("utf-8", "replace")
        ):
            raise InputError("This form is too old, or was not made here; open the page again and send it from there.")
        return form

    def first(self, request: Request) -> tuple[str, str]:
        """Return the cookie of a browser without a session, and the token of its sign-in form."""
        value = cookie(request.scope, cookie_name(BROWSER_COOKIE, request.scope))
        if value is None or not _OURS.fullmatch(value):
            value = secrets.token_urlsafe(24)
        return value, self._signer("login").get_signature(f"browser {value}").decode()

    def _signer(self, purpose: str) -> Signer:
        return Signer(self._key, salt=f"form {purpose}", key_derivation="hmac", digest_method=hashlib.sha256)


def remember(response: Response, request: Request, value: str) -> None:
    """Set the cookie of `Forms.first`."""
    set_cookie(response, request, BROWSER_COOKIE, value, max_age=None, strict=True)


def set_cookie(
    response: Response, request: Request, name: str, value: str, *, max_age: int | None, strict: bool = False
) -> None:
    """Set an HttpOnly, SameSite cookie; Secure if the request came over TLS."""
    response.set_cookie(
        cookie_name(name, request.scope),
        value,
        max_age=max_age,
        path="/",
        secure=is_secure(request.scope),
        httponly=True,
        samesite="strict" if strict else "lax",
    )


def drop_cookie(response: Response, request: Request, name: str) -> None:
    """Delete a cookie."""
    response.delete_cookie(
        cookie_name(name, request.scope), path="/", secure=is_secure(request.scope), httponly=True, samesite="lax"
    )


def next_address(asked: object) -> str:
    """Return the address to go to afterwards: the page, a conversation on it or a link to a study, and nowhere else.

    Other parameters are left out.
    """
    path, _, query = asked.partition("?") if isinstance(asked, str) else ("", "", "")
    if path != "/":
        return "/"
    said = {
        name: value for name, value in parse_qsl(query) if name in _PARAMETERS and _PARAMETERS[name].fullmatch(value)
    }
    return f"/?{urlencode(said)}" if said else "/"


def text_field(form: FormData, name: str) -> str:
    """Return a text field of a form; "" without it."""
    value = form.get(name)
    return value if isinstance(value, str) else ""


def _owner(request: Request) -> str:
    person = person_in(request.scope)
    if person is not None:
        return f"session {person.session_id or person.annotator_id}"
    value = cookie(request.scope, cookie_name(BROWSER_COOKIE, request.scope))
    if value is None:
        raise InputError("Your browser did not send the cookie of this page back; allow cookies, and open it again.")
    return f"browser {value}"

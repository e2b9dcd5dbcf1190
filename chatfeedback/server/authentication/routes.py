"""Authentication routes: sign-in with a password, sign-out, consent, and change of password.

The authentication mode decides which of them exist. All of them work without scripts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from chatfeedback.auth.hashing_pool import HashingPool
from chatfeedback.auth.service import AuthService
from chatfeedback.domain.roles import Person
from chatfeedback.errors import (
    ChatFeedbackError,
    InputError,
    NotAllowed,
    ProviderUnavailable,
    SignInRefused,
    StoreError,
    TooMany,
)
from chatfeedback.server.authentication.authenticators import COOKIE
from chatfeedback.server.authentication.csrf import (
    ENDED,
    Forms,
    drop_cookie,
    next_address,
    remember,
    set_cookie,
    text_field,
)
from chatfeedback.server.templates import render


@dataclass(frozen=True, slots=True)
class Consent:
    """Consent text that users must agree to, with its version."""

    version: str
    text: str

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs of the text, which empty lines separate."""
        return [paragraph.strip() for paragraph in self.text.split("\n\n") if paragraph.strip()]


def status_of(error: ChatFeedbackError) -> int:
    """Return the HTTP status of an error."""
    statuses: tuple[tuple[type[ChatFeedbackError], int], ...] = (
        (InputError, 400),
        (SignInRefused, 401),
        (NotAllowed, 403),
        (TooMany, 429),
        (ProviderUnavailable, 502),
        (StoreError, 503),
    )
    return next((status for error_type, status in statuses if isinstance(error, error_type)), 400)


def begin_session(request: Request, token: str, address: str, seconds: float) -> Response:
    """Return a redirect to `address` that sets the session cookie."""
    response = RedirectResponse(address, status_code=303)
    set_cookie(response, request, COOKIE, token, max_age=int(seconds))
    return response  # keep the form cookie: another tab may still show a form with its token


def password_routes(
    auth_service: AuthService, hashing: HashingPool, forms: Forms, *, session_seconds: float
) -> APIRouter:
    """Return GET and POST `/login` for accounts with a password, and `/password` to change it."""
    router = APIRouter(include_in_schema=False)

    def login_page(
        request: Request, *, name: str = "", next_url: object = None, error: ChatFeedbackError | None = None
    ) -> Response:
        value, token = forms.first(request)
        headers = {"retry-after": str(round(error.retry_after))} if isinstance(error, TooMany) else None
        status = status_of(error) if error else 200
        page = render(
            "login.html",
            status=status,
            headers=headers,
            token=token,
            next=next_address(next_url),
            name=name,
            error=error,
            ended=ENDED in request.query_params,
            oidc=None,
        )
        remember(page, request, value)
        return page

    @router.api_route("/login", methods=["GET", "HEAD"])
    def show(request: Request) -> Response:
        return login_page(request, next_url=request.query_params.get("next"))

    @router.post("/login")
    async def sign_in(request: Request) -> Response:
        name = next_url = ""
        try:
            form = await forms.sent(request, "login")
            name, next_url = text_field(form, "name"), text_field(form, "next")
            address = request.client.host if request.client else ""
            token = await hashing.run(auth_service.sign_in, name, text_field(form, "password"), address)
        except (InputError, SignInRefused, TooMany, StoreError) as error:
            if isinstance(error, TooMany):
                auth_service.record_too_many_sign_ins()
            return login_page(request, name=name, next_url=next_url, error=error)
        return begin_session(request, token, next_address(next_url), session_seconds)

    def password_page(request: Request, *, error: ChatFeedbackError | None = None, done: bool = False) -> Response:
        status = status_of(error) if error else 200
        token = forms.token(request, "password")
        return render("password.html", status=status, token=token, error=error, done=done)

    @router.api_route("/password", methods=["GET", "HEAD"])
    def show_password(request: Request) -> Response:
        return password_page(request)

    @router.post("/password")
    async def change_password(request: Request) -> Response:
        try:
            form = await forms.sent(request, "password")
            if text_field(form, "new") != text_field(form, "again"):
                raise InputError("The new password was not the same both times.")
            address = request.client.host if request.client else ""
            current, new = text_field(form, "old"), text_field(form, "new")
            await hashing.run(auth_service.change_password, request.state.person, current, new, address)
        except (InputError, SignInRefused, TooMany, StoreError) as error:
            return password_page(request, error=error)
        return password_page(request, done=True)

    return router


def session_routes(auth_service: AuthService, forms: Forms, consent: Consent | None, *, signs_in: bool) -> APIRouter:
    """Return POST `/logout`, and `/consent` if there is a consent text; `signs_in` if users have sessions."""
    router = APIRouter(include_in_schema=False)

    @router.post("/logout")
    async def sign_out(request: Request) -> Response:
        try:
            await forms.sent(request, "logout")
            await asyncio.to_thread(auth_service.sign_out, request.state.person)
        except (InputError, StoreError) as error:
            return render("refused.html", status=status_of(error), sentence=str(error), code=status_of(error))
        response = RedirectResponse("/login" if signs_in else "/", status_code=303)
        drop_cookie(response, request, COOKIE)
        response.headers["Clear-Site-Data"] = '"cache", "storage"'  # storage holds drafts of prompts
        return response

    if consent is not None:
        _add_consent(router, auth_service, forms, consent)
    return router


def _add_consent(router: APIRouter, auth_service: AuthService, forms: Forms, consent: Consent) -> None:
    def page(request: Request, next_url: object, error: ChatFeedbackError | None = None) -> Response:
        person: Person = request.state.person
        return render(
            "consent.html",
            status=status_of(error) if error else 200,
            token=forms.token(request, "consent"),
            logout=forms.token(request, "logout") if person.session_id else None,
            consent=consent,
            next=next_address(next_url),
            error=error,
        )

    @router.api_route("/consent", methods=["GET", "HEAD"])
    def show(request: Request) -> Response:
        return page(request, request.query_params.get("next"))

    @router.post("/consent")
    async def agree(request: Request) -> Response:
        next_url = ""
        try:
            form = await forms.sent(request, "consent")
            next_url = text_field(form, "next")
            await asyncio.to_thread(auth_service.consent, request.state.person, text_field(form, "version"))
        except ChatFeedbackError as error:
            return page(request, next_url, error)
        return RedirectResponse(next_address(next_url), status_code=303)

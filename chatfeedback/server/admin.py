"""Admin pages: users, erasure and the audit log, as plain HTML without scripts.

The access middleware requires the permission `administer`. Every form carries a CSRF token. An erasure cannot be
undone, so its form also requires a typed confirmation.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from sqlalchemy import Engine
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from chatfeedback.auth import passwords
from chatfeedback.auth.commands import validate_name
from chatfeedback.auth.hashing_pool import HashingPool
from chatfeedback.domain.query_string import single_values
from chatfeedback.domain.roles import ROLES, Person, Role
from chatfeedback.errors import ChatFeedbackError, InputError, NotFound
from chatfeedback.server.authentication.csrf import Forms, text_field
from chatfeedback.server.authentication.routes import status_of
from chatfeedback.server.templates import render
from chatfeedback.store.accounts import annotators, audit, sessions, users
from chatfeedback.store.accounts.users import User
from chatfeedback.store.erasure import erasure

ENTRIES = 100
"""Audit entries on one page."""
CONFIRMATION = "erase for ever"
PURPOSE = "administration"
"""Purpose of the CSRF tokens of these forms."""


class AdminPages:
    """Admin pages and their forms.

    Args:
        engine: The database.
        hashing: The threads that hash passwords.
        forms: Maker and checker of CSRF tokens.
        local_passwords: Whether users sign in with a password of this server, so that a new user gets one.
        issuer: The OpenID Connect issuer, if there is one.
    """

    def __init__(
        self, engine: Engine, hashing: HashingPool, forms: Forms, *, local_passwords: bool, issuer: str | None
    ) -> None:
        self._engine = engine
        self._hashing = hashing
        self._forms = forms
        self._passwords = local_passwords
        self._issuer = issuer

    def routes(self) -> APIRouter:
        """Return the routes below `/admin`."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/admin", self.show_users, methods=["GET"])
        router.add_api_route("/admin/users", self.add_user, methods=["POST"])
        router.add_api_route("/admin/users/{annotator_id}", self.show_user, methods=["GET"])
        router.add_api_route("/admin/users/{annotator_id}/{change}", self.change_user, methods=["POST"])
        router.add_api_route("/admin/erase", self.show_erasure, methods=["GET"])
        router.add_api_route("/admin/erase", self.erase, methods=["POST"])
        router.add_api_route("/admin/audit", self.show_audit, methods=["GET"])
        return router

    # Users

    async def show_users(self, request: Request) -> Response:
        """Show all users, and a form for a new one."""
        return await self._users_page(request)

    async def add_user(self, request: Request) -> Response:
        """Add a user; a password that is generated for them is shown once."""
        name = ""
        try:
            form = await self._forms.sent(request, PURPOSE)
            name, subject = validate_name(text_field(form, "name")), text_field(form, "subject").strip()
            password = secrets.token_urlsafe(12) if self._passwords else None
            identity = (self._issuer, subject) if self._issuer and subject else None

            def add() -> None:
                users.add(
                    self._engine,
                    name,
                    _role(form),
                    actor_id=_actor(request),
                    password_hash=passwords.hash_password(password, name) if password else None,
                    identity=identity,
                )

            await self._hashing.run(add)
        except ChatFeedbackError as error:
            return await self._users_page(request, error=error, name=name)
        return await self._users_page(request, added=name, password=password)

    async def show_user(self, request: Request, annotator_id: str) -> Response:
        """Show one user, and the changes that can be made."""
        return await self._user_page(request, annotator_id)

    async def change_user(self, request: Request, annotator_id: str, change: str) -> Response:
        """Change a user: role, password, disabled or enabled, or end all their sessions."""
        password = None
        try:
            form = await self._forms.sent(request, PURPOSE)
            actor_id = _actor(request)
            engine, changes = self._engine, _changes(form)
            if change == "password":
                user = await asyncio.to_thread(self._user, annotator_id)
                password = secrets.token_urlsafe(12)
                hashed = await self._hashing.run(passwords.hash_password, password, user.name)
                await asyncio.to_thread(users.set_password, engine, annotator_id, hashed, actor_id=actor_id)
            elif change in changes:
                await asyncio.to_thread(changes[change], engine, annotator_id, actor_id)
            else:
                raise NotFound("There is nothing here.")
        except ChatFeedbackError as error:
            return await self._user_page(request, annotator_id, error=error)
        if password is not None:
            return await self._user_page(request, annotator_id, password=password)
        return RedirectResponse(f"/admin/users/{annotator_id}", status_code=303)

    async def _users_page(self, request: Request, *, error: ChatFeedbackError | None = None, **values: Any) -> Response:
        listed = await asyncio.to_thread(users.list_all, self._engine)
        values = {"added": None, "password": None, "name": "", **values}
        return self._page(
            request, "users.html", error=error, listed=listed, roles=ROLES, issuer=self._issuer, here="users", **values
        )

    async def _user_page(
        self,
        request: Request,
        annotator_id: str,
        *,
        error: ChatFeedbackError | None = None,
        password: str | None = None,
    ) -> Response:
        try:
            user = await asyncio.to_thread(self._user, annotator_id)
        except ChatFeedbackError as missing:
            return self._refused(missing)
        user_sessions = await asyncio.to_thread(sessions.alive, self._engine, annotator_id)
        return self._page(
            request,
            "user.html",
            error=error,
            user=user,
            sessions=user_sessions,
            roles=ROLES,
            password=password,
            passwords=self._passwords,
            here="users",
        )

    def _user(self, annotator_id: str) -> User:
        user = users.by_id(self._engine, annotator_id)
        if user is None:
            raise NotFound("There is no such user.")
        return user

    # Erasure

    async def show_erasure(self, request: Request) -> Response:
        """Show the form that names the conversation or annotator to erase; then its extent, to be confirmed."""
        try:
            query = single_values(request.query_params.multi_items())
        except InputError as error:
            return await self._erasure_page(request, "", "", error=error)
        return await self._erasure_page(request, query.get("conversation", ""), query.get("annotator", ""))

    async def erase(self, request: Request) -> Response:
        """Erase the confirmed conversation or annotator for ever."""
        conversation, annotator = "", ""
        try:
            form = await self._forms.sent(request, PURPOSE)
            conversation, annotator = text_field(form, "conversation"), text_field(form, "annotator")
            if text_field(form, "confirmation").strip().casefold() != CONFIRMATION:
                raise InputError(f"Nothing was erased: type “{CONFIRMATION}” to confirm.")
            if annotator == _actor(request):
                raise InputError("You cannot erase yourself here; ask another admin, or use the command line.")
            erase = erasure.erase_conversation if conversation else erasure.erase_annotator
            erased = await asyncio.to_thread(erase, self._engine, conversation or annotator, _actor(request))
        except ChatFeedbackError as error:
            return await self._erasure_page(request, conversation, annotator, error=error)
        return self._page(request, "erased.html", erased=erased, here="erase")

    async def _erasure_page(
        self, request: Request, conversation: str, annotator: str, *, error: ChatFeedbackError | None = None
    ) -> Response:
        values: dict[str, Any] = {"conversation": conversation.strip(), "annotator": None, "extent": None}
        try:
            if values["conversation"]:
                values["extent"] = await asyncio.to_thread(
                    erasure.extent_of_conversation, self._engine, values["conversation"]
                )
            elif annotator.strip():
                values["annotator"] = person = await asyncio.to_thread(self._annotator, annotator.strip())
                values["extent"] = await asyncio.to_thread(
                    erasure.extent_of_annotator, self._engine, person.annotator_id
                )
        except ChatFeedbackError as missing:
            error = error or missing
        return self._page(request, "erase.html", error=error, confirmation=CONFIRMATION, here="erase", **values)

    def _annotator(self, name_or_id: str) -> annotators.Annotator:
        person = annotators.find(self._engine, name_or_id)
        if person is None:
            raise NotFound(f"There is no annotator with the name or id {name_or_id!r}.")
        return person

    # Audit log

    async def show_audit(self, request: Request) -> Response:
        """Show the audit log, newest entry first: administrative acts and refused requests."""
        before = request.query_params.get("before", "")
        start = int(before) if before.isascii() and before.isdecimal() and len(before) < 19 else None
        entries = await asyncio.to_thread(audit.latest, self._engine, ENTRIES + 1, start)
        names = await asyncio.to_thread(annotators.names, self._engine)
        return self._page(
            request, "audit.html", entries=entries[:ENTRIES], more=len(entries) > ENTRIES, names=names, here="audit"
        )

    def _page(
        self, request: Request, template: str, *, error: ChatFeedbackError | None = None, **values: Any
    ) -> Response:
        status = (404 if isinstance(error, NotFound) else status_of(error)) if error else 200
        token = self._forms.token(request, PURPOSE)
        return render(template, status=status, token=token, error=error, **values)

    @staticmethod
    def _refused(error: ChatFeedbackError) -> Response:
        status = 404 if isinstance(error, NotFound) else status_of(error)
        return render("refused.html", status=status, sentence=str(error), code=status)


def _actor(request: Request) -> str:
    person: Person = request.state.person
    return person.annotator_id


def _role(form: FormData) -> Role:
    role = text_field(form, "role")
    if role not in ROLES:
        raise InputError(f"A role is one of {', '.join(ROLES)}.")
    return role


def _changes(form: FormData) -> dict[str, Callable[[Engine, str, str], object]]:
    """Return the changes of a user by the last part of the address; each takes engine, annotator id and actor id."""
    return {
        "role": lambda engine, user_id, actor_id: users.set_role(engine, user_id, _role(form), actor_id=actor_id),
        "disable": lambda engine, user_id, actor_id: users.set_disabled(engine, user_id, True, actor_id=actor_id),
        "enable": lambda engine, user_id, actor_id: users.set_disabled(engine, user_id, False, actor_id=actor_id),
        "sessions": lambda engine, user_id, actor_id: sessions.end_all(engine, user_id, actor_id=actor_id),
    }

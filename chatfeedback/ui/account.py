"""Who is signed in, on the page: the name, the way out, and the tabs that this person has use for.

A tab that is not shown is no protection: what a role may call is decided at the gate.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import gradio as gr
from starlette.requests import Request

from chatfeedback.auth.current_user import CSRF_FIELD, person_in
from chatfeedback.domain.roles import Open, Permission, Person
from chatfeedback.errors import NotSignedIn
from chatfeedback.ui.actions import action

Who = Callable[[gr.Request], Person]
"""The person who sent a request; raises NotSignedIn."""
TokenFor = Callable[[Request, str], str]
"""The token of a form of this purpose, for the person who sent a request."""
ROLE_NAMES = {"annotator": "Annotator", "researcher": "Researcher", "admin": "Admin"}


def who(request: gr.Request) -> Person:
    """Whom the gate let in with this request."""
    person = person_in(request.request.scope) if request.request else None
    if person is None:
        raise NotSignedIn
    return person


@dataclass(frozen=True, slots=True)
class SignIn:
    """What the page must know of how people sign in."""

    token_for: TokenFor
    several: bool
    """Whether different people come here, or always the one local person."""
    signs_in: bool
    """Whether there are sessions, which can be ended."""
    passwords: bool
    """Whether they are passwords of our own, which can be changed."""


@dataclass(frozen=True, slots=True)
class AccountComponents:
    """What shows who is signed in, and what this person sees."""

    tabs: gr.Tabs
    chat: gr.Tab
    account: gr.HTML


class AccountHandlers:
    """What happens when the page is opened."""

    def __init__(self, on: AccountComponents, sign_in: SignIn) -> None:
        self._on = on
        self._sign_in = sign_in

    @action(Open.PAGE)
    def load(self, request: gr.Request) -> str:
        """Draw who is signed in."""
        return self._account(who(request), request)

    @action(Open.PAGE)
    def begin_with_figures(self, request: gr.Request) -> dict[Any, Any]:
        """Show Analytics alone to a person who may not chat."""
        if who(request).may(Permission.CHAT):
            return {}
        return {self._on.chat: gr.Tab(visible=False), self._on.tabs: gr.Tabs(selected="analytics")}

    def _account(self, person: Person, request: gr.Request) -> str:
        """The bar. It says to the page whose it is, for drafts are kept in the browser, which others may use too."""
        sign_in, parts = self._sign_in, []
        if sign_in.several:
            name = html.escape(person.name)
            parts.append(
                f'<span class="cf-who"><b title="{name}">{name}</b> <small>{ROLE_NAMES[person.role]}</small></span>'
            )
        if person.may(Permission.ADMINISTER):
            parts.append('<a href="/admin">Administration</a>')
        if sign_in.passwords:
            parts.append('<a href="/password">Password</a>')
        if sign_in.signs_in:
            token = html.escape(sign_in.token_for(cast(Request, request.request), "logout"))
            parts.append(
                f'<form method="post" action="/logout"><input type="hidden" name="{CSRF_FIELD}" value="{token}">'
                '<button type="submit">Sign out</button></form>'
            )
        begins = "" if person.may(Permission.CHAT) else ' data-begins="analytics"'
        return f'<nav aria-label="Account" data-person="{person.annotator_id}"{begins}>{"".join(parts)}</nav>'

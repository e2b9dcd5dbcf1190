"""Account bar of the page: name, links and Sign out, and the tabs that the person's role can use.

A hidden tab protects nothing: the access middleware decides what a role may call.
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

CsrfTokenFor = Callable[[Request, str], str]
"""Function of a request and a form's purpose: the CSRF token of that form for the person of the request."""
ROLE_NAMES = {"annotator": "Annotator", "researcher": "Researcher", "admin": "Admin"}


def current_person(request: gr.Request) -> Person:
    """Return the person whom the access middleware admitted with this request. Raises NotSignedIn without one."""
    person = person_in(request.request.scope) if request.request else None
    if person is None:
        raise NotSignedIn
    return person


@dataclass(frozen=True, slots=True)
class SignIn:
    """Sign-in method of the server, as far as the page depends on it."""

    token_for: CsrfTokenFor
    multi_user: bool
    """True if different people use the server; False if it is always the one local person."""
    has_sessions: bool
    """True if there are sessions, which Sign out ends."""
    has_passwords: bool
    """True if the server stores the passwords, so that people can change theirs."""


@dataclass(frozen=True, slots=True)
class AccountComponents:
    """The account bar, and the tabs that depend on the person's role."""

    tabs: gr.Tabs
    chat: gr.Tab
    account: gr.HTML


class AccountHandlers:
    """Handlers of the account bar, called when the page loads."""

    def __init__(self, components: AccountComponents, sign_in: SignIn) -> None:
        self._components = components
        self._sign_in = sign_in

    @action(Open.PAGE)
    def load(self, request: gr.Request) -> str:
        """Render the account bar."""
        return self._account_bar(current_person(request), request)

    @action(Open.PAGE)
    def begin_with_figures(self, request: gr.Request) -> dict[Any, Any]:
        """Show only Analytics to a person who may not chat."""
        if current_person(request).may(Permission.CHAT):
            return {}
        return {self._components.chat: gr.Tab(visible=False), self._components.tabs: gr.Tabs(selected="analytics")}

    def _account_bar(self, person: Person, request: gr.Request) -> str:
        """Return the bar as HTML.

        It carries the id of the person: drafts are kept in the browser, which other people may use too.
        """
        sign_in, parts = self._sign_in, []
        if sign_in.multi_user:
            name = html.escape(person.name)
            parts.append(
                f'<span class="cf-who"><b title="{name}">{name}</b> <small>{ROLE_NAMES[person.role]}</small></span>'
            )
        if person.may(Permission.ADMINISTER):
            parts.append('<a href="/admin">Administration</a>')
        if sign_in.has_passwords:
            parts.append('<a href="/password">Password</a>')
        if sign_in.has_sessions:
            token = html.escape(sign_in.token_for(cast(Request, request.request), "logout"))
            parts.append(
                f'<form method="post" action="/logout"><input type="hidden" name="{CSRF_FIELD}" value="{token}">'
                '<button type="submit">Sign out</button></form>'
            )
        begins_attribute = "" if person.may(Permission.CHAT) else ' data-begins="analytics"'
        return f'<nav aria-label="Account" data-person="{person.annotator_id}"{begins_attribute}>{"".join(parts)}</nav>'

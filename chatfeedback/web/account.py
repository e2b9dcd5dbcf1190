"""Who is signed in, on the page: the name, the way out, and the tabs that this person has use for.

A tab that is not shown is no protection: what a role may call is decided at the gate.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from chatfeedback.domain.roles import Permission, Person
from chatfeedback.errors import NotSignedIn
from chatfeedback.web.forms import TOKEN

Who = Callable[[gr.Request], Person]
"""The person who sent a request; raises NotSignedIn."""
TokenFor = Callable[[gr.Request, str], str]
"""The token of a form of this purpose, for the person who sent a request."""
ROLE_NAMES = {"annotator": "Annotator", "researcher": "Researcher", "admin": "Admin"}


def who(request: gr.Request) -> Person:
    """Whom the gate let in with this request."""
    person = request.request.scope.get("state", {}).get("person") if request.request else None
    if not isinstance(person, Person):
        raise NotSignedIn
    return person


@dataclass(frozen=True, slots=True)
class AccountComponents:
    """What shows who is signed in, and what this person sees."""

    tabs: gr.Tabs
    chat: gr.Tab
    account: gr.HTML


class AccountHandlers:
    """What happens when the page is opened. `signs_in`: whether there are sessions, `passwords`: of our own."""

    def __init__(self, on: AccountComponents, token_for: TokenFor, *, signs_in: bool, passwords: bool) -> None:
        self._on = on
        self._token_for = token_for
        self._signs_in = signs_in
        self._passwords = passwords

    def load(self, request: gr.Request) -> dict[Any, Any]:
        """Draws who is signed in; somebody who may not chat begins with the figures."""
        person = who(request)
        drawn: dict[Any, Any] = {self._on.account: self._account(person, request)}
        if not person.may(Permission.CHAT):
            drawn[self._on.chat] = gr.Tab(visible=False)
            drawn[self._on.tabs] = gr.Tabs(selected="analytics")
        return drawn

    def _account(self, person: Person, request: gr.Request) -> str:
        parts = []
        if person.may(Permission.ADMINISTER):
            parts.append('<a href="/admin">Administration</a>')
        if self._signs_in:
            name = html.escape(person.name)
            parts.insert(0, f'<span class="cf-who">{name} <small>{ROLE_NAMES[person.role]}</small></span>')
            if self._passwords:
                parts.append('<a href="/password">Password</a>')
            token = html.escape(self._token_for(request, "logout"))
            parts.append(
                f'<form method="post" action="/logout"><input type="hidden" name="{TOKEN}" value="{token}">'
                '<button type="submit">Sign out</button></form>'
            )
        return f'<nav aria-label="Account">{"".join(parts)}</nav>' if parts else ""

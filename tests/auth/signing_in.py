"""A sign-in at the scripted provider, whose answers a test has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from auth.scripted_provider import ScriptedProvider
from chatfeedback.auth.oidc.client import Identity, OidcClient

BACK = "http://127.0.0.1:8000/back"
CODE = "the-code-of-ada"
Change = Callable[[ScriptedProvider], None]


async def sign_in(scripted: ScriptedProvider, client: OidcClient, change: Change = lambda _: None) -> Identity:
    """Sign in as Ada, after `change` was applied to the provider."""
    begun = await client.begin(BACK)
    scripted.expects(begun.pending.nonce)
    change(scripted)
    return await client.complete(begun.pending, {"state": begun.pending.state, "code": CODE})


def says(**claims: Any) -> Change:
    """Return a change that gives the ID token these claims; None takes one away."""

    def change(scripted: ScriptedProvider) -> None:
        changed = {**scripted.claims, **claims}
        scripted.claims = {name: value for name, value in changed.items() if value is not None}

    return change

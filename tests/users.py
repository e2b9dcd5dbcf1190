"""People at a running application, each with a cookie of their own, and Gradio's protocol spoken by hand.

with house(database_url, models=[…]) as (application, people):
    people["ada"].get("/config")
    tab = people["ada"].tab()
    tab.call("ChatHandlers.send", ["Hello", None, None, ""])
"""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import gradio as gr
import httpx
from fastapi import FastAPI

from browser.application import Application
from chatfeedback.domain.roles import Role
from chatfeedback.store.accounts import users
from chatfeedback.store.accounts.sessions import Sessions

ROLES: dict[str, Role] = {"ada": "annotator", "bob": "annotator", "rita": "researcher", "adam": "admin"}
"""Users of `house` by name, besides nobody."""
NOBODY = "nobody"
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that speak plain HTTP: by default each would read the certificates of the world, which takes 50 ms."""
UNUSED_MODELS = [{"model": "parrot", "base_url": "http://127.0.0.1:9/v1"}]
"""A model that no test of a module asks. The default model would load its weights."""


class Somebody:
    """HTTP client of a user with a session cookie, or of nobody."""

    def __init__(self, application: Application, name: str, annotator_id: str | None, token: str | None) -> None:
        cookies = {"chatfeedback_session": token} if token else {}
        self.name, self.annotator_id, self.token = name, annotator_id, token
        self.http = httpx.Client(base_url=application.address, cookies=cookies, timeout=30, verify=PLAIN)
        self._blocks = blocks_of(application)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the answer; of one that never ends, its beginning."""
        with self.http.stream(method, path, **options) as response:
            if "text/event-stream" not in response.headers.get("content-type", ""):
                response.read()
            return response

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def tab(self, session_hash: str | None = None) -> Tab:
        """Return a page of this person."""
        return Tab(self, self._blocks, session_hash or secrets.token_hex(5))


class Tab:
    """Open page: calls functions and reads the answers, as the page's own script does."""

    def __init__(self, person: Somebody, blocks: gr.Blocks, session_hash: str) -> None:
        self.person = person
        self.session_hash = session_hash
        self._blocks = blocks

    def functions(self) -> dict[int, str]:
        """Return the handler of every function that can be called, by its index."""
        return {index: fn.fn.__qualname__ for index, fn in self._blocks.fns.items() if fn.fn is not None}

    def trigger_of(self, name: str) -> int:
        """Return the id of the component that sets the first function with this handler off."""
        return next(fn.targets[0][0] for index, fn in self._blocks.fns.items() if self.functions().get(index) == name)

    def join(
        self,
        name: str,
        data: Sequence[Any] | None = None,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """Send a call of the first function with this handler; return the answer to the sending.

        `query`: what Gradio takes for the query of the page's address.
        """
        body = self.body(name, data) | more
        return self.person.post(f"/gradio_api/queue/join{query}", json=body, headers=headers)

    def body(self, name: str, data: Sequence[Any] | None = None) -> dict[str, Any]:
        """Return the body of a call of the first function with this handler, without event data."""
        index = next(index for index, handler in self.functions().items() if handler == name)
        function = self._blocks.fns[index]
        return {
            "data": list(data) if data is not None else [None] * len(function.inputs),
            "fn_index": index,
            "trigger_id": function.targets[0][0],
            "session_hash": self.session_hash,
            "event_data": None,
        }

    def call(self, name: str, data: Sequence[Any] | None = None, **more: Any) -> list[dict[str, Any]]:
        """Call a handler; return the messages about it, to its end."""
        joined = self.join(name, data, **more)
        assert joined.status_code == 200, joined.text
        return self.told(joined.json()["event_id"])

    def told(self, event_id: str) -> list[dict[str, Any]]:
        """Return the messages in the stream of this page about an event, to its end."""
        messages = []
        query = {"session_hash": self.session_hash}
        with self.person.http.stream("GET", "/gradio_api/queue/data", params=query) as stream:
            assert stream.status_code == 200, stream.read()
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    message = json.loads(line.removeprefix("data: "))
                    if message.get("event_id") == event_id:
                        messages.append(message)
                        if message["msg"] == "process_completed":
                            break
        return messages


def blocks_of(application: Application) -> gr.Blocks:
    """Return the page of a running application."""
    assert application.app is not None
    return blocks_in(application.app)


def blocks_in(app: FastAPI) -> gr.Blocks:
    """Return the page of an application that need not run."""
    return next(route.app.blocks for route in app.routes if hasattr(getattr(route, "app", None), "blocks"))


def settle(application: Application) -> dict[str, Somebody]:
    """Create and sign in every user of ROLES; return them, and nobody."""
    sessions = Sessions(application.engine, lifetime=timedelta(days=1), idle=timedelta(days=1))
    people = {NOBODY: Somebody(application, NOBODY, None, None)}
    for name, role in ROLES.items():
        user = users.add(application.engine, name, role, actor_id=None)
        token = sessions.begin(user.annotator_id, "password")
        people[name] = Somebody(application, name, user.annotator_id, token)
    return people


@contextmanager
def house(database_url: str, **settings: Any) -> Iterator[tuple[Application, dict[str, Somebody]]]:
    """Run an application with passwords; yield it and its people."""
    application = Application(database_url, **{"auth": "password", "models": UNUSED_MODELS, **settings})

    async def start() -> None:
        # Outside a running loop Gradio would make one of its own, and never close it.
        application.start()

    asyncio.run(start())
    people: dict[str, Somebody] = {}
    try:
        people |= settle(application)
        yield application, people
    finally:
        for person in people.values():
            person.http.close()
        application.close()

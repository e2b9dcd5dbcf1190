"""`build_page` in another application, without our server: the page itself checks each call."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.types import ASGIApp, Receive, Scope, Send

from chatfeedback.analytics.dashboard import DashboardQueries
from chatfeedback.auth.current_user import person_in, set_person
from chatfeedback.domain.conversation.events import UNASSIGNED
from chatfeedback.domain.roles import Person, Role
from chatfeedback.inference.client import Endpoint
from chatfeedback.services.assignments import Assignments
from chatfeedback.store.database.engine import open_engine
from chatfeedback.ui.account import SignIn
from chatfeedback.ui.actions import MALFORMED_CALL
from chatfeedback.ui.app import Limits, Page, build_page
from chatfeedback.ui.gradio_internals import NOT_PERMITTED
from conversation_builder import People
from openai_server import ScriptedServer
from services.service_harness import Room, new_people, open_room


class RoleFromHeader:
    """Middleware of the application: reads the role of the person from a header."""

    def __init__(self, app: ASGIApp, people: People) -> None:
        self._app = app
        self._people = people

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        role: Any = dict(scope.get("headers", ())).get(b"x-role", b"").decode()
        if scope["type"] == "http":
            set_person(scope, Person(self._people.ada, "Ada", role) if role else None)
        await self._app(scope, receive, send)


class Caller:
    """HTTP client that calls handlers of the page. `role`: "" for a request without a person."""

    def __init__(self, app: FastAPI, page: Page, role: Role | str) -> None:
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://page", headers={"x-role": role} if role else {}
        )
        self._page = page

    async def call(self, name: str, data: list[Any]) -> dict[str, Any]:
        """Call a handler; return the last message about the call."""
        index = next(index for index, action in self._page.actions.items() if action.name == name)
        body = {"data": data, "fn_index": index, "session_hash": "page", "trigger_id": None, "event_data": None}
        joined = await self._http.post("/gradio_api/queue/join", json=body)
        assert joined.status_code == 200, joined.text
        stream = await self._http.get("/gradio_api/queue/data", params={"session_hash": "page"})
        messages = [json.loads(line) for line in re.findall(r"^data: (.*)$", stream.text, re.MULTILINE)]
        return next(message for message in reversed(messages) if message["msg"] == "process_completed")


def username(request: Any) -> str:
    person = person_in(request.scope)
    return person.annotator_id if person else "nobody"


@pytest.fixture
def url(new_sqlite: Callable[[], str]) -> str:
    return new_sqlite()


@pytest.fixture
async def room(url: str) -> AsyncIterator[Room]:
    with ScriptedServer() as model:
        async with open_room(url, new_people(url), [Endpoint(model="parrot", base_url=model.url)]) as opened:
            yield opened


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
async def caller(room: Room, engine: Engine) -> AsyncIterator[Callable[[str], Caller]]:
    page = build_page(
        room.service,
        DashboardQueries(engine, room.store.conversation),
        Assignments(b"key", UNASSIGNED),
        SignIn(token_for=lambda _request, _purpose: "", multi_user=False, has_sessions=False, has_passwords=False),
        lambda _annotator_id, _code: None,
        title="A page of one's own",
        models=["parrot"],
        reasons=[],
        shown_messages=50,
        limits=Limits(32_000, 1_000_000),
    )
    app = FastAPI()
    mounted = page.mount(app, username)
    mounted.add_middleware(RoleFromHeader, people=room.people)
    async with mounted.router.lifespan_context(mounted):
        yield lambda role: Caller(mounted, page, role)


async def test_page_without_server_streams_reply_to_annotator(caller: Callable[[str], Caller], room: Room) -> None:
    answer = await caller("annotator").call("ChatHandlers.send", ["Hello", None, "parrot", ""])
    assert answer["success"]
    (line,) = await room.service.conversations(room.people.ada, 2)
    assert line.title == "Hello"


@pytest.mark.parametrize("role", ["", "researcher"])
async def test_page_without_server_refuses_call_without_permission(
    caller: Callable[[str], Caller], room: Room, role: str
) -> None:
    answer = await caller(role).call("ChatHandlers.send", ["Hello", None, "parrot", ""])
    assert (answer["success"], answer["output"]["error"]) == (False, NOT_PERMITTED)
    assert await room.service.conversations(room.people.ada, 2) == []


@pytest.mark.parametrize("data", [["Hello"], [["Hello"], None, "parrot", ""], ["Hello", {"ids": []}, "parrot", ""]])
async def test_page_without_server_refuses_malformed_call(
    caller: Callable[[str], Caller], room: Room, data: list[Any]
) -> None:
    answer = await caller("annotator").call("ChatHandlers.send", data)
    assert (answer["success"], answer["output"]["error"]) == (False, MALFORMED_CALL)
    assert await room.service.conversations(room.people.ada, 2) == []

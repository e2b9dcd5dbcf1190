"""Open streams: they end when their user may no longer have them, and go on through an outage of the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
from sqlalchemy import Engine

from browser.application import Application, eventually
from chatfeedback.errors import StoreUnavailable
from chatfeedback.server.authorization import middleware
from chatfeedback.store.accounts import sessions, users
from conversation_builder import StoredTalk
from users import PLAIN, Somebody, house

BROKEN_OFF = "a download was broken off, because its user may no longer have it: /export/messages.jsonl"


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "RECHECK_SECONDS", 0.05)


@pytest.fixture
def own(new_sqlite: Callable[[], str]) -> Iterator[tuple[Application, dict[str, Somebody]]]:
    """Return an application of this test alone: its users lose what they may do."""
    with house(new_sqlite()) as started:
        yield started


@pytest.fixture
async def stream(own: tuple[Application, dict[str, Somebody]]) -> AsyncIterator[httpx.Response]:
    """Return the heartbeat of an open page of Ada."""
    application, people = own
    cookies = {"chatfeedback_session": str(people["ada"].token)}
    async with (
        httpx.AsyncClient(base_url=application.address, cookies=cookies, verify=PLAIN, timeout=60) as client,
        client.stream("GET", "/gradio_api/heartbeat/abc") as response,
    ):
        assert response.status_code == 200
        yield response


def disable(engine: Engine) -> None:
    users.set_disabled(engine, "ada", True, actor_id=None)


def change_password(engine: Engine) -> None:
    users.set_password(engine, "ada", "another hash", actor_id=None)


def end_sessions(engine: Engine) -> None:
    user = users.find(engine, "ada")
    assert user is not None
    sessions.end_all(engine, user.annotator_id, actor_id=None)


@pytest.mark.parametrize("change", [disable, change_password, end_sessions])
async def test_stream_ends_when_its_user_is_shut_out(
    own: tuple[Application, dict[str, Somebody]],
    stream: httpx.Response,
    change: Callable[[Engine], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    pieces = stream.aiter_bytes()
    assert await anext(pieces)
    change(own[0].engine)
    async with asyncio.timeout(60):
        async for _ in pieces:
            pass
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_download_of_user_who_is_shut_out_stays_incomplete(
    own: tuple[Application, dict[str, Somebody]], caplog: pytest.LogCaptureFixture
) -> None:
    application, people = own
    talk = StoredTalk(application.store, str(people["ada"].annotator_id))
    for _ in range(20):  # more than all buffers hold
        talk.ask("Go on", "on and on " * 100_000)
    cookies = {"chatfeedback_session": str(people["rita"].token)}
    async with (
        httpx.AsyncClient(base_url=application.address, cookies=cookies, verify=PLAIN, timeout=60) as client,
        client.stream("GET", "/export/messages.jsonl") as response,
    ):
        pieces = response.aiter_bytes()
        assert await anext(pieces)
        users.set_disabled(application.engine, "rita", True, actor_id=None)
        assert await asyncio.to_thread(eventually, lambda: BROKEN_OFF in caplog.messages, bool)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            async for _ in pieces:
                pass


async def test_stream_goes_on_while_its_user_may_have_it(
    own: tuple[Application, dict[str, Somebody]], stream: httpx.Response, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    is_admitted = middleware.AccessMiddleware._is_admitted
    authenticate = middleware.AccessMiddleware._check_access

    async def noted(self: middleware.AccessMiddleware, *arguments: object) -> bool:
        result = await is_admitted(self, *arguments)  # type: ignore[arg-type]
        loop.call_soon_threadsafe(checked.put_nowait, None)
        return result

    monkeypatch.setattr(middleware.AccessMiddleware, "_is_admitted", noted)
    pieces = stream.aiter_bytes()
    assert await anext(pieces)

    def away(*_: object) -> None:
        raise StoreUnavailable("The database is away.")

    async with asyncio.timeout(60):
        for check in (away, authenticate):
            for _ in range(3):  # it is checked again only while it goes on
                await checked.get()
            monkeypatch.setattr(middleware.AccessMiddleware, "_check_access", check)
        for _ in range(3):
            await checked.get()

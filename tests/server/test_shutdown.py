"""Shutdown of a server: no new work, time for the running replies, and the rest is stored.

Every server is a process of its own. Those of `running` are forked from one that has imported Gradio, and have less
time for requests and for the database at the end than the constants of `chatfeedback.ui` give them.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from sqlalchemy import create_engine, text

import clusters
from browser.page_probe import told
from chatfeedback.server.shutdown import STORE_SECONDS
from chatfeedback.store.database import migrate
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.opening import open_event_store
from clusters import Cluster
from forked_server import ForkedServer, ShutdownLimits, forked_server
from gradio_pages import EventMessage, Page, Site, told_to_scripts
from openai_server import ScriptedServer
from serving import Served, served

pytestmark = pytest.mark.process

PATIENCE = 60
LIMITS = ShutdownLimits(grace=1, store=STORE_SECONDS)
LIMITS_OF_A_HANG = ShutdownLimits(grace=1, store=3)
"""Limits for a database that does not answer: the process uses up all of its time."""
UNSTORED = (
    "the database does not answer, so the process ends without it; replies whose end is not stored, and that are "
    "interrupted when their leases are over: "
)
SENTENCE = "This server is being restarted, so nothing was sent; send it again in a moment."


@pytest.fixture
def model() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def flags(database_url: str, model: ScriptedServer) -> list[str]:
    return ["--database-url", database_url, "--model", "parrot", "--base-url", model.url]


@contextmanager
def running(
    database_url: str, model: ScriptedServer, seconds: float, limits: ShutdownLimits = LIMITS
) -> Iterator[ForkedServer]:
    variables = {"CHATFEEDBACK_SHUTDOWN_SECONDS": str(seconds)}
    with forked_server(*flags(database_url, model), limits=limits, **variables) as server:
        assert server.address, server.log
        yield server


def log_of(database_url: str, conversation_id: str) -> list[str]:
    engine = open_engine(database_url)
    store = open_event_store(engine)
    try:
        return told(store.events_of(conversation_id))
    finally:
        store.close()
        engine.dispose()


class Talk:
    """Prompt whose reply is being written."""

    def __init__(self, site: Site, page: Page, conversation_id: str, rest: asyncio.Task[EventMessage]) -> None:
        self.site, self.page, self.conversation_id, self.rest = site, page, conversation_id, rest


@asynccontextmanager
async def writing(server: Served | ForkedServer, text: str) -> AsyncIterator[Talk]:
    """Send a prompt; yield when `text` of its reply is on the page."""
    async with Site(server.address) as site:
        page = site.page()
        started: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def follow() -> EventMessage:
            conversation_id = ""
            async for one in page.call("prompt", "submit", ["Count", None, None, ""]):
                conversation_id = told_to_scripts(one.painted).get("address", conversation_id)
                if text in str(one.painted.get("chatbot")) and not started.done():
                    started.set_result(conversation_id)
                last = one
            return last

        rest = asyncio.create_task(follow())
        try:
            async with asyncio.timeout(PATIENCE):
                yield Talk(site, page, await started, rest)
        finally:
            rest.cancel()
            await asyncio.gather(rest, return_exceptions=True)


async def ending(site: Site) -> None:
    """Wait until the server says that it is about to end."""
    async with asyncio.timeout(PATIENCE):
        while (await site.http.get("/readyz")).json()["status"] != "ending":
            pass


async def test_shutdown_finishes_replies_and_serves_pages_but_begins_nothing_new(
    database_url: str, model: ScriptedServer
) -> None:
    script = model.reply("one two three", hold_after=2)
    with running(database_url, model, seconds=60) as server:
        async with writing(server, "one two") as talk:
            server.signal(signal.SIGTERM)
            await ending(talk.site)
            assert (await talk.site.http.get("/healthz")).status_code == 200
            refused = await talk.site.page().done("prompt", "submit", ["Something new", None, None, ""])
            assert SENTENCE in refused.painted["notice"]
            liked = {"index": 1, "value": ["one two"], "liked": True}
            voted = await talk.page.done("chatbot", "like", [None, "", ""], liked)
            assert voted.success
            script.release()
            last = await talk.rest
            assert "one two three" in str(last.painted["chatbot"])
        assert await asyncio.to_thread(server.ended) == 0
        events = log_of(database_url, talk.conversation_id)
        assert events[-1] == "reply_finished 2 complete: one two three"
        assert "message_rated 2: nothing -> like" in events
        assert len(model.requests) == 1
        assert [line.partition("] ")[2] for line in server.lines] == [
            "ending; replies that may go on for 60 seconds: 1"
        ]


async def test_shutdown_stores_reply_as_interrupted_when_time_is_over(database_url: str, model: ScriptedServer) -> None:
    model.reply("one two three", hold_after=2)
    with running(database_url, model, seconds=0.5) as server:
        async with writing(server, "one two") as talk:
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.ended) == 0
    assert log_of(database_url, talk.conversation_id)[-1] == "reply_finished 2 interrupted: one two "


# The same end as that of Ctrl+C pressed twice, which is below on SQLite.
@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_shutdown_does_not_wait_for_replies_after_second_signal(database_url: str, model: ScriptedServer) -> None:
    model.reply("one two three", hold_after=2)
    with running(database_url, model, seconds=3600) as server:
        async with writing(server, "one two") as talk:
            server.signal(signal.SIGTERM)
            await ending(talk.site)
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.ended) == 0
    assert log_of(database_url, talk.conversation_id)[-1] == "reply_finished 2 interrupted: one two "


async def test_shutdown_by_ctrl_c_stores_reply_when_pressed_twice(
    new_sqlite: Callable[[], str], model: ScriptedServer
) -> None:
    """Start the command as a user does, with the default limits."""
    url = new_sqlite()
    model.reply("one two three", hold_after=2)
    with served(*flags(url, model), CHATFEEDBACK_SHUTDOWN_SECONDS="3600") as server:
        async with writing(server, "one two") as talk:
            server.signal(signal.SIGINT)
            await ending(talk.site)
            server.signal(signal.SIGINT)
            assert await asyncio.to_thread(server.ended) == 0
        assert "Traceback" not in server.log
    assert log_of(url, talk.conversation_id)[-1] == "reply_finished 2 interrupted: one two "


def test_shutdown_is_immediate_when_no_reply_is_running(database_url: str, model: ScriptedServer) -> None:
    with running(database_url, model, seconds=3600) as server:
        server.signal(signal.SIGTERM)
        assert server.ended() == 0
        assert server.lines == []


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Return a cluster for this module alone, so that no other test waits for it."""
    with clusters.running(clusters.newest()) as cluster:
        yield cluster


@pytest.mark.parametrize("seconds", [0.5, 3600])
async def test_shutdown_does_not_wait_for_hanging_database(
    cluster: Cluster, model: ScriptedServer, seconds: float
) -> None:
    url = cluster.url(cluster.create_database())
    migrate.upgrade(url)
    model.reply("one two three", hold_after=2)
    with running(url, model, seconds, LIMITS_OF_A_HANG) as server:
        async with writing(server, "one two") as talk:
            with cluster.hanging():
                server.signal(signal.SIGTERM)
                if seconds > PATIENCE:  # then its end is not waited for
                    await ending(talk.site)
                    server.signal(signal.SIGTERM)
                assert await asyncio.to_thread(server.ended) == 1
        assert server.lines[-1].endswith(f"{UNSTORED}1")
        assert "Traceback" not in server.log
    events = log_of(url, talk.conversation_id)
    assert any(event.startswith("message_sent 1") for event in events)
    assert not any(event.startswith("reply_finished") for event in events)


def test_shutdown_during_start_does_not_wait_for_locked_table(cluster: Cluster, model: ScriptedServer) -> None:
    url = cluster.url(cluster.create_database())
    migrate.upgrade(url)
    other = create_engine(url)
    with other.begin() as connection:
        connection.execute(text("LOCK TABLE reply_drafts"))
        with running(url, model, 3600, LIMITS_OF_A_HANG) as server:
            server.signal(signal.SIGTERM)
            assert server.ended() == 1
            assert server.lines[-1].endswith(f"{UNSTORED}0")
    other.dispose()


async def test_shutdown_does_not_wait_for_reads_of_hanging_database(cluster: Cluster, model: ScriptedServer) -> None:
    url = cluster.url(cluster.create_database())
    migrate.upgrade(url)
    with running(url, model, 3600, LIMITS_OF_A_HANG) as server:
        async with Site(server.address) as site:
            with cluster.hanging():
                assert (await site.http.get("/readyz")).json()["database"] == "unavailable"
                server.signal(signal.SIGTERM)
                assert await asyncio.to_thread(server.ended) == 0
            assert server.lines[-1].endswith("everything that was accepted is stored")

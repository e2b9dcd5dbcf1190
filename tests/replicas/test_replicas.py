"""Users at two replicas: each stays with one, and goes on at the other when it dies during a reply."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from browser.application import endpoint
from chatfeedback.auth import passwords
from chatfeedback.store.accounts import users
from chatfeedback.store.database import migrate
from chatfeedback.store.maintenance import check
from gradio_pages import EventMessage, Gone, Page, Site, told_to_scripts
from openai_server import Script, ScriptedServer
from replicas.fleet import PATIENCE, Fleet, Person, Replica, eventually

pytestmark = pytest.mark.process

MIGRATIONS = Path(__file__).parents[2] / "migrations" / "env.py"
WAITING = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()
"""
READY = Path(__file__).parents[2] / "deploy" / "ready.py"
STORY = "Once upon a time there was a story"
HALF = STORY[:12]
PASSWORD = "four words of mine"
BEGUN = [
    "conversation_started",
    "message_sent 1 after the start: one",
    "reply_started 2 after 1, parrot told 1",
    "reply_finished 2 complete: You said: one",
    "message_rated 2: nothing -> like",
    "message_sent 3 after 2: Tell me a story",
    "reply_started 4 after 3, parrot told 1 2 3",
]


@contextmanager
def held_up(database_url: str) -> Iterator[None]:
    """Hold up migrations of the database until two processes want to migrate."""
    lock = re.search(r"^ADVISORY_LOCK = (\w+)", MIGRATIONS.read_text("utf-8"), re.MULTILINE)
    assert lock
    with closing(psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True)) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [int(lock[1], 0)])

        def waiting() -> int:
            return connection.execute(WAITING).fetchone()[0]

        def let_go() -> None:
            eventually(waiting, lambda processes: processes == 2)
            connection.execute("SELECT pg_advisory_unlock_all()")

        with ThreadPoolExecutor(1) as thread:
            letting_go = thread.submit(let_go)
            yield
            letting_go.result()


@pytest.fixture(scope="module")
def standing(nginx: str, folder: Path, postgres_server: Any, model: ScriptedServer) -> Iterator[Fleet]:
    """Return a fleet that was started on an empty database, by both replicas at the same moment."""
    name = postgres_server.create_database()
    url = postgres_server.url(name)
    with ExitStack() as running:
        with held_up(url):
            fleet = running.enter_context(Fleet(nginx, folder, url, models=[endpoint(model)]))
        yield fleet
    postgres_server.drop_database(name)


@pytest.fixture
def fleet(standing: Fleet) -> Iterator[Fleet]:
    """Return the same; fail for a traceback of a replica."""
    yield standing
    for replica in standing.replicas:
        assert "Traceback" not in replica.said()


@dataclass
class Talk:
    """Conversation in which a story is being told, and the page that it is told on."""

    person: Person
    site: Site
    page: Page
    conversation_id: str
    script: Script
    telling: asyncio.Task[EventMessage]


async def half_told(fleet: Fleet, site: Site, person: Person, model: ScriptedServer) -> Talk:
    """Send and rate an exchange, then half a story that is stored."""
    page = site.page()
    await page.done("", "load")
    one = await page.done("prompt", "submit", ["one", None, None, ""])
    conversation_id = told_to_scripts(one.painted)["address"]
    await page.done("chatbot", "like", [None, None, ""], {"index": 1, "value": ["You said: one"], "liked": True})
    script = model.reply(STORY, hold_after=3)
    telling = asyncio.create_task(page.done("prompt", "submit", ["Tell me a story", None, None, ""]))
    await asyncio.to_thread(eventually, lambda: fleet.drafts().get(conversation_id, ("", ""))[0], HALF.__eq__)
    return Talk(person, site, page, conversation_id, script, telling)


def texts(update: EventMessage) -> list[str]:
    """Return the texts of the messages that are painted."""
    painted = update.painted.get("chatbot") or {}
    return [message["content"][0]["text"] for message in painted.get("value", [])]


async def goes_on_elsewhere(talk: Talk) -> None:
    """Check that the page loads itself again after its stream broke, shows the reply ended, and goes on."""
    with pytest.raises(Gone):
        await talk.telling
    page = talk.site.page(talk.conversation_id)
    paintings = []
    async for update in page.call("", "load"):
        if "chatbot" in update.painted:
            paintings.append(texts(update))
            assert paintings[-1][:3] == ["one", "You said: one", "Tell me a story"]
            assert update.painted["chatbot"]["feedback_value"][0] == "Like"
    assert paintings[-1][3] == HALF
    assert "This reply was interrupted; the text so far is kept." in update.painted["status"]
    after = await page.done("prompt", "submit", ["Go on", None, None, ""])
    assert texts(after) == ["one", "You said: one", "Tell me a story", HALF, "Go on", "You said: Go on"]


async def is_left_alone(talk: Talk) -> None:
    """Check that the reply ends when the model ends it."""
    talk.script.release()
    assert texts(await talk.telling) == ["one", "You said: one", "Tell me a story", STORY]


async def goes_on_with_a_page_that_was_idle(page: Page) -> None:
    """Check that a replica that does not know the page shows the newest state first, and takes the next prompt."""
    update = await page.done("prompt", "submit", ["Hello again", None, None, ""])
    assert "check the newest state" in update.painted["notice"]
    assert texts(update) == ["Hello", "You said: Hello"]
    update = await page.done("prompt", "submit", ["Hello again", None, None, ""])
    assert texts(update) == ["Hello", "You said: Hello", "Hello again", "You said: Hello again"]


async def idle_page(site: Site) -> Page:
    """Return a page whose address names its rendered conversation."""
    update = await site.page().done("prompt", "submit", ["Hello", None, None, ""])
    page = site.page(told_to_scripts(update.painted)["address"])
    await page.done("", "load")
    return page


def test_replicas_migrate_empty_database_once_when_started_at_same_moment(fleet: Fleet) -> None:
    assert migrate.current(fleet.database_url).is_head
    assert check(fleet.database_url) == []
    for replica in fleet.replicas:
        command = [sys.executable, READY]
        probe = subprocess.run(command, env={"CHATFEEDBACK_PORT": str(replica.port)}, capture_output=True, text=True)
        assert (probe.returncode, '"database":"ready"' in probe.stdout) == (0, True)


def test_replicas_accept_forms_and_sessions_of_each_other(fleet: Fleet) -> None:
    users.add(fleet.engine, "hedy", "annotator", actor_id=None, password_hash=passwords.hash_password(PASSWORD, "hedy"))
    through_tls = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "10.0.0.7"}
    here, there = (
        httpx.Client(base_url=f"http://127.0.0.1:{replica.port}", headers=through_tls, trust_env=False, timeout=30)
        for replica in fleet.replicas
    )
    with here, there:
        page = here.get("/login")
        token = page.text.partition('name="csrf" value="')[2].partition('"')[0]
        form = {"csrf": token, "name": "hedy", "password": PASSWORD}
        # A browser would send its cookies back with TLS only; here nginx is left out.
        let_in = there.post("/login", data=form, headers={"cookie": sent_back(page)})
        assert let_in.status_code == 303
        for replica in (here, there):
            assert replica.get("/config", headers={"cookie": sent_back(let_in)}).status_code == 200


def sent_back(answer: httpx.Response) -> str:
    """Return the cookies of an answer, as a browser sends them."""
    return "; ".join(line.partition(";")[0] for line in answer.headers.get_list("set-cookie"))


async def test_users_of_killed_replica_go_on_at_other_and_do_not_disturb_its_users(
    fleet: Fleet, model: ScriptedServer
) -> None:
    fleet.heal()
    dying = fleet.replicas[0]
    users_of_dying, neighbours = await asyncio.to_thread(fleet.people_at_each, 3)
    async with AsyncExitStack() as open_sites:

        async def site(person: Person) -> Site:
            return await open_sites.enter_async_context(fleet.site(person))

        idle = await idle_page(await site(users_of_dying[2]))
        broken_off = [await half_told(fleet, await site(person), person, model) for person in users_of_dying[:2]]
        spared = [await half_told(fleet, await site(person), person, model) for person in neighbours]
        dying.kill()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(
                goes_on_with_a_page_that_was_idle(idle),
                *map(goes_on_elsewhere, broken_off),
                *map(is_left_alone, spared[:2]),
            )
            await is_left_alone(spared[2])  # it was being written all the time that the dead ones' leases went on
    for talk in broken_off:
        assert fleet.events(talk.conversation_id) == [
            *BEGUN,
            f"reply_finished 4 interrupted: {HALF}",
            "message_sent 5 after 4: Go on",
            "reply_started 6 after 5, parrot told 1 2 3 4 5",
            "reply_finished 6 complete: You said: Go on",
        ]
    for talk in spared:
        assert fleet.events(talk.conversation_id) == [*BEGUN, f"reply_finished 4 complete: {STORY}"]
    for person in users_of_dying + neighbours:
        assert len(fleet.conversations_of(person)) == 1
        assert fleet.replica_of(person) is not dying
    assert fleet.drafts() == {}
    assert check(fleet.database_url) == []


async def test_replica_that_starts_keeps_running_reply_of_neighbour_and_gets_users_back(
    fleet: Fleet, model: ScriptedServer
) -> None:
    starting = fleet.replicas[0]
    starting.kill()
    ada = fleet.person()
    async with fleet.site(ada) as site:
        talk = await half_told(fleet, site, ada, model)
        before = fleet.drafts()[talk.conversation_id]
        starting.start()
        await asyncio.to_thread(starting.ready)
        assert fleet.drafts()[talk.conversation_id] == before, "it is written by whom it was"
        assert fleet.events(talk.conversation_id) == BEGUN
        await is_left_alone(talk)
    assert fleet.events(talk.conversation_id) == [*BEGUN, f"reply_finished 4 complete: {STORY}"]

    def next_one() -> Replica:
        return fleet.replica_of(fleet.person())

    await asyncio.to_thread(eventually, next_one, lambda replica: replica is starting)

"""Outages: databases that cannot be used for a while, under load.

Each time: the sender is told and nothing is pretended; `/readyz` says so and `/healthz` stays; the log has one line
for the beginning and one for the end; it works again by itself; what was accepted is there once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

import clusters
from browser.application import Application, endpoint
from chatfeedback.store.database import engine, migrate
from chatfeedback.store.maintenance import check
from openai_server import ScriptedServer
from outages.load_users import PATIENCE, Crowd, crowd
from serving import served
from users import settle

# Gradio 6.31 makes deprecated calls of pandas in a thread of the application.
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
AWAY_SECONDS = 30
CHATTING = ("ada", "bob", "adam")
MESSAGES = ("the database cannot be used", "the database can be used again")


@pytest.fixture(autouse=True)
def _as_the_server_logs() -> Iterator[None]:
    logging.getLogger("psycopg").setLevel("ERROR")
    yield
    logging.getLogger("psycopg").setLevel("NOTSET")


@contextmanager
def running(database_url: str, model: ScriptedServer) -> Iterator[tuple[Application, list[str]]]:
    """Serve; yield the application, and a session for each of its people who chat."""
    application = Application(
        database_url, auth="password", models=[endpoint(model)], messages_per_minute=10_000, streams_at_once=50
    )
    people = {}
    application.start()
    try:
        people = settle(application)
        yield application, [str(people[name].token) for name in CHATTING]
    finally:
        for person in people.values():
            person.http.close()
        application.close()


async def get(application: Application, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=application.address, timeout=30) as client:
        return await client.get(path)


async def readiness(application: Application, status: int) -> httpx.Response:
    """Return the answer of /readyz as soon as it has this status."""
    async with asyncio.timeout(PATIENCE):
        while (answer := await get(application, "readyz")).status_code != status:
            pass
    return answer


def logged_messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings and errors of the log: beginnings of the known messages, or logger and message."""
    records = [record for record in caplog.records if record.levelname in ("WARNING", "ERROR", "CRITICAL")]
    messages = []
    for record in records:
        known = [message for message in MESSAGES if record.getMessage().startswith(message)]
        messages.append(known[0] if known else f"{record.name}: {record.getMessage()}")
    return messages


async def through(
    application: Application,
    tokens: list[str],
    caplog: pytest.LogCaptureFixture,
    begin: Callable[[], None],
    end: Callable[[], None],
    *,
    sentence: str,
    seconds: float = 0,
) -> Crowd:
    """Run through an outage, from `begin` to `end`, and check what is true of each."""
    async with crowd(application, tokens) as people:
        await people.until(lambda: len(people.accepted) >= 8)
        began = time.monotonic()
        await asyncio.to_thread(begin)
        try:
            away = await readiness(application, 503)
            assert (away.json()["status"], away.json()["database"]) == ("not ready", "unavailable")
            assert (await get(application, "healthz")).status_code == 200
            people.late.set()  # all others may wait for the end of a reply, which is stored after the outage
            await people.until(lambda: sum(sentence in refusal for refusal in people.refused.values()) >= 5)
            await asyncio.sleep(max(0, began + seconds - time.monotonic()))  # for as long as it is meant to last
        finally:
            await asyncio.to_thread(end)
        await readiness(application, 200)
        before = len(people.accepted)
        await people.until(lambda: len(people.accepted) >= before + 8)
    assert logged_messages(caplog) == list(MESSAGES), "one line for the beginning and one for the end"
    people.check()
    assert check(application.settings.database_url) == []
    return people


@pytest.mark.process
async def test_outage_of_postgres_loses_nothing(model: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    with clusters.running(clusters.newest()) as cluster:
        url = cluster.url(cluster.create_database())
        migrate.upgrade(url)
        with running(url, model) as (application, tokens):
            stop = lambda: cluster.stop("immediate")  # noqa: E731
            await through(
                application, tokens, caplog, stop, cluster.start, sentence="The database", seconds=AWAY_SECONDS
            )


async def test_outage_by_lock_of_another_program_loses_nothing(
    new_sqlite: Callable[[], str],
    model: ScriptedServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.5)  # the usual time would be too long for a test
    url = new_sqlite()
    with (
        closing(
            sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
        ) as other,
        running(url, model) as (application, tokens),
    ):
        await through(
            application,
            tokens,
            caplog,
            lambda: other.execute("BEGIN IMMEDIATE") and None,
            lambda: other.execute("ROLLBACK") and None,
            sentence="Another program holds the database, so nothing was stored; try again in a moment.",
        )


async def test_outage_by_moved_file_loses_nothing(
    new_sqlite: Callable[[], str], model: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = new_sqlite()
    path = Path(url.removeprefix("sqlite:///"))
    elsewhere = path.with_name("elsewhere.db")
    with running(url, model) as (application, tokens):
        await through(
            application,
            tokens,
            caplog,
            lambda: path.rename(elsewhere) and None,
            lambda: elsewhere.rename(path) and None,
            sentence="was moved, deleted or replaced, so nothing was stored; put it back",
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of 32 MiB. Only root can make one; in CI the tests run as root.

    A write-ahead log alone grows to 4 MiB before it is written back: a smaller disk is full by itself.
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount") or ""
    options = ["-t", "tmpfs", "-o", "size=32m", "tmpfs", folder]
    if not mount or subprocess.run([mount, *options], capture_output=True).returncode:
        reason = "Only root can make a small disk here."
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    yield folder
    subprocess.run([f"{mount[:-5]}umount", "--lazy", folder], check=True)


@pytest.mark.process
async def test_outage_by_full_disk_loses_nothing(
    small_disk: Path, model: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{small_disk}/chatfeedback.db"
    migrate.upgrade(url)
    filler = small_disk / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                assert error.strerror == "No space left on device"

    with running(url, model) as (application, tokens):
        await through(
            application,
            tokens,
            caplog,
            fill,
            filler.unlink,
            sentence="The disk is full, so nothing was stored; free some space and try again.",
        )


@pytest.mark.process
def test_serve_refuses_read_only_file(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk}/chatfeedback.db"
    migrate.upgrade(url)
    before = (small_disk / "chatfeedback.db").read_bytes()
    subprocess.run([str(shutil.which("mount")), "-o", "remount,ro", small_disk], check=True)
    with served("--database-url", url, "--model", "m", "--base-url", "http://127.0.0.1:9/v1") as server:
        assert (server.address, server.ended()) == ("", 1)
        assert server.log.count("\n") == 1
        assert (
            "chatfeedback.db.lock beside it cannot be written (Read-only file system); make it writable." in server.log
        )
    assert (small_disk / "chatfeedback.db").read_bytes() == before

"""Dumps of Postgres, made with the commands that `chatfeedback db backup` and `restore` name, are complete databases.

From the oldest supported Postgres and from the newest, into a new cluster of the newest.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

import clusters
from chatfeedback.errors import SettingsError
from chatfeedback.store.accounts import annotators, audit, users
from chatfeedback.store.accounts.sessions import Sessions
from chatfeedback.store.database import backup, migrate
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.log.writer import open_writer
from chatfeedback.store.maintenance import check
from chatfeedback.store.opening import open_event_store
from clusters import Cluster
from conversation_builder import People, StoredTalk
from store.database.backup.backup_helpers import command, rows, silent
from store.database.backup.under_load import assert_holds, load

SESSION = timedelta(days=1)


@pytest.fixture(params=["postgres", "older postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(database_kind: str, request: pytest.FixtureRequest) -> Cluster:
    """Cluster of the database that is dumped."""
    cluster: Cluster = request.getfixturevalue(clusters.SERVERS[database_kind])
    return cluster


@pytest.fixture
def database_url(server: Cluster) -> Iterator[str]:
    name = server.create_database()
    migrate.upgrade(server.url(name))
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Cluster]:
    """New cluster that the dump is restored into."""
    with clusters.running(clusters.newest()) as cluster:
        yield cluster


@pytest.fixture
def new_url(elsewhere: Cluster) -> Iterator[str]:
    name = elsewhere.create_database()
    yield elsewhere.url(name)
    elsewhere.drop_database(name)


def dumped(server: Cluster, url: str, file: Path) -> None:
    with pytest.raises(SettingsError) as refusal:
        backup.back_up(url, file, False, silent)
    run_named_command(server, str(refusal.value))


def restored(server: Cluster, url: str, file: Path) -> None:
    with pytest.raises(SettingsError) as refusal:
        backup.restore(url, file, False, silent)
    run_named_command(server, str(refusal.value))


def run_named_command(server: Cluster, sentence: str) -> None:
    command_line = re.search(r"; run (.+?)(?: into an empty database)?\.$", sentence)
    assert command_line, sentence
    path = os.pathsep.join([str(server.programs), os.environ["PATH"]])
    subprocess.run(shlex.split(command_line[1]), check=True, env={**os.environ, "PATH": path}, timeout=120)


@pytest.fixture
def on_new(new_url: str) -> Iterator[Engine]:
    engine = open_engine(new_url)
    yield engine
    engine.dispose()


@pytest.mark.process
def test_dump_under_load_restores_complete_and_usable_database(
    store: EventStore,
    people: People,
    server: Cluster,
    elsewhere: Cluster,
    database_url: str,
    new_url: str,
    on_new: Engine,
    tmp_path: Path,
) -> None:
    with load(store, people.ada) as going:
        before = going.acknowledged()
        dumped(server, database_url, tmp_path / "monday.dump")
        going.wait_for_more(events=20)
    restored(elsewhere, new_url, tmp_path / "monday.dump")
    assert_holds(new_url, before)
    used = {row[0] for row in rows(new_url)["events"]}
    with closing(open_writer(on_new)) as writer:
        StoredTalk(open_event_store(on_new, writer), people.ada).ask("And then?", "Then")
    new = {row[0] for row in rows(new_url)["events"]} - used
    assert len(new) == 4
    assert min(new) > max(used)
    assert check(new_url) == []
    with on_new.connect() as connection, pytest.raises(DBAPIError, match="events are never changed or deleted"):
        connection.execute(text("DELETE FROM events"))


@pytest.mark.process
def test_dump_restores_users_sessions_exports_and_figures(
    engine: Engine,
    talk: StoredTalk,
    people: People,
    server: Cluster,
    elsewhere: Cluster,
    database_url: str,
    new_url: str,
    on_new: Engine,
    tmp_path: Path,
) -> None:
    talk.ask("Hello", "Hi")
    users.add(engine, "ada", "admin", actor_id=None, password_hash="$argon2id$made$up")
    token = Sessions(engine, lifetime=SESSION, idle=SESSION).begin(people.ada, "password")
    exported = command("export", "feedback", "--format", "jsonl", "--database-url", database_url)  # makes the key
    dumped(server, database_url, tmp_path / "monday.dump")
    restored(elsewhere, new_url, tmp_path / "monday.dump")
    assert rows(new_url) == rows(database_url)
    result = Sessions(on_new, lifetime=SESSION, idle=SESSION).person(token, None)
    assert result is not None
    assert (result[0].annotator_id, result[0].role) == (people.ada, "admin")
    users.add(on_new, "new", "annotator", actor_id=people.ada)
    assert len({entry.position for entry in audit.latest(on_new, 100)}) == len(audit.latest(engine, 100)) + 1
    assert annotators.find(on_new, "cyd") == annotators.find(engine, "cyd")
    again = command("export", "feedback", "--format", "jsonl", "--database-url", new_url)
    assert (again.returncode, again.stdout) == (0, exported.stdout)
    figures = [command("stats", "--format", "json", "--database-url", url) for url in (database_url, new_url)]
    assert figures[0].stdout == figures[1].stdout != ""


@pytest.mark.process
def test_backup_and_restore_name_postgres_commands_without_password(tmp_path: Path) -> None:
    url = "postgresql://ada:hush@127.0.0.1:1/chat?password=hush&sslmode=require"
    for verb in ("backup", "restore"):
        done = command("db", verb, str(tmp_path / "monday.dump"), "--database-url", url)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "--dbname='postgresql://ada@127.0.0.1:1/chat?sslmode=require'" in done.stderr
        assert "hush" not in done.stderr

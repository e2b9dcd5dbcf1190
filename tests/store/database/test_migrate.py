"""Migrate: databases that are opened, upgraded, or refused with one sentence."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from chatfeedback.errors import SchemaBehind, SettingsError, StoreCorrupt, StoreError, StoreUnavailable
from chatfeedback.store.database import file_lock, migrate
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.maintenance import check, rebuild
from conversation_builder import StoredTalk


def test_ensure_ready_creates_or_upgrades_sqlite_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    migrate.ensure_ready(url, migrate=False)
    assert check(url) == []
    migrate.downgrade(url, "base")
    migrate.ensure_ready(url, migrate=False)
    assert check(url) == []


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_ensure_ready_upgrades_postgres_only_when_requested(empty_database_url: str) -> None:
    with pytest.raises(SchemaBehind, match="chatfeedback db upgrade"):
        migrate.ensure_ready(empty_database_url, migrate=False)
    assert migrate.current(empty_database_url).revision is None
    migrate.ensure_ready(empty_database_url, migrate=True)
    migrate.ensure_ready(empty_database_url, migrate=False)
    assert check(empty_database_url) == []


def a_command(url: str) -> None:
    with migrate.opened(url):
        raise AssertionError("it was let in")


Task = Callable[[str], object]
TASKS: dict[str, Task] = {
    "current": migrate.current,
    "upgrade": migrate.upgrade,
    "downgrade": lambda url: migrate.downgrade(url, "base"),
    "check": check,
    "rebuild": lambda url: rebuild(url, lambda done, total: None),
    "serve": lambda url: migrate.ensure_ready(url, migrate=True),
    "a command": a_command,
}


@pytest.mark.parametrize("task", TASKS)
def test_tasks_refuse_database_of_newer_release(database_url: str, engine: Engine, task: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '7777'"))
    with pytest.raises(StoreError, match=r"\(7777\) was made by a newer release of chatfeedback; install"):
        TASKS[task](database_url)


@pytest.mark.parametrize("task", ["upgrade", "serve"])
def test_upgrade_refuses_database_with_events_table_of_another_program(
    empty_database_url: str, task: str, database_kind: str
) -> None:
    engine = open_engine(empty_database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE events (title TEXT)"))
    engine.dispose()
    with pytest.raises(StoreError, match="already has a table events of something else"):
        TASKS[task](empty_database_url)


@pytest.mark.parametrize("task", TASKS)
def test_tasks_refuse_file_that_is_no_database(tmp_path: Path, task: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are my notes. " * 100)
    with pytest.raises(SettingsError, match=r"notes\.txt: This file is not a SQLite database"):
        TASKS[task](f"sqlite:///{path}")
    assert path.read_text().startswith("These are my notes.")


@pytest.mark.parametrize("task", ["upgrade", "serve"])
def test_upgrade_names_folder_that_cannot_be_written(task: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"^/proc/chat\.db: .* its folder must be writable\.$"):
        TASKS[task]("sqlite:////proc/chat.db")  # not even root writes there


@pytest.mark.parametrize("task", ["upgrade", "serve"])
def test_upgrade_names_missing_folder(tmp_path: Path, task: str) -> None:
    with pytest.raises(SettingsError, match=f"The folder {tmp_path}/none .* make it first"):
        TASKS[task](f"sqlite:///{tmp_path}/none/chat.db")


@pytest.mark.parametrize("task", ["current", "check", "rebuild", "a command"])
def test_tasks_do_not_change_file_of_another_program(tmp_path: Path, task: str) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE recipes (name); INSERT INTO recipes VALUES ('quince jelly')")
    before = path.read_bytes()
    with contextlib.suppress(StoreError):
        TASKS[task](f"sqlite:///{path}")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["other.db"]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_downgrade_refuses_file_that_is_served(database_url: str, engine: Engine) -> None:
    engine.dispose()
    with (
        file_lock.exclusive(database_url),
        pytest.raises(StoreUnavailable, match="Another chatfeedback serves this file"),
    ):
        migrate.downgrade(database_url, "base", destroy_data=True)
    assert check(database_url) == []


@pytest.mark.parametrize("task", ["downgrade", "check", "rebuild", "a command"])
def test_tasks_do_not_create_missing_file(tmp_path: Path, task: str) -> None:
    path = tmp_path / "chat.db"
    assert migrate.current(f"sqlite:///{path}").revision is None
    with pytest.raises(SettingsError, match="`chatfeedback db upgrade` makes one"):
        TASKS[task](f"sqlite:///{path}")
    assert not path.exists()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_tasks_report_refused_connection_without_password(empty_database_url: str, task: str) -> None:
    absent = empty_database_url.replace("postgres:@", "postgres:hush@").replace("/test_", "/absent_")
    with pytest.raises(StoreUnavailable, match=r'database "absent_.*" does not exist.* check user, password') as caught:
        TASKS[task](absent)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("task", TASKS)
def test_tasks_report_unreachable_postgres_without_password(task: str) -> None:
    with pytest.raises(
        StoreUnavailable, match=r"^postgresql://ada:\*\*\*@127.0.0.1:1/chat: .*cannot be reached"
    ) as caught:
        TASKS[task]("postgresql://ada:hush@127.0.0.1:1/chat")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://localhost/chat", "sqlite://", "sqlite:///:memory:"])
def test_current_refuses_unsupported_url(url: str) -> None:
    with pytest.raises(SettingsError):
        migrate.current(url)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_check_reports_damaged_file(database_url: str, talk: StoredTalk) -> None:
    talk.ask("Hello", "Hi")
    talk.store.writer.close()
    talk.store.engine.dispose()
    path = Path(database_url.removeprefix("sqlite:///"))
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt, match=r"damaged; restore it from a backup"):
        check(database_url)


@pytest.mark.parametrize("revision", ["base", "", "@", "+5", "0001:base"])
def test_upgrade_refuses_invalid_revision(empty_database_url: str, revision: str) -> None:
    with pytest.raises(SettingsError):
        migrate.upgrade(empty_database_url, revision)


def test_opened_does_not_change_file_of_older_schema(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    migrate.upgrade(f"sqlite:///{path}", "0001")
    with closing(sqlite3.connect(path, isolation_level=None)) as older:
        older.execute("PRAGMA journal_mode=DELETE")
    before = path.read_bytes()
    with pytest.raises(SchemaBehind, match="chatfeedback db upgrade"):
        a_command(f"sqlite:///{path}")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_upgrade_refuses_file_with_tables_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE recipes (name TEXT)")
        theirs.commit()
    with pytest.raises(StoreError, match="table recipes of something else"):
        migrate.upgrade(f"sqlite:///{path}")
    migrate.current(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as theirs:
        assert [name for (name,) in theirs.execute("SELECT name FROM sqlite_master")] == ["recipes"]

"""Opening, migrating and refusing databases: whatever is in the way is said in one sentence."""

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


def test_the_file_is_made_or_migrated_when_it_is_needed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    migrate.ensure_ready(url, migrate=False)
    assert check(url) == []
    migrate.downgrade(url, "base")
    migrate.ensure_ready(url, migrate=False)
    assert check(url) == []


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_a_postgres_that_is_behind_is_only_migrated_when_that_is_wanted(empty_database_url: str) -> None:
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
def test_a_database_of_a_newer_release_is_refused(database_url: str, engine: Engine, task: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '7777'"))
    with pytest.raises(StoreError, match=r"\(7777\) was made by a newer release of chatfeedback; install"):
        TASKS[task](database_url)


@pytest.mark.parametrize("task", ["upgrade", "serve"])
def test_a_database_that_holds_something_else_is_left_alone(
    empty_database_url: str, task: str, database_kind: str
) -> None:
    engine = open_engine(empty_database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE events (title TEXT)"))
    engine.dispose()
    with pytest.raises(StoreError, match="already has a table events of something else"):
        TASKS[task](empty_database_url)


@pytest.mark.parametrize("task", TASKS)
def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path, task: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are my notes. " * 100)
    with pytest.raises(SettingsError, match=r"notes\.txt: This file is not a SQLite database"):
        TASKS[task](f"sqlite:///{path}")
    assert path.read_text().startswith("These are my notes.")


@pytest.mark.parametrize("task", ["upgrade", "serve"])
def test_a_folder_that_cannot_be_written_is_named(task: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"^/proc/chat\.db: .* its folder must be writable\.$"):
        TASKS[task]("sqlite:////proc/chat.db")  # not even root writes there


@pytest.mark.parametrize("task", ["upgrade", "serve"])
def test_a_folder_that_does_not_exist_is_named(tmp_path: Path, task: str) -> None:
    with pytest.raises(SettingsError, match=f"The folder {tmp_path}/none .* make it first"):
        TASKS[task](f"sqlite:///{tmp_path}/none/chat.db")


@pytest.mark.parametrize("task", ["current", "check", "rebuild", "a command"])
def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path, task: str) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE recipes (name); INSERT INTO recipes VALUES ('quince jelly')")
    before = path.read_bytes()
    with contextlib.suppress(StoreError):
        TASKS[task](f"sqlite:///{path}")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["other.db"]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_the_schema_of_a_file_that_is_served_is_not_taken_back(database_url: str, engine: Engine) -> None:
    engine.dispose()
    with (
        file_lock.exclusive(database_url),
        pytest.raises(StoreUnavailable, match="Another chatfeedback serves this file"),
    ):
        migrate.downgrade(database_url, "base", destroy_data=True)
    assert check(database_url) == []


@pytest.mark.parametrize("task", ["downgrade", "check", "rebuild", "a command"])
def test_a_file_that_does_not_exist_is_not_made_to_be_looked_at(tmp_path: Path, task: str) -> None:
    path = tmp_path / "chat.db"
    assert migrate.current(f"sqlite:///{path}").revision is None
    with pytest.raises(SettingsError, match="`chatfeedback db upgrade` makes one"):
        TASKS[task](f"sqlite:///{path}")
    assert not path.exists()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_a_postgres_that_refuses_the_connection_is_named_without_the_password(
    empty_database_url: str, task: str
) -> None:
    absent = empty_database_url.replace("postgres:@", "postgres:hush@").replace("/test_", "/absent_")
    with pytest.raises(StoreUnavailable, match=r'database "absent_.*" does not exist.* check user, password') as caught:
        TASKS[task](absent)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("task", TASKS)
def test_a_postgres_that_nobody_serves_is_named_without_the_password(task: str) -> None:
    with pytest.raises(
        StoreUnavailable, match=r"^postgresql://ada:\*\*\*@127.0.0.1:1/chat: .*cannot be reached"
    ) as caught:
        TASKS[task]("postgresql://ada:hush@127.0.0.1:1/chat")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://localhost/chat", "sqlite://", "sqlite:///:memory:"])
def test_a_url_of_no_database_that_we_know_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        migrate.current(url)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_damaged_file_is_called_damaged(database_url: str, talk: StoredTalk) -> None:
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
def test_a_revision_that_is_none_is_one_sentence(empty_database_url: str, revision: str) -> None:
    with pytest.raises(SettingsError):
        migrate.upgrade(empty_database_url, revision)


def test_a_file_that_a_command_refuses_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    migrate.upgrade(f"sqlite:///{path}", "0001")
    with closing(sqlite3.connect(path, isolation_level=None)) as older:
        older.execute("PRAGMA journal_mode=DELETE")
    before = path.read_bytes()
    with pytest.raises(SchemaBehind, match="chatfeedback db upgrade"):
        a_command(f"sqlite:///{path}")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_with_other_tables_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE recipes (name TEXT)")
        theirs.commit()
    with pytest.raises(StoreError, match="table recipes of something else"):
        migrate.upgrade(f"sqlite:///{path}")
    migrate.current(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as theirs:
        assert [name for (name,) in theirs.execute("SELECT name FROM sqlite_master")] == ["recipes"]

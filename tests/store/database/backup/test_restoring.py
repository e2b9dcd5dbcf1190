"""Restore of a backup: only into a database that is not in use, and the previous one is kept."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from chatfeedback.errors import SettingsError, StoreCorrupt, StoreError, StoreUnavailable
from chatfeedback.store.database import backup, migrate
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.maintenance import check
from chatfeedback.store.opening import open_event_store
from conversation_builder import StoredTalk
from schemas import NEWEST, REVISIONS, schemas
from store.database.backup.backup_helpers import BackUp, Restore, command, damage, names, rows, silent, url_of


def test_restore_gives_same_rows_and_accepts_new_events(
    talk: StoredTalk, database_url: str, file: Path, tmp_path: Path, back_up: BackUp, restore: Restore
) -> None:
    talk.ask("Hello", "Hi")
    back_up()
    file.chmod(0o600)
    assert restore().aside is None
    assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) == 0o600
    restored = url_of(tmp_path / "new.db")
    assert rows(restored) == rows(database_url)
    used = [row[0] for row in rows(restored)["events"]]
    engine = open_engine(restored)
    going_on = StoredTalk(open_event_store(engine), talk.actor, talk.conversation_id)
    try:
        going_on.ask("And then?", "Then")
    finally:
        going_on.store.writer.close()
        engine.dispose()
    new = [row[0] for row in rows(restored)["events"]][len(used) :]
    assert min(new) > max(used)
    assert check(restored) == []


def test_restore_replaces_database_only_with_overwrite_and_keeps_it_aside(
    talk: StoredTalk, database: Path, back_up: BackUp, restore: Restore
) -> None:
    talk.ask("Hello", "Hi")
    back_up()
    before = rows(url_of(database))
    talk.ask("Later", "Lost")
    close(talk)
    lost = rows(url_of(database))
    with pytest.raises(SettingsError, match=r"chatfeedback\.db is there already; pass --overwrite to put"):
        restore(to=database)
    assert rows(url_of(database)) == lost
    aside = restore(overwrite=True, to=database).aside
    assert aside is not None
    assert rows(url_of(database)) == before
    assert rows(url_of(aside)) == lost


FAKES = {
    "a trigger that ignores events": (
        "CREATE TRIGGER quiet BEFORE INSERT ON events BEGIN SELECT RAISE(IGNORE); END",
        "the trigger quiet is not of chatfeedback",
    ),
    "a trigger that makes everybody an admin": (
        "CREATE TRIGGER crown AFTER INSERT ON users BEGIN UPDATE users SET role = 'admin'; END",
        "the trigger crown is not of chatfeedback",
    ),
    "a view": ("CREATE VIEW theirs AS SELECT * FROM events", "the view theirs is not of chatfeedback"),
    "a trigger less": ("DROP TRIGGER events_refuse_update", "the trigger events_refuse_update is missing"),
    "a trigger that does nothing": (
        "DROP TRIGGER audit_refuse_delete;"
        "CREATE TRIGGER audit_refuse_delete BEFORE DELETE ON audit BEGIN SELECT 1; END",
        "the trigger audit_refuse_delete is altered",
    ),
    "a column more": ("ALTER TABLE sessions ADD COLUMN token TEXT", "the table sessions is altered"),
    "a table less": ("DROP TABLE consents", "the table consents is missing"),
    "an index less": ("DROP INDEX ix_events_kind_time", "the index ix_events_kind_time is missing"),
}


@pytest.mark.parametrize("fake", FAKES)
def test_restore_refuses_file_with_another_schema(
    talk: StoredTalk, database: Path, file: Path, tmp_path: Path, back_up: BackUp, restore: Restore, fake: str
) -> None:
    talk.ask("Hello", "Hi")
    back_up()
    statements, difference = FAKES[fake]
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(statements)
    before = names(tmp_path / "new.db")
    with pytest.raises(StoreCorrupt, match=f"It is no backup of chatfeedback, for {difference}; take another one."):
        restore()
    assert names(tmp_path / "new.db") == before


def test_restore_refuses_file_that_only_names_a_revision(tmp_path: Path) -> None:
    file = tmp_path / "fake.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(
            "CREATE TABLE alembic_version (version_num TEXT);"
            f"INSERT INTO alembic_version VALUES ('{NEWEST.revision}');"
            "CREATE TABLE events (position INTEGER)"
        )
    with pytest.raises(StoreCorrupt, match="It is no backup of chatfeedback"):
        backup.restore(url_of(tmp_path / "new.db"), file, False, silent)
    assert not (tmp_path / "new.db").exists()


def test_restore_leaves_tables_and_indexes_of_others_alone(
    talk: StoredTalk, file: Path, back_up: BackUp, restore: Restore
) -> None:
    talk.ask("Hello", "Hi")
    back_up()
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("CREATE TABLE notes (note TEXT); CREATE INDEX own ON events (model); ANALYZE")
    restore()


def close(talk: StoredTalk) -> None:
    talk.store.writer.close()
    talk.store.engine.dispose()


def test_restore_refuses_database_in_use(talk: StoredTalk, database: Path, back_up: BackUp, restore: Restore) -> None:
    talk.ask("Hello", "Hi")
    back_up()
    with pytest.raises(StoreUnavailable, match=r"chatfeedback\.db: Another program has it open, .* end that first\.$"):
        restore(overwrite=True, to=database)
    talk.ask("And then?", "Nothing was lost")
    assert check(url_of(database)) == []


def test_restore_refuses_database_that_is_opened_meanwhile(
    talk: StoredTalk, database: Path, back_up: BackUp, restore: Restore
) -> None:
    talk.ask("Hello", "Hi")
    back_up()
    close(talk)
    before = rows(url_of(database))
    with closing(sqlite3.connect(database)) as other:

        def begin(_done: int, _total: int) -> None:
            other.execute("PRAGMA journal_mode=WAL")
            other.execute("SELECT count(*) FROM events").fetchone()

        with pytest.raises(StoreUnavailable, match="Another program has it open"):
            restore(overwrite=True, to=database, progress=begin)
    assert rows(url_of(database)) == before


def test_restore_replaces_damaged_database(talk: StoredTalk, database: Path, back_up: BackUp, restore: Restore) -> None:
    talk.ask("Hello", "Hi")
    back_up()
    before = rows(url_of(database))
    close(talk)
    database.write_bytes(b"\xff" * database.stat().st_size)
    aside = restore(overwrite=True, to=database).aside
    assert aside is not None
    assert aside.read_bytes().startswith(b"\xff")
    assert rows(url_of(database)) == before


def test_restore_moves_wal_of_deleted_database_aside(
    talk: StoredTalk, database: Path, back_up: BackUp, restore: Restore
) -> None:
    talk.ask("Hello", "Hi")
    back_up()
    before = rows(url_of(database))
    talk.ask("Later", "Lost")
    log = database.with_name("chatfeedback.db-wal")
    left = log.read_bytes()
    close(talk)
    database.unlink()
    log.write_bytes(left)
    assert restore(to=database).aside is None
    assert rows(url_of(database)) == before
    assert check(url_of(database)) == []
    assert [path.read_bytes() for path in database.parent.glob("*.before-*-wal")] == [left]


def notes(file: Path) -> None:
    file.write_text("These are my notes. " * 100)


def recipes(file: Path) -> None:
    with closing(sqlite3.connect(file)) as theirs:
        theirs.execute("CREATE TABLE recipes (name TEXT)")


def newer_schema(file: Path) -> None:
    migrate.upgrade(url_of(file))
    with closing(sqlite3.connect(file)) as newer:
        newer.execute("UPDATE alembic_version SET version_num = '7777'")
        newer.commit()


def damaged(file: Path) -> None:
    NEWEST.fill(url_of(file))
    damage(file)


@pytest.mark.parametrize(
    ("make", "kind", "sentence"),
    [
        (notes, SettingsError, r"monday\.db: This file is not a SQLite database; choose another one\.$"),
        (recipes, StoreError, r"monday\.db: It is no database of chatfeedback; name one that is\.$"),
        (
            newer_schema,
            StoreError,
            r"monday\.db: Its schema \(7777\) was made by a newer release of",
        ),
        (damaged, StoreCorrupt, r"monday\.db was not restored: .* damaged"),
        (lambda file: None, SettingsError, r"^There is no file .*monday\.db; name a backup\.$"),
    ],
)
def test_restore_refuses_invalid_backup(
    talk: StoredTalk,
    database: Path,
    file: Path,
    restore: Restore,
    make: Callable[[Path], None],
    kind: type[Exception],
    sentence: str,
) -> None:
    talk.ask("Hello", "Hi")
    close(talk)
    make(file)
    before = names(database), rows(url_of(database))
    with pytest.raises(kind, match=sentence):
        restore(overwrite=True, to=database)
    assert (names(database), rows(url_of(database))) == before


@pytest.mark.process
def test_restore_accepts_older_schema_and_reports_it(tmp_path: Path, file: Path) -> None:
    schemas()[0].fill(url_of(file))
    done = command("db", "restore", str(file), "--database-url", url_of(tmp_path / "new.db"))
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == (
        f"Its schema ({REVISIONS[0]}) is an older one; `chatfeedback db upgrade` or `serve` upgrades it."
    )
    migrate.ensure_ready(url_of(tmp_path / "new.db"), migrate=False)
    assert check(url_of(tmp_path / "new.db")) == []


def test_restore_includes_wal_beside_backup(talk: StoredTalk, database: Path, tmp_path: Path) -> None:
    talk.ask("Hello", "Hi")
    assert database.with_name("chatfeedback.db-wal").stat().st_size > 0
    backup.restore(url_of(tmp_path / "new.db"), database, False, silent)
    assert rows(url_of(tmp_path / "new.db")) == rows(url_of(database))


def test_restore_refuses_missing_folder_and_does_not_create_it(
    talk: StoredTalk, tmp_path: Path, back_up: BackUp, restore: Restore
) -> None:
    back_up()
    with pytest.raises(SettingsError, match=r"^The folder .*/none for the database does not exist; make it first\.$"):
        restore(to=tmp_path / "none" / "new.db")
    assert not (tmp_path / "none").exists()

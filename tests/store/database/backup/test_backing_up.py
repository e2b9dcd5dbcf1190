"""Backup of a SQLite file: complete, of one state, and made while it is in use."""

from __future__ import annotations

import resource
import stat
from pathlib import Path

import pytest

from chatfeedback.errors import SettingsError, StoreCorrupt, StoreUnavailable
from chatfeedback.store.database import backup, migrate
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.maintenance import check
from conversation_builder import People, StoredTalk
from readonly_dirs import read_only
from schemas import REVISIONS, schemas
from store.database.backup.backup_helpers import BackUp, command, damage, names, rows, silent, url_of, write_much
from store.database.backup.under_load import assert_holds, load


def test_backup_contains_all_rows_in_one_file_with_mode_of_database(
    talk: StoredTalk, database_url: str, database: Path, file: Path, back_up: BackUp
) -> None:
    talk.ask("Hello", "Hi")
    database.chmod(0o640)
    copied = back_up()
    assert (copied.events, copied.revision) == (len(talk.store.events_of(talk.conversation_id)), REVISIONS[-1])
    assert names(file) == ["monday.db"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert rows(url_of(file)) == rows(database_url)
    assert check(url_of(file)) == []


def test_backup_is_readable_in_read_only_folder(
    talk: StoredTalk, database_url: str, open_folder: Path, back_up: BackUp
) -> None:
    talk.ask("Hello", "Hi")
    file = open_folder / "monday.db"
    back_up(to=file)
    with read_only(open_folder):
        tables = rows(url_of(file))
    assert tables == rows(database_url)


@pytest.mark.process
def test_backup_under_load_contains_acknowledged_events_and_no_partial_commit(
    store: EventStore, people: People, database_url: str, file: Path
) -> None:
    write_much(StoredTalk(store, people.ada), megabytes=8)
    with load(store, people.ada) as going:
        for number in range(2):
            before = going.acknowledged()
            target = file.with_name(f"{number}.db")
            done = command("db", "backup", str(target), "--database-url", database_url)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith("Backed up ")
            going.wait_for_more(events=20)
            assert_holds(url_of(target), before)
    assert_holds(database_url, going.acknowledged())


def test_backup_is_of_one_state_and_ends_while_database_is_written(
    talk: StoredTalk, people: People, database_url: str, back_up: BackUp, file: Path
) -> None:
    write_much(talk, megabytes=12)
    before = rows(database_url)
    steps: list[tuple[int, int]] = []

    def write_on(done: int, total: int) -> None:
        assert len(steps) < 20, "it begins anew with every write"
        steps.append((done, total))
        StoredTalk(talk.store, people.ada).ask("Meanwhile", "Nothing waits")

    back_up(progress=write_on)
    assert len(steps) > 2
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    assert rows(url_of(file)) == before


def test_backup_keeps_older_schema(tmp_path: Path, file: Path) -> None:
    old = url_of(tmp_path / "old.db")
    schemas()[0].fill(old)
    copied = backup.back_up(old, file, False, silent)
    assert copied.revision == migrate.current(url_of(file)).revision == REVISIONS[0]
    migrate.upgrade(url_of(file))
    assert check(url_of(file)) == []


def test_backup_replaces_existing_file_only_with_overwrite(talk: StoredTalk, file: Path, back_up: BackUp) -> None:
    back_up()
    first = file.read_bytes()
    talk.ask("Hello", "Hi")
    with pytest.raises(SettingsError, match=r"monday\.db is there already; name another file, or pass --overwrite\.$"):
        back_up()
    assert file.read_bytes() == first
    assert back_up(overwrite=True).events == len(talk.store.events_of(talk.conversation_id))
    assert names(file) == ["monday.db"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nowhere/monday.db", r"^The folder .*/nowhere does not exist; make it first\.$"),
        (".", r"^.* is no file; name one\.$"),
        ("chatfeedback.db", r"^.*chatfeedback\.db is the database itself; name another file\.$"),
        ("chatfeedback.db-wal", r"^.* is the database itself; name another file\.$"),
    ],
)
def test_backup_refuses_invalid_target(
    talk: StoredTalk, database: Path, back_up: BackUp, name: str, sentence: str
) -> None:
    talk.ask("Hello", "Hi")
    before = names(database)
    with pytest.raises(SettingsError, match=sentence):
        back_up(overwrite=True, to=database.parent / name)
    assert names(database) == before
    assert check(url_of(database)) == []


def test_backup_refuses_target_with_wal_of_deleted_file(
    talk: StoredTalk, database: Path, file: Path, back_up: BackUp
) -> None:
    talk.ask("Hello", "Hi")
    log = file.with_name("monday.db-wal")
    log.write_bytes(database.with_name("chatfeedback.db-wal").read_bytes())
    left = log.read_bytes()
    sentence = r"monday\.db-wal would be taken for a part of the backup; move it away, or name another file\.$"
    with pytest.raises(SettingsError, match=sentence):
        back_up()
    assert list(file.parent.iterdir()) == [log]
    assert log.read_bytes() == left
    log.rename(file.with_name("kept"))
    back_up()
    assert rows(url_of(file)) == rows(url_of(database))


def test_backup_reports_read_only_folder_and_leaves_no_file(open_folder: Path) -> None:
    url, file = url_of(open_folder / "chat.db"), open_folder / "monday.db"
    migrate.upgrade(url)
    sentence = r"^No backup was made at .*: Permission denied\.$"
    with read_only(open_folder), pytest.raises(StoreUnavailable, match=sentence):
        backup.back_up(url, file, False, silent)
    assert names(file) == ["chat.db"]


@pytest.mark.process
def test_backup_reports_full_disk_and_leaves_no_file(talk: StoredTalk, database_url: str, file: Path) -> None:
    write_much(talk, megabytes=4)

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    done = command("db", "backup", str(file), "--database-url", database_url, preexec_fn=no_room)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"chatfeedback: No backup was made at {file}: ")
    assert done.stderr.count("\n") == 1
    assert names(file) == []


def test_backup_leaves_no_file_when_interrupted(talk: StoredTalk, file: Path, back_up: BackUp) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(progress=interrupt)
    assert names(file) == []


def test_backup_refuses_damaged_database(talk: StoredTalk, database: Path, file: Path, back_up: BackUp) -> None:
    write_much(talk, megabytes=1)
    damage(database)
    with pytest.raises(StoreCorrupt, match=r"^No backup was made at .* damaged"):
        back_up()
    assert names(file) == []

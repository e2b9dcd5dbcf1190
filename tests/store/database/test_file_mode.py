"""File mode: a new database can be read by its owner only; an existing one keeps its mode."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatfeedback.errors import SettingsError, StoreUnavailable
from chatfeedback.store.database import backup, migrate
from chatfeedback.store.database.engine import open_engine, readable_by_all
from chatfeedback.store.opening import open_event_store
from serving import served
from store.database.backup.backup_helpers import silent


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """Return the permissions of the files of a database, without the lock, which is empty."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.suffix != ".lock"}


@pytest.mark.usefixtures("_umask")
def test_new_database_and_its_backup_are_readable_by_owner_only(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chat.db"
    migrate.upgrade(url)
    engine = open_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE notes (note TEXT)")
        assert modes(tmp_path) == {"chat.db": 0o600, "chat.db-wal": 0o600, "chat.db-shm": 0o600}
    engine.dispose()
    assert readable_by_all(url) is None
    backup.back_up(url, tmp_path / "backup.db", False, silent)
    assert modes(tmp_path)["backup.db"] == 0o600


@pytest.mark.parametrize(("mode", "is_open"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_existing_database_keeps_its_mode(tmp_path: Path, mode: int, is_open: bool) -> None:
    url, file = f"sqlite:///{tmp_path}/chat.db", tmp_path / "chat.db"
    migrate.upgrade(url)
    file.chmod(mode)
    engine = open_engine(url)
    store = open_event_store(engine)
    store.close()
    engine.dispose()
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert (readable_by_all(url) == file) == is_open


@pytest.mark.process
def test_serve_says_once_that_database_is_readable_by_all(tmp_path: Path) -> None:
    url, file = f"sqlite:///{tmp_path}/chat.db", tmp_path / "chat.db"
    migrate.upgrade(url)
    file.chmod(0o644)
    arguments = ("--database-url", url, "--model", "m", "--base-url", "http://127.0.0.1:9/v1")
    with served(*arguments) as server:
        assert server.address
        assert server.log.count(f"every user of this machine can read {file}; run `chmod o= {file}`") == 1


@pytest.fixture
def _as_another_user(tmp_path: Path) -> Iterator[None]:
    """Give the file to the user 1 and act as the user 2, where root runs the tests; else take all rights away."""
    migrate.upgrade(f"sqlite:///{tmp_path}/chat.db")
    if os.geteuid() != 0:
        (tmp_path / "chat.db").chmod(0)
        yield
        return
    for path in tmp_path.iterdir():
        os.chown(path, 1, 1)
    entered = stat.S_IXGRP | stat.S_IXOTH  # the group stays that of root
    before = {folder: stat.S_IMODE(folder.stat().st_mode) for folder in (tmp_path, *tmp_path.parents)}
    closed = {folder: mode for folder, mode in before.items() if mode & entered != entered}
    for folder, mode in closed.items():
        folder.chmod(mode | entered)
    os.seteuid(2)
    yield
    os.seteuid(0)
    for folder, mode in closed.items():
        folder.chmod(mode)


@pytest.mark.usefixtures("_as_another_user")
@pytest.mark.parametrize("read_only", [True, False])
def test_file_of_another_user_is_named_with_its_owner(tmp_path: Path, read_only: bool) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/chat.db", read_only=read_only)
    with pytest.raises(
        StoreUnavailable, match=r"^The file belongs to the user \w+, and this user may not read it; run"
    ):
        engine.connect()
    engine.dispose()


@pytest.mark.usefixtures("_as_another_user")
@pytest.mark.skipif(os.geteuid() != 0, reason="Only root can act as another user.")
def test_folder_of_another_user_is_named(tmp_path: Path) -> None:
    os.seteuid(0)
    tmp_path.chmod(0o700)
    os.seteuid(2)
    with pytest.raises(SettingsError, match=f"^This user may not enter the folder {tmp_path} of the database; run"):
        open_engine(f"sqlite:///{tmp_path}/chat.db")

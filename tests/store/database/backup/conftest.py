"""A SQLite database, and a place for its backup."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatfeedback.store.database import backup
from chatfeedback.store.database.backup import Copied
from store.database.backup.backup_helpers import BackUp, Restore, silent, url_of


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Path of the backup."""
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "monday.db"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Folder outside that of pytest, which is closed to the user that root becomes in `read_only`."""
    with tempfile.TemporaryDirectory(prefix="chatfeedback-read-only-") as folder:
        yield Path(folder)


@pytest.fixture
def database(database_url: str) -> Path:
    return Path(database_url.removeprefix("sqlite:///"))


@pytest.fixture
def back_up(database_url: str, file: Path) -> BackUp:
    def back_up(overwrite: bool = False, to: Path = file, progress: backup.Progress = silent) -> Copied:
        return backup.back_up(database_url, to, overwrite, progress)

    return back_up


@pytest.fixture
def restore(tmp_path: Path, file: Path) -> Restore:
    """Function that restores into a new database, or into another one."""

    def restore(overwrite: bool = False, to: Path = tmp_path / "new.db", progress: backup.Progress = silent) -> Copied:
        return backup.restore(url_of(to), file, overwrite, progress)

    return restore

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
    """Where the backup goes."""
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "monday.db"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Not in pytest's folder, which is closed to the user that root becomes in a folder that may only be read."""
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
    """Into a new database, or another one."""

    def restore(overwrite: bool = False, to: Path = tmp_path / "new.db", progress: backup.Progress = silent) -> Copied:
        return backup.restore(url_of(to), file, overwrite, progress)

    return restore

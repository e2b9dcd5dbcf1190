"""Locks of SQLite on its file: whatever this process does with the file, it does not lose them.

POSIX drops all locks of a process on a file when the process closes the file anywhere. Another process then takes
itself for the only user of the database and deletes the write-ahead log, to which this process goes on writing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chatfeedback.store.database import backup, migrate
from chatfeedback.store.database.engine import open_engine, readable_by_all
from store.database.backup.backup_helpers import silent

COUNT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM notes").fetchone()[0])
connection.close()
"""


def open_again(url: str) -> None:
    engine = open_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    engine.dispose()


def open_read_only(url: str) -> None:
    engine = open_engine(url, read_only=True)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    engine.dispose()


def back_up(url: str) -> None:
    file = Path(url.removeprefix("sqlite:///"))
    backup.back_up(url, file.with_name("backup.db"), False, silent)


@pytest.mark.process
@pytest.mark.parametrize("use", [open_again, open_read_only, migrate.upgrade, readable_by_all, back_up])
def test_other_process_finds_all_commits_after_this_one_used_file(tmp_path: Path, use: Callable[[str], object]) -> None:
    file = tmp_path / "chat.db"
    migrate.upgrade(url := f"sqlite:///{file}")
    engine = open_engine(url)
    counted = []
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE notes (note TEXT)")
        connection.commit()
        use(url)
        for _ in range(3):
            connection.exec_driver_sql("INSERT INTO notes VALUES ('kept')")
            connection.commit()
            command = [sys.executable, "-c", COUNT, str(file)]
            counted.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    engine.dispose()
    assert counted == [1, 2, 3]

"""File lock: at most one application serves a SQLite file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from chatfeedback.errors import SettingsError, StoreUnavailable
from chatfeedback.store.database import file_lock
from chatfeedback.store.database.backup import back_up, restore
from serving import ROOT, served

pytestmark = pytest.mark.process

HOLDING = """
import sys
from chatfeedback.store.database import file_lock
from chatfeedback.store.database.backup import back_up, restore
with file_lock.exclusive(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_file_lock_refuses_second_server_and_first_one_continues(new_sqlite: Callable[[], str]) -> None:
    flags = ["--database-url", url := new_sqlite(), "--model", "m", "--base-url", "http://127.0.0.1:9/v1"]
    with served(*flags) as first:
        assert first.address, first.log
        with served(*flags) as second:
            assert (second.address, second.ended()) == ("", 1)
            path = url.removeprefix("sqlite:///")
            sentence = "Another chatfeedback serves this file; end that one, or choose another --database-url."
            assert second.log == f"chatfeedback: {path}: {sentence}\n"
        # Commands that read, export or check the database are not blocked.
        command = [sys.executable, "-m", "chatfeedback", "db", "check", "--database-url", url]
        assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
        first.signal(signal.SIGTERM)
        assert first.ended() == 0


def test_file_lock_is_released_when_its_process_is_killed(new_sqlite: Callable[[], str]) -> None:
    url = new_sqlite()
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=paths
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(StoreUnavailable, match="Another chatfeedback serves this file"), file_lock.exclusive(url):
            pass
        holder.kill()
        holder.wait()
    with file_lock.exclusive(url):
        pass


def test_restore_refuses_file_that_is_served(new_sqlite: Callable[[], str], tmp_path: Path) -> None:
    url, backup = new_sqlite(), tmp_path / "backup.db"
    back_up(url, backup, False, lambda _done, _all: None)
    link = tmp_path / "link.db"
    link.symlink_to(url.removeprefix("sqlite:///"))
    with (
        file_lock.exclusive(f"sqlite:///{link}"),
        pytest.raises(StoreUnavailable, match="Another chatfeedback serves this file"),
    ):
        restore(url, backup, True, lambda _done, _all: None)


def test_file_lock_does_not_lock_database(new_sqlite: Callable[[], str]) -> None:
    url = new_sqlite()
    with file_lock.exclusive(url), closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute("CREATE TABLE other (x)")
        connection.commit()


def test_file_lock_reports_lock_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "chatfeedback.db.lock").mkdir()  # the user of the tests may write everywhere
    with (
        pytest.raises(StoreUnavailable, match="cannot be written"),
        file_lock.exclusive(f"sqlite:///{tmp_path}/chatfeedback.db"),
    ):
        pass


def test_serve_and_file_lock_report_missing_folder_and_do_not_create_it(tmp_path: Path) -> None:
    sentence = f"The folder {tmp_path}/no/such for the database does not exist; make it first."
    with served("--database-url", f"sqlite:///{tmp_path}/no/such/chat.db") as refused:
        assert refused.address == ""
        assert refused.ended() == 2
        assert refused.log == f"chatfeedback: {sentence}\n"
    (tmp_path / "link.db").symlink_to(tmp_path / "no/such/chat.db")
    with pytest.raises(SettingsError, match=sentence), file_lock.exclusive(f"sqlite:///{tmp_path}/link.db"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["link.db"]

"""Helpers for tests of backups."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import select

from chatfeedback.store.database.backup import Copied
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.schema import metadata
from conversation_builder import StoredTalk

BackUp = Callable[..., Copied]
"""`back_up(overwrite, to, progress)`"""
Restore = Callable[..., Copied]
"""`restore(overwrite, to, progress)`"""


def silent(_done: int, _total: int) -> None:
    pass


def url_of(file: Path) -> str:
    return f"sqlite:///{file}"


def rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    engine = open_engine(url, read_only=True)
    with engine.connect() as connection:
        tables = {
            table.name: [tuple(row) for row in connection.execute(select(table))] for table in metadata.sorted_tables
        }
    engine.dispose()
    return tables


def names(file: Path) -> list[str]:
    """List the folder of a file, without what SQLite and `file_lock` keep beside a file that is in use."""
    beside = ("db-wal", "db-shm", ".lock")
    return sorted(path.name for path in file.parent.iterdir() if not path.name.endswith(beside))


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chatfeedback", *arguments], capture_output=True, text=True, timeout=120, **options
    )


def write_much(talk: StoredTalk, megabytes: int) -> None:
    for _ in range(megabytes):
        talk.ask("a river " * 25_000, "water " * 50_000)  # each is stored twice, as an event and as a message


def damage(file: Path) -> None:
    """Damage an index, which no query of a backup reads."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_events_kind_time'").fetchone()
    with file.open("r+b") as stream:
        stream.seek((page - 1) * size + 100)
        stream.write(b"\xff" * (size - 100))

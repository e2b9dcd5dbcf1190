"""Folders and databases that are not open to everything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder and its files read-only; root, who may write everywhere, becomes another user meanwhile."""
    with _open_to_this({path: 0o555 if path.is_dir() else 0o444 for path in (folder, *folder.iterdir())}):
        yield


@contextmanager
def write_only(folder: Path) -> Iterator[None]:
    """Make a folder write-only: files can be created in it, but not listed; root becomes another user meanwhile."""
    with _open_to_this({folder: 0o333}):
        yield


@contextmanager
def _open_to_this(modes_by_path: dict[Path, int]) -> Iterator[None]:
    modes = {path: path.stat().st_mode for path in modes_by_path}
    for path, mode in modes_by_path.items():
        path.chmod(mode)
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)
        for path, mode in modes.items():
            path.chmod(mode)


def reading_url(url: str) -> str:
    """Return the same database as a read-only server, like a standby; the address of a SQLite file stays as it is."""
    if not url.startswith("postgresql"):
        return url
    return f"{url}{'&' if '?' in url else '?'}options=-c%20default_transaction_read_only%3Don"

"""Databases that may only be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder and its files may only be read; root, who may write everywhere, is somebody else meanwhile."""
    modes = {path: path.stat().st_mode for path in (folder, *folder.iterdir())}
    for path in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
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
    """The same database on a server that lets nobody write, as a standby does. That of a SQLite file stays as it is."""
    if not url.startswith("postgresql"):
        return url
    return f"{url}{'&' if '?' in url else '?'}options=-c%20default_transaction_read_only%3Don"

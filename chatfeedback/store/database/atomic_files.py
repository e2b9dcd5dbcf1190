"""Atomic files: written completely or not at all; and the files that SQLite keeps beside a database."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_UNFLUSHABLE = (errno.EACCES, errno.EINVAL)
"""Errors of a folder that may be written but not read, and of file systems, such as shares, that flush files only."""


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Write a new file beside `target` and rename it over `target` when the block succeeds; else delete it.

    The new file gets the mode of the file that it replaces. It is flushed to the disk before the rename. Raises
    OSError.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            if target.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
        sync_folder(target.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Flush a folder, so that renames and new names in it survive a power cut, where a folder can be flushed."""
    if os.name != "posix":  # elsewhere a folder cannot be opened, and the file system flushes names itself
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _UNFLUSHABLE:
            raise


def sidecar_files(database: Path) -> list[Path]:
    """Return the paths that SQLite may use beside a database file."""
    return [database.with_name(database.name + suffix) for suffix in ("-wal", "-shm", "-journal")]

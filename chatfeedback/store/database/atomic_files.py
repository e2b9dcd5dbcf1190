"""Files: those that are there whole or not at all, and those that SQLite has beside its own."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_NEVER_FLUSHED = (errno.EACCES, errno.EINVAL)
"""A folder that may be written and not read, and one on a file system, such as a share, that flushes files only."""


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A new file beside `target`, which takes its place when the block ends well, and is gone when not.

    It has the permissions of the file that it replaces, and is on the disk when it has the name. Raises OSError.
    """
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            if target.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
        sync_folder(target.parent)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Names that were given or taken in it outlast a power cut from now on, where a folder can be flushed."""
    if os.name != "posix":  # elsewhere a folder cannot be opened, and the file system sees to it
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NEVER_FLUSHED:
            raise


def beside(database: Path) -> list[Path]:
    """What SQLite may have beside the file of a database."""
    return [database.with_name(database.name + more) for more in ("-wal", "-shm", "-journal")]

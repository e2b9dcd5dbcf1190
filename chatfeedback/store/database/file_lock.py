"""File lock: one application for one SQLite file.

A server holds a lock on a file beside the database. The operating system releases it when the process dies, however
it dies. It does not block other programs that read or write the database. Postgres has no such lock: any number of
replicas share one database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from chatfeedback.errors import StoreUnavailable
from chatfeedback.store.database.engine import file_of, parse_url


@contextmanager
def exclusive(url: str) -> Iterator[None]:
    """Hold the lock of the database to the end of the block; do nothing for Postgres.

    Raises:
        StoreUnavailable: Another process serves the file, or the lock file cannot be written.
        SettingsError: The folder of the database does not exist.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        yield
        return
    database = file_of(parsed)  # resolved, because a link names the same file
    lock = FileLock(f"{database}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise StoreUnavailable(
            f"{database}: Another chatfeedback serves this file; end that one, or choose another --database-url."
        ) from None
    except OSError as error:
        raise StoreUnavailable(
            f"{database}: {database.name}.lock beside it cannot be written ({error.strerror}); make it writable."
        ) from error
    try:
        yield
    finally:
        lock.release()

"""One application for one SQLite file.

Whoever serves a file holds a lock on a file beside it, which the system takes back when the process dies, however it
dies. Other programs that read or write the database are not held up by it. Postgres has no such lock: any number of
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
    """Holds the lock to the end of the block.

    Raises StoreUnavailable when another process serves the file, SettingsError where its folder does not exist.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        yield
        return
    database = file_of(parsed)  # a link is another name for the same file
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

"""Backup and restore of a SQLite file while it is in use; on Postgres an error names the database's own tools.

A backup is one snapshot of the database. The copy is made in steps inside one read transaction: it does not block
writers, and does not restart when they write. It is checked, flushed to the disk and only then renamed into place. It
is a single file, without a write-ahead log. Its mode is that of the database, because its content is as private.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from chatfeedback.errors import SettingsError, StoreCorrupt, StoreError, StoreUnavailable
from chatfeedback.store.database import file_lock, migrate, schema_objects
from chatfeedback.store.database.atomic_files import replacing, sidecar_files, sync_folder
from chatfeedback.store.database.clock import now
from chatfeedback.store.database.engine import open_engine, parse_url
from chatfeedback.store.database.errors import translating

Progress = Callable[[int, int], None]
"""Callback with the number of pages copied and the total number of pages."""
_PAGE_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Copied:
    """Result of a backup or a restore."""

    events: int
    revision: str
    aside: Path | None = None
    """Path of the previous database, which a restore keeps."""


def back_up(url: str, file: Path, overwrite: bool, progress: Progress) -> Copied:
    """Copy the database into `file`, however much is written meanwhile. On an error there is no new file.

    Raises:
        SettingsError: The file may not be written, or the database is a Postgres.
        StoreError: The backup could not be made.
    """
    database = _require_sqlite(url, "backed up", f"pg_dump --format=custom --file={shlex.quote(str(file))}")
    revision = migrate.revision_of(url)
    target = file.resolve()  # replace the file behind a link, not the link
    if not target.parent.is_dir():
        raise SettingsError(f"The folder {target.parent} does not exist; make it first.")
    if target in (database, *sidecar_files(database)):
        raise SettingsError(f"{file} is the database itself; name another file.")
    if target.exists() and not target.is_file():
        raise SettingsError(f"{file} is no file; name one.")
    if target.exists() and not overwrite:
        raise SettingsError(f"{file} is there already; name another file, or pass --overwrite.")
    with _error_context(f"No backup was made at {file}"), replacing(target) as part:
        _check_unused(target)
        if leftover := [
            path for path in sidecar_files(target) if path.exists()
        ]:  # the file was deleted without its sidecar files
            raise SettingsError(
                f"{leftover[0]} would be taken for a part of the backup; move it away, or name another file."
            )
        _copy_mode(database, part.name)
        return Copied(_copy_database(url, Path(part.name), progress), revision)


def restore(url: str, file: Path, overwrite: bool, progress: Progress) -> Copied:
    """Replace the database by a backup; the previous database is kept beside it.

    Raises:
        SettingsError: The file is no backup, the database exists and `overwrite` is False, or it is a Postgres.
        StoreError: The backup is damaged, of a newer release or of another schema, or the database is in use.
    """
    database = _require_sqlite(
        url,
        "restored",
        "pg_restore --single-transaction --no-owner --no-privileges",
        f" {shlex.quote(str(file))} into an empty database",
    )
    if not file.is_file():
        raise SettingsError(f"There is no file {file}; name a backup.")
    source = URL.create("sqlite", database=str(file)).render_as_string()
    revision = migrate.revision_of(source)
    if file.resolve() == database:
        raise SettingsError(f"{file} is the database itself; name a backup.")
    if database.exists() and not overwrite:
        raise SettingsError(
            f"{database} is there already; pass --overwrite to put the backup in its place (what is there is kept)."
        )
    with _exclusive(url, database), _error_context(f"{file} was not restored"), replacing(database) as part:
        if not database.exists():
            _copy_mode(file, part.name)
        events = _copy_database(source, Path(part.name), progress)
        _check_schema(Path(part.name), revision)
        os.fsync(part.fileno())  # flush, which is slow, before the last check that the database is unused
        _check_unused(database)
        return Copied(events, revision, _move_aside(database))


def _require_sqlite(url: str, verb: str, command: str, suffix: str = "") -> Path:
    """Return the file of the database. Raises SettingsError, which names the command to use, for Postgres."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return Path(parsed.database or "").resolve()
    # Without secrets: the tools read them from PGPASSWORD or ~/.pgpass.
    query = {name: value for name, value in parsed.query.items() if name not in ("options", "password", "sslpassword")}
    plain = URL.create("postgresql", parsed.username, None, parsed.host, parsed.port, parsed.database, query)
    target = shlex.quote(plain.render_as_string())
    raise SettingsError(
        f"A Postgres database is {verb} by its own tools (docs/upgrading.md); run {command} --dbname={target}{suffix}."
    )


def _copy_mode(file: Path, copy: str) -> None:
    Path(copy).chmod(stat.S_IMODE(file.stat().st_mode))


@contextmanager
def _error_context(summary: str) -> Iterator[None]:
    """Translate errors of the block into one sentence that begins with `summary`."""
    try:
        with translating():
            yield
    except OSError as error:
        raise StoreUnavailable(f"{summary}: {error.strerror or error}.") from error
    except StoreError as error:
        raise type(error)(f"{summary}: {error}") from error


def _copy_database(url: str, copy: Path, progress: Progress) -> int:
    """Copy the database into an empty file and check its integrity; return the number of events."""
    engine = open_engine(url, read_only=True)
    try:
        with closing(sqlite3.connect(copy, isolation_level=None)) as target:
            target.execute("PRAGMA synchronous=OFF")  # the caller flushes the file once, before the rename
            with engine.connect() as connection, connection.begin():
                connection.exec_driver_sql("SELECT 1 FROM sqlite_master").close()  # the snapshot begins here
                source = connection.connection.driver_connection
                assert isinstance(source, sqlite3.Connection)  # noqa: S101 - for the type checker
                source.backup(
                    target,
                    pages=_PAGE_BATCH,
                    progress=lambda _status, remaining, total: progress(total - remaining, total),
                )
            target.execute("PRAGMA journal_mode=DELETE")  # everything in one file
            (result,) = target.execute("PRAGMA integrity_check(1)").fetchone()
            if result != "ok":
                raise StoreCorrupt(f"The database file is damaged ({result}); take an earlier backup.")
            (events,) = target.execute("SELECT count(*) FROM events").fetchone()
            return int(events)
    finally:
        engine.dispose()
        for remaining in sidecar_files(copy):  # SQLite cannot always delete them when the disk is full
            remaining.unlink(missing_ok=True)


def _check_schema(copy: Path, revision: str) -> None:
    """Check that the copy has the schema of its revision and nothing that changes what is stored."""
    with closing(sqlite3.connect(copy)) as connection:
        for difference in schema_objects.differences(connection, revision):
            raise StoreCorrupt(f"It is no backup of chatfeedback, for {difference}; take another one.")


# Replacing the database


@contextmanager
def _exclusive(url: str, database: Path) -> Iterator[None]:
    """Hold the lock against servers for the block. Raises StoreUnavailable while another program uses the file."""
    with file_lock.exclusive(url):
        _check_unused(database)
        yield


def _check_unused(database: Path) -> None:
    """Check that no other program has the file open: merging the write-ahead log needs exclusive access."""
    if not database.exists():
        return
    with translating(), closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.DatabaseError as error:
            code = error.sqlite_errorcode & 0xFF
            if code == sqlite3.SQLITE_BUSY:
                raise StoreUnavailable(
                    f"{database}: Another program has it open, such as `chatfeedback serve`; end that first."
                ) from error
            # A damaged file, or one that is no database, may be the reason for the restore.
            if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise


def _move_aside(database: Path) -> Path | None:
    """Give the old database a second name by a hard link, so that its name always exists."""
    aside = database.with_name(f"{database.name}.before-{now():%Y%m%d-%H%M%S}")
    exists = database.exists()
    if exists:
        os.link(database, aside)
    for old, new in zip(sidecar_files(database), sidecar_files(aside), strict=True):
        # If the database was deleted alone, SQLite would apply its write-ahead log to the restored one.
        if old.exists():
            old.rename(new)
    sync_folder(database.parent)
    return aside if exists else None

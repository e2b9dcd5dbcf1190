"""Backups of a SQLite file, made while it is in use, and put back. Postgres has its own tools, which we name.

A backup is one state of the database: the copy is made in steps inside one reading transaction, so that writers are not
held up by it, and it does not begin anew whenever they write. It is checked, and has its name when it is whole and on
the disk. It is a file of its own, without a log beside it, and everything in it is private.
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
from chatfeedback.store.database import file_lock, migrate
from chatfeedback.store.database.atomic_files import beside, replacing, sync_folder
from chatfeedback.store.database.clock import now
from chatfeedback.store.database.engine import open_engine, parse_url
from chatfeedback.store.database.errors import translating

Progress = Callable[[int, int], None]
"""Told how many pages of the file are copied, and how many there are."""
_PAGE_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup holds, or what was put back."""

    events: int
    revision: str
    aside: Path | None = None
    """Where the database is kept that was there before."""


def back_up(url: str, file: Path, overwrite: bool, progress: Progress) -> Copied:
    """Copies the database, however much is written meanwhile, into `file`.

    Raises SettingsError for a file that may not be written and for Postgres, StoreError when it could not be done.
    There is no new file then.
    """
    database = _sqlite(url, "backed up", f"pg_dump --format=custom --file={shlex.quote(str(file))}")
    revision = migrate.revision_of(url)
    target = file.resolve()  # the file behind a link is replaced, not the link
    if not target.parent.is_dir():
        raise SettingsError(f"The folder {target.parent} does not exist; make it first.")
    if target in (database, *beside(database)):
        raise SettingsError(f"{file} is the database itself; name another file.")
    if target.exists() and not target.is_file():
        raise SettingsError(f"{file} is no file; name one.")
    if target.exists() and not overwrite:
        raise SettingsError(f"{file} is there already; name another file, or pass --overwrite.")
    with _explained(f"No backup was made at {file}"), replacing(target) as part:
        _check_unused(target)
        if left := [path for path in beside(target) if path.exists()]:  # somebody has deleted the file alone
            raise SettingsError(
                f"{left[0]} would be taken for a part of the backup; move it away, or name another file."
            )
        _as_private_as(database, part.name)
        return Copied(_copied(url, Path(part.name), progress), revision)


def restore(url: str, file: Path, overwrite: bool, progress: Progress) -> Copied:
    """Puts a backup in the place of the database; what was there is kept beside it.

    Raises SettingsError for a file that is no backup, for a database that is there unless `overwrite` is True, and for
    Postgres; StoreError for a backup of a newer release or a damaged one, and for a database that is in use.
    """
    database = _sqlite(
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
    with _unused(url, database), _explained(f"{file} was not restored"), replacing(database) as part:
        if not database.exists():
            _as_private_as(file, part.name)
        events = _copied(source, Path(part.name), progress)
        os.fsync(part.fileno())  # what takes its time comes before the last look at who uses the database
        _check_unused(database)
        return Copied(events, revision, _set_aside(database))


def _sqlite(url: str, done: str, command: str, more: str = "") -> Path:
    """The file of the database; raises SettingsError that names the command for Postgres."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return Path(parsed.database or "").resolve()
    # Without a secret; the tools take that from PGPASSWORD or ~/.pgpass.
    query = {name: value for name, value in parsed.query.items() if name not in ("options", "password", "sslpassword")}
    plain = URL.create("postgresql", parsed.username, None, parsed.host, parsed.port, parsed.database, query)
    address = shlex.quote(plain.render_as_string())
    raise SettingsError(
        f"A Postgres database is {done} by its own tools (docs/upgrading.md); run {command} --dbname={address}{more}."
    )


def _as_private_as(file: Path, copy: str) -> None:
    Path(copy).chmod(stat.S_IMODE(file.stat().st_mode))


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """What goes wrong in the block is one sentence that begins with `what`."""
    try:
        with translating():
            yield
    except OSError as error:
        raise StoreUnavailable(f"{what}: {error.strerror or error}.") from error
    except StoreError as error:
        raise type(error)(f"{what}: {error}") from error


def _copied(url: str, copy: Path, progress: Progress) -> int:
    """Copies the database into an empty file, and looks whether all is well there; the number of its events."""
    engine = open_engine(url, read_only=True)
    try:
        with closing(sqlite3.connect(copy, isolation_level=None)) as target:
            target.execute("PRAGMA synchronous=OFF")  # who gives the file its name flushes it once, at the end
            with engine.connect() as connection, connection.begin():
                connection.exec_driver_sql("SELECT 1 FROM sqlite_master").close()  # from here on it is one state
                source = connection.connection.driver_connection
                assert isinstance(source, sqlite3.Connection)  # noqa: S101 - for the type checker
                source.backup(
                    target, pages=_PAGE_BATCH, progress=lambda _status, left, total: progress(total - left, total)
                )
            target.execute("PRAGMA journal_mode=DELETE")  # all of it in the one file
            (found,) = target.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise StoreCorrupt(f"The database file is damaged ({found}); take an earlier backup.")
            (events,) = target.execute("SELECT count(*) FROM events").fetchone()
            return int(events)
    finally:
        engine.dispose()
        for left in beside(copy):  # SQLite itself cannot always take them away when the disk is full
            left.unlink(missing_ok=True)


# The database that is replaced


@contextmanager
def _unused(url: str, database: Path) -> Iterator[None]:
    """Nobody begins to serve the file meanwhile. Raises StoreUnavailable while another program uses it."""
    with file_lock.exclusive(url):
        _check_unused(database)
        yield


def _check_unused(database: Path) -> None:
    """Brings what is still in the write-ahead log into the file, which nobody else may have open for that."""
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
            # A file that is damaged, or no database, is what a backup may be wanted for.
            if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise


def _set_aside(database: Path) -> Path | None:
    """Gives what is there a second name; that of the database never stands for nothing."""
    aside = database.with_name(f"{database.name}.before-{now():%Y%m%d-%H%M%S}")
    there = database.exists()
    if there:
        os.link(database, aside)
    for left, kept in zip(beside(database), beside(aside), strict=True):
        # Where somebody has deleted the file alone, SQLite would take the log of it for that of the restored one.
        if left.exists():
            left.rename(kept)
    sync_folder(database.parent)
    return aside if there else None

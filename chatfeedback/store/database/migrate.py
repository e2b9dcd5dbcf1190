"""Migrations: the schema of a database, for `chatfeedback db …` and `serve`.

Each function opens the database itself and closes it again. Every error is one sentence (SettingsError or StoreError)
that names the database, without its password.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, inspect

import chatfeedback
from chatfeedback.errors import ConnectionRefused, SchemaBehind, SettingsError, StoreError, StoreUnavailable
from chatfeedback.store.database import file_lock
from chatfeedback.store.database.engine import open_engine, parse_url
from chatfeedback.store.database.errors import translating
from chatfeedback.store.schema import metadata


@dataclass(frozen=True, slots=True)
class Current:
    """Schema revision of a database."""

    revision: str | None
    """None: no migration was ever run."""
    head: str
    """Revision that this release needs."""

    @property
    def is_head(self) -> bool:
        """True if the database has the revision that this release needs."""
        return self.revision == self.head


def current(url: str) -> Current:
    """Return the schema revision; None for a SQLite file that does not exist, which is not created.

    Raises:
        StoreError: The database is of a newer release; all functions here raise it.
    """
    parsed = parse_url(url)
    if _is_missing(parsed):
        return Current(None, _head())
    with _connect(parsed, read_only=True) as connection:
        return Current(_known_revision(connection), _head())


def revision_of(url: str) -> str:
    """Return the schema revision of an existing database, the newest or an older one.

    Raises:
        StoreError: The database is of a newer release, or not one of chatfeedback.
    """
    parsed = parse_url(url)
    _check_exists(parsed)
    with _connect(parsed, read_only=True) as connection:
        revision = _known_revision(connection)
        if revision is None:
            raise StoreError("It is no database of chatfeedback; name one that is.")
        return revision


def upgrade(url: str, revision: str = "head") -> tuple[str | None, str]:
    """Migrate up to `revision`, creating a SQLite file; return the revisions before and after."""
    parsed = parse_url(url)
    if revision == "base":
        raise SettingsError("An upgrade goes up; `chatfeedback db downgrade base` goes back.")
    _check_revision(revision)
    with _connect(parsed) as connection:
        check_encoding(connection)
        # Read the tables first: a concurrent migration commits them together with the revision.
        tables = _tables(connection)
        # A Postgres database may be shared; a SQLite file with other tables belongs to another program.
        tables.discard("alembic_version")  # it stays, empty, after a downgrade to base
        conflicts = sorted(tables if parsed.get_backend_name() == "sqlite" else tables & metadata.tables.keys())
        before = _known_revision(connection)
        if conflicts and before is None:
            raise StoreError(f"It already has a table {conflicts[0]} of something else; choose an empty database.")
        _migrate(connection, command.upgrade, revision)
        after = _current(connection).revision
        assert after is not None  # noqa: S101 - the upgrade has just set it
        return before, after


def downgrade(url: str, revision: str, destroy_data: bool = False) -> tuple[str | None, str | None]:
    """Migrate down to `revision` ("base": drop everything); return the revisions before and after.

    Raises:
        StoreError: Events would be destroyed and `destroy_data` is False, or the SQLite file is being served. Nothing
            was changed.
    """
    parsed = parse_url(url)
    _check_revision(revision)
    _check_exists(parsed)
    with file_lock.exclusive(url), _connect(parsed) as connection:
        before = _known_revision(connection)
        _migrate(connection, command.downgrade, revision, destroy_data=destroy_data)
        return before, _current(connection).revision


def ensure_ready(url: str, migrate: bool) -> None:
    """Ensure that the application can use the database: create or migrate it as needed.

    A SQLite file is created or migrated in any case, a Postgres is migrated only if `migrate` is True.

    Raises:
        SchemaBehind: A Postgres is at an older revision and `migrate` is False.
        StoreError: The database is of a newer release.
    """
    parsed = parse_url(url)
    with _connect(parsed) as connection:
        check_encoding(connection)
        before = _known_revision(connection)
        if before == _head():
            return
        if not migrate and parsed.get_backend_name() != "sqlite":
            raise SchemaBehind(
                "Its schema is older than this release needs; back it up, then run `chatfeedback db upgrade`"
                " (or serve with --migrate)."
            )
    upgrade(url)


def check_encoding(connection: Connection) -> None:
    """Check that a Postgres database can store every text. Raises StoreError for another encoding than UTF-8."""
    if connection.dialect.name == "postgresql":
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        connection.rollback()
        if encoding != "UTF8":
            raise StoreError(
                f"Its encoding is {encoding}, in which not every text can be stored; make a database with "
                "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and copy what is there with pg_dump."
            )


def is_at_head(connection: Connection) -> bool:
    """Return True if an open database still has the schema of this release."""
    return _current(connection).is_head


# Opening


_CREATE_HINT = "`chatfeedback db upgrade` makes one"


@contextmanager
def opened(url: str, *, read_only: bool = False, hint: str = _CREATE_HINT) -> Iterator[Engine]:
    """Open an engine for one command on an existing database at the newest schema.

    Errors of the block are not changed.

    Args:
        url: URL of the database.
        read_only: As for `open_engine`.
        hint: What to do if there is no database, for the error.

    Raises:
        SettingsError: There is no such database.
        StoreError: It cannot be used, or is not at the newest schema.
    """
    _check_usable(parse_url(url), hint)
    engine = open_engine(url, read_only=read_only)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def prefixed_errors(url: str) -> Iterator[None]:
    """Prefix each SettingsError and StoreError of the block with the database, without its password."""
    prefix = _display_url(parse_url(url))
    try:
        yield
    except ConnectionRefused as error:
        # Not necessarily a wrong setting: a server refuses in the same way while a database is being restored.
        raise StoreUnavailable(
            f"{prefix}: The database server refused the connection ({error.reason}); "
            "check user, password and name in the URL, then try again."
        ) from error
    except (StoreError, SettingsError) as error:
        raise type(error)(f"{prefix}: {error}") from error


@contextmanager
def _connect(url: URL, *, read_only: bool = False) -> Iterator[Connection]:
    """Open a connection; errors of the block name the database."""
    address = url.render_as_string(hide_password=False)
    engine = open_engine(address, read_only=read_only)
    try:
        with prefixed_errors(address), translating(), engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _display_url(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)


def _check_usable(url: URL, hint: str = _CREATE_HINT) -> None:
    """Check that the database exists and is at the newest schema, before a command changes anything."""
    _check_exists(url, hint)
    with _connect(url, read_only=True) as connection:
        _check_at_head(connection)


def _check_exists(url: URL, hint: str = _CREATE_HINT) -> None:
    """Check that the database exists. Raises SettingsError for a missing SQLite file."""
    if _is_missing(url):
        raise SettingsError(f"There is no database at {url.database}; {hint}.")


def _is_missing(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()


# Migrations


def _config() -> Config:
    package = Path(chatfeedback.__file__).parent
    shipped, in_checkout = package / "migrations", package.parent / "migrations"
    config = Config()
    config.set_main_option("script_location", str(shipped if shipped.is_dir() else in_checkout).replace("%", "%%"))
    return config


def _head() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None  # noqa: S101 - there are migrations
    return head


def _current(connection: Connection) -> Current:
    revision = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()
    return Current(revision, _head())


def _known_revision(connection: Connection) -> str | None:
    """Return the revision of the database. Raises StoreError for one that this release does not know."""
    revision = _current(connection).revision
    try:
        ScriptDirectory.from_config(_config()).get_revision(revision)  # type: ignore[arg-type]
    except CommandError:
        raise StoreError(
            f"Its schema ({revision}) was made by a newer release of chatfeedback; install that release or a later one."
        ) from None
    return revision


def _check_at_head(connection: Connection) -> None:
    if _known_revision(connection) != _head():
        raise SchemaBehind("Its schema is older than this release needs; run `chatfeedback db upgrade` first.")


def _check_revision(revision: str) -> None:
    """Check that the revision exists. Raises SettingsError."""
    try:
        known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    except CommandError as error:
        raise StoreError(str(error)) from error
    if revision not in {"head", "base", *known}:
        raise SettingsError(f"There is no schema revision {revision!r}; write head, base or a number.")


def _tables(connection: Connection) -> set[str]:
    tables = set(inspect(connection).get_table_names())
    connection.rollback()
    return tables


def _migrate(connection: Connection, run: Callable[[Config, str], None], revision: str, **attributes: Any) -> None:
    config = _config()
    config.attributes.update(connection=connection, **attributes)
    try:
        run(config, revision)
    except CommandError as error:
        raise StoreError(str(error)) from error

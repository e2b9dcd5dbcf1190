"""Looking after a database: its schema, its soundness, its projections. What `chatfeedback db …` and `serve` do.

Each function opens the database for itself and closes it again. Whatever goes wrong is one sentence (SettingsError or
StoreError) that names the database, without its password.
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
    """Where the schema of a database stands."""

    revision: str | None
    """None: nothing was ever migrated."""
    head: str
    """The revision that this release needs."""

    @property
    def is_head(self) -> bool:
        return self.revision == self.head


def current(url: str) -> Current:
    """Where the schema stands; an embedded file that does not exist stands nowhere, and is not made.

    Raises StoreError for a database of a newer release, as everything here does.
    """
    parsed = parse_url(url)
    if _is_absent(parsed):
        return Current(None, _head())
    with _opened(parsed, read_only=True) as connection:
        return Current(_known(connection), _head())


def revision_of(url: str) -> str:
    """Where the schema of a database that is there stands, at the newest or an older one.

    Raises StoreError for a database of a newer release, and for one of something else.
    """
    parsed = parse_url(url)
    _check_exists(parsed)
    with _opened(parsed, read_only=True) as connection:
        revision = _known(connection)
        if revision is None:
            raise StoreError("It is no database of chatfeedback; name one that is.")
        return revision


def upgrade(url: str, revision: str = "head") -> tuple[str | None, str]:
    """Migrates up to `revision`; returns where the schema stood before and stands now. Makes an embedded file."""
    parsed = parse_url(url)
    if revision == "base":
        raise SettingsError("An upgrade goes up; `chatfeedback db downgrade base` goes back.")
    _check_revision(revision)
    with _opened(parsed) as connection:
        # The tables first: whoever migrates at the same moment commits them together with the revision.
        found = _tables(connection)
        # A server's database may be shared; a file with other tables is somebody else's.
        found.discard("alembic_version")  # empty where everything was taken back
        taken = sorted(found if parsed.get_backend_name() == "sqlite" else found & metadata.tables.keys())
        before = _known(connection)
        if taken and before is None:
            raise StoreError(f"It already has a table {taken[0]} of something else; choose an empty database.")
        _migrate(connection, command.upgrade, revision)
        after = _current(connection).revision
        assert after is not None  # noqa: S101 - it was upgraded just now
        return before, after


def downgrade(url: str, revision: str, destroy_data: bool = False) -> tuple[str | None, str | None]:
    """Migrates down to `revision`, "base" for nothing at all; returns where the schema stood before and stands now.

    Raises StoreError, and has changed nothing, when events would be destroyed and `destroy_data` is False, and for a
    SQLite file that is being served.
    """
    parsed = parse_url(url)
    _check_revision(revision)
    _check_exists(parsed)
    with file_lock.exclusive(url), _opened(parsed) as connection:
        before = _known(connection)
        _migrate(connection, command.downgrade, revision, destroy_data=destroy_data)
        return before, _current(connection).revision


def ensure_ready(url: str, migrate: bool) -> None:
    """Sees to it that the application can use the database.

    An embedded file is made, or migrated, as needed. A Postgres that is behind is migrated if `migrate` says so, and
    raises SchemaBehind otherwise. A database of a newer release raises StoreError.
    """
    parsed = parse_url(url)
    with _opened(parsed) as connection:
        before = _known(connection)
        if before == _head():
            return
        if not migrate and parsed.get_backend_name() != "sqlite":
            raise SchemaBehind(
                "Its schema is older than this release needs; back it up, then run `chatfeedback db upgrade`"
                " (or serve with --migrate)."
            )
    upgrade(url)


def is_at_head(connection: Connection) -> bool:
    """Whether a database that is in use still has the schema of this release."""
    return _current(connection).is_head


# Opening


_UPGRADE_MAKES_ONE = "`chatfeedback db upgrade` makes one"


@contextmanager
def opened(url: str, *, read_only: bool = False, otherwise: str = _UPGRADE_MAKES_ONE) -> Iterator[Engine]:
    """An engine for one command on a database that is there and at the newest schema. `read_only`: see `open_engine`.

    Raises SettingsError and StoreError for a database that is not; what the block raises stays as it is. `otherwise`
    says what to do when there is none.
    """
    _check_usable(parse_url(url), otherwise)
    engine = open_engine(url, read_only=read_only)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def saying_which(url: str) -> Iterator[None]:
    """What of SettingsError and StoreError the block raises names the database, without its password."""
    shown = _shown(parse_url(url))
    try:
        yield
    except ConnectionRefused as error:
        # Not a wrong setting for certain: a server says the same while a database is being restored.
        raise StoreUnavailable(
            f"{shown}: The database server refused the connection ({error.reason}); "
            "check user, password and name in the URL, then try again."
        ) from error
    except (StoreError, SettingsError) as error:
        raise type(error)(f"{shown}: {error}") from error


@contextmanager
def _opened(url: URL, *, read_only: bool = False) -> Iterator[Connection]:
    """A connection to the database; whatever is raised meanwhile names it."""
    address = url.render_as_string(hide_password=False)
    engine = open_engine(address, read_only=read_only)
    try:
        with saying_which(address), translating(), engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _shown(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)


def _check_usable(url: URL, otherwise: str = _UPGRADE_MAKES_ONE) -> None:
    """Whatever a command is going to do: a database that is refused is left as it is."""
    _check_exists(url, otherwise)
    with _opened(url, read_only=True) as connection:
        _check_newest(connection)


def _check_exists(url: URL, otherwise: str = _UPGRADE_MAKES_ONE) -> None:
    """Raises SettingsError for an embedded file that does not exist."""
    if _is_absent(url):
        raise SettingsError(f"There is no database at {url.database}; {otherwise}.")


def _is_absent(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()


# Migrations


def _config() -> Config:
    package = Path(chatfeedback.__file__).parent
    shipped, beside = package / "migrations", package.parent / "migrations"
    config = Config()
    config.set_main_option("script_location", str(shipped if shipped.is_dir() else beside).replace("%", "%%"))
    return config


def _head() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None  # noqa: S101 - there are migrations
    return head


def _current(connection: Connection) -> Current:
    revision = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()
    return Current(revision, _head())


def _known(connection: Connection) -> str | None:
    """The revision of the database; raises StoreError for one that this release has never heard of."""
    revision = _current(connection).revision
    try:
        ScriptDirectory.from_config(_config()).get_revision(revision)  # type: ignore[arg-type]
    except CommandError:
        raise StoreError(
            f"Its schema ({revision}) was made by a newer release of chatfeedback; install that release or a later one."
        ) from None
    return revision


def _check_newest(connection: Connection) -> None:
    if _known(connection) != _head():
        raise SchemaBehind("Its schema is older than this release needs; run `chatfeedback db upgrade` first.")


def _check_revision(revision: str) -> None:
    """Raises SettingsError."""
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

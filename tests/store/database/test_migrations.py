"""Migrations make exactly the schema in the code, and never leave the log unguarded."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, inspect, text

from chatfeedback.errors import SettingsError, StoreError
from chatfeedback.store.database import migrate
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log import append_only
from chatfeedback.store.maintenance import check
from chatfeedback.store.schema import metadata
from conversation_builder import StoredTalk

MIGRATIONS = Path(__file__).parents[3] / "migrations"
REVISIONS = [
    script.revision
    for script in reversed(list(ScriptDirectory(MIGRATIONS).walk_revisions()))  # oldest first
]


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Engine]:
    engine = open_engine(empty_database_url)
    yield engine
    engine.dispose()


def test_migrated_database_is_at_head_and_passes_check(database_url: str) -> None:
    assert migrate.current(database_url) == migrate.Current(REVISIONS[-1], REVISIONS[-1])
    assert check(database_url) == []


def test_migrations_create_exactly_schema_of_code(empty_database_url: str, empty: Engine, database_kind: str) -> None:
    migrate.upgrade(empty_database_url)
    migrated = definitions(empty, database_kind)
    migrate.downgrade(empty_database_url, "base")
    metadata.create_all(empty)
    assert migrated == definitions(empty, database_kind)


def definitions(engine: Engine, kind: str) -> set[tuple[str, ...]]:
    """Return the definitions of all tables, columns, constraints and indexes, without alembic's table."""
    query = SQLITE_DEFINITIONS if kind == "sqlite" else POSTGRES_DEFINITIONS
    with engine.connect() as connection:
        rows = [tuple(map(str, row)) for row in connection.execute(text(query)) if "alembic" not in str(row[0])]
    return {(*row[:-1], *_parts(row[-1])) for row in rows}


def _parts(definition: str) -> list[str]:
    """Split a CREATE TABLE into its sorted parts, as their order does not matter."""
    head, _, rest = " ".join(definition.replace('"', "").split()).partition("(")
    body, _, tail = rest.rpartition(")")
    return [head, tail, *sorted(part.strip() for part in re.split(r", (?=CONSTRAINT|\w+ [A-Z])", body))]


SQLITE_DEFINITIONS = "SELECT tbl_name, name, sql FROM sqlite_master WHERE type IN ('table', 'index')"
POSTGRES_DEFINITIONS = """
    SELECT table_name, column_name, data_type, is_nullable, is_identity, identity_generation, column_default
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL
    SELECT tablename, indexname, indexdef, '', '', '', '' FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '', '', ''
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
"""


def test_log_is_guarded_after_each_upgrade_and_downgrade(empty_database_url: str, empty: Engine) -> None:
    def assert_guarded() -> None:
        with empty.connect() as connection:
            assert inspect(connection).has_table("events")
            assert append_only.problems(connection) == []

    for revision in REVISIONS:
        migrate.upgrade(empty_database_url, revision)
        assert_guarded()
    for revision in reversed(REVISIONS[:-1]):
        migrate.downgrade(empty_database_url, revision)
        assert_guarded()
    assert migrate.downgrade(empty_database_url, "base") == (REVISIONS[0], None)
    assert migrate.upgrade(empty_database_url) == (None, REVISIONS[-1])
    assert check(empty_database_url) == []


def test_upgrade_changes_nothing_when_repeated(empty_database_url: str) -> None:
    assert migrate.upgrade(empty_database_url) == (None, REVISIONS[-1])
    assert migrate.upgrade(empty_database_url) == (REVISIONS[-1], REVISIONS[-1])


def test_upgrade_and_downgrade_name_unknown_revision(empty_database_url: str) -> None:
    for move in (migrate.upgrade, migrate.downgrade):
        migrate.upgrade(empty_database_url)
        with pytest.raises(SettingsError, match="no schema revision 'tomorrow'"):
            move(empty_database_url, "tomorrow")


def test_downgrade_requires_destroy_data_flag_when_it_drops_events(database_url: str, talk: StoredTalk) -> None:
    talk.ask("Hello", "Hi")
    with pytest.raises(StoreError, match="--destroy-data"):
        migrate.downgrade(database_url, "base")
    assert talk.store.events_of(talk.conversation_id) != []
    assert check(database_url) == []
    talk.store.engine.dispose()
    talk.store.writer.close()
    assert migrate.downgrade(database_url, "base", destroy_data=True) == (REVISIONS[-1], None)
    assert migrate.current(database_url).revision is None


@pytest.mark.process
def test_upgrade_succeeds_in_concurrent_processes(empty_database_url: str) -> None:
    script = (
        "import sys; from chatfeedback.store.database import migrate; migrate.ensure_ready(sys.argv[1], migrate=True)"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, empty_database_url]) for _ in range(6)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 6
    assert check(empty_database_url) == []


# Careless migrations


CARELESS = '''
"""Careless."""

from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade() -> None:
    {body}


def downgrade() -> None:
    pass
'''

RECREATE = "with op.batch_alter_table({!r}, recreate='always'): pass"


def run_careless(engine: Engine, folder: Path, body: str) -> None:
    scripts = folder / "migrations"
    shutil.copytree(MIGRATIONS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "9999_careless.py").write_text(CARELESS.format(head=REVISIONS[-1], body=body))
    config = Config()
    config.set_main_option("script_location", str(scripts))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("body", "lost"),
    [
        (RECREATE.format("events"), "trigger events_refuse_update"),
        ("op.execute('DROP TRIGGER events_refuse_replace')", "trigger events_refuse_replace"),
    ],
)
def test_migration_that_loses_guard_is_undone_on_sqlite(
    database_url: str, talk: StoredTalk, tmp_path: Path, body: str, lost: str
) -> None:
    talk.ask("Hello", "Hi")
    with pytest.raises(CommandError, match=lost):
        run_careless(talk.store.engine, tmp_path, body)
    assert migrate.current(database_url).is_head
    assert check(database_url) == []


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
@pytest.mark.parametrize(
    ("statement", "lost"),
    [
        ("DROP TRIGGER events_refuse_change ON events", "trigger events_refuse_change"),
        ("ALTER TABLE events DISABLE TRIGGER events_refuse_truncate", "trigger events_refuse_truncate"),
        ("ALTER TABLE events ALTER position DROP IDENTITY", "position"),
    ],
)
def test_migration_that_loses_guard_is_undone_on_postgres(
    database_url: str, talk: StoredTalk, tmp_path: Path, statement: str, lost: str
) -> None:
    talk.ask("Hello", "Hi")
    with pytest.raises(CommandError, match=lost):
        run_careless(talk.store.engine, tmp_path, f"op.execute({statement!r})")
    assert migrate.current(database_url).is_head
    assert check(database_url) == []


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_batch_migration_can_recreate_table_that_others_refer_to(
    database_url: str, talk: StoredTalk, tmp_path: Path
) -> None:
    talk.ask("Hello", "Hi")
    run_careless(talk.store.engine, tmp_path, RECREATE.format("conversations"))
    with talk.store.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM messages")) == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_migration_that_breaks_foreign_key_is_undone(database_url: str, talk: StoredTalk, tmp_path: Path) -> None:
    talk.ask("Hello", "Hi")
    with pytest.raises(CommandError, match="would break a foreign key"):
        run_careless(talk.store.engine, tmp_path, "op.execute('DELETE FROM annotators')")
    assert check(database_url) == []

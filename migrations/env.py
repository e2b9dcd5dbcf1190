"""Migration environment: run by `chatfeedback db …` on its open connection, or by `alembic` on a URL.

Concurrent runs are serialised. A migration that leaves the log without its triggers is rolled back. A run from an older
schema to the newest rebuilds the projections from the log. So no migration has to fill their columns, and a changed
meaning of an event also applies to old events.

* Postgres: an advisory lock and one transaction for the whole run. The lock timeout for locks that the running
  application holds is short: otherwise all its requests would queue behind the migration.
* SQLite: one transaction that takes the write lock before its first read. Foreign keys are off meanwhile, because batch
  mode drops the tables that it recreates; they are checked before the commit. Batch mode also loses triggers and
  AUTOINCREMENT: never use it on `events`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alembic import context
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, text

from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log import append_only
from chatfeedback.store.projections.rebuild import rebuild_in_transaction
from chatfeedback.store.schema import metadata

ADVISORY_LOCK = 0x63686174_66656564  # "chatfeed"
QUEUE_SECONDS, LOCK_SECONDS = 60, 10


def run(connection: Connection) -> None:
    """Run the requested migrations. Raises CommandError if the log would be left without triggers."""
    sqlite = connection.dialect.name == "sqlite"
    with (_sqlite if sqlite else _postgres)(connection):
        context.configure(
            connection=connection,
            target_metadata=metadata,
            render_as_batch=sqlite,
            compare_type=True,
            transaction_per_migration=False,  # all or nothing: a downgrade may be refused half way
            on_version_apply=_guarded,
        )
        with context.begin_transaction():
            before = context.get_context().get_current_revision()
            context.run_migrations()
            if before not in (None, context.get_head_revision()) and _is_newest(connection):
                rebuild_in_transaction(connection)


def _is_newest(connection: Connection) -> bool:
    return MigrationContext.configure(connection).get_current_revision() == context.get_head_revision()


def _guarded(ctx: MigrationContext, *_: Any, **__: Any) -> None:
    assert ctx.connection is not None  # noqa: S101 - migrations run on a connection only
    if problems := append_only.problems(ctx.connection):
        raise CommandError("The migration would leave the log unguarded and was undone: " + " ".join(problems))


@contextmanager
def _sqlite(connection: Connection) -> Iterator[None]:
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        with connection.begin():
            yield
            if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise CommandError(f"The migration would break a foreign key of {broken[0]} and was undone.")
    finally:
        driver.execute("PRAGMA foreign_keys=ON")


@contextmanager
def _postgres(connection: Connection) -> Iterator[None]:
    # A lock of the transaction: behind a pooler, one of the session could not be returned.
    with connection.begin():
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{QUEUE_SECONDS}s'")
        connection.execute(text("SELECT pg_advisory_xact_lock(:value)"), {"value": ADVISORY_LOCK})
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        yield


def main() -> None:
    """Use the caller's open connection, else the URL of `-x url=…` or of alembic.ini."""
    config = context.config
    if (given := config.attributes.get("connection")) is not None:
        run(given)
        return
    url = context.get_x_argument(as_dictionary=True).get("url") or config.get_main_option("sqlalchemy.url")
    engine = open_engine(str(url))
    try:
        with engine.connect() as connection:
            run(connection)
    finally:
        engine.dispose()


main()

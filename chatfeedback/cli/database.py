"""Commands `db …`: migrations, checks and backups of the database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chatfeedback.cli.options import Command, Config, DatabaseUrl, configured_url, exit_on_signals, progress

db = typer.Typer(help="Look after the database.", no_args_is_help=True)


@db.command(cls=Command)
def upgrade(
    revision: Annotated[str, typer.Argument(help="The schema revision to go to.")] = "head",
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Bring the database to the newest schema; makes the SQLite file if there is none."""
    from chatfeedback.store.database import migrate

    _print_change(*migrate.upgrade(configured_url(config, database_url), revision))


@db.command(cls=Command)
def downgrade(
    revision: Annotated[
        str, typer.Argument(help="The schema revision to go back to, base for none at all.", show_default=False)
    ],
    destroy_data: Annotated[
        bool, typer.Option("--destroy-data", help="Go on even where recorded events would be lost.")
    ] = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Take the database back to an older schema."""
    from chatfeedback.store.database import migrate

    _print_change(*migrate.downgrade(configured_url(config, database_url), revision, destroy_data=destroy_data))


@db.command(cls=Command)
def current(database_url: DatabaseUrl = None, config: Config = None) -> None:
    """Say which schema the database has, and which is the newest."""
    from chatfeedback.store.database import migrate

    schema = migrate.current(configured_url(config, database_url))
    newest = "the newest" if schema.is_head else f"the newest is {schema.head}"
    typer.echo(f"{schema.revision or 'empty'} ({newest})")


@db.command(cls=Command)
def check(database_url: DatabaseUrl = None, config: Config = None) -> None:
    """Check the schema, the guards of the log, and that all else agrees with the log; status 1 if not."""
    from chatfeedback.store.maintenance import check

    problems = check(configured_url(config, database_url))
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo("The database is as it should be.")


@db.command(cls=Command)
def rebuild(database_url: DatabaseUrl = None, config: Config = None) -> None:
    """Make everything that is derived from the log again."""
    from chatfeedback.store.maintenance import rebuild

    url = configured_url(config, database_url)
    with progress("Reading events") as report:
        events = rebuild(url, report)
    typer.echo(f"Rebuilt from {events:,} events.")


@db.command(cls=Command)
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.", show_default=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there already.")] = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Copy a SQLite database into a file, also while it is served; for Postgres, say what to run."""
    from chatfeedback.store.database import backup as backups

    url = configured_url(config, database_url)
    with exit_on_signals(), progress("Copying pages") as report:
        result = backups.back_up(url, file, overwrite, report)
    typer.echo(f"Backed up {result.events:,} events to {file}.")


@db.command(cls=Command)
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.", show_default=False)],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the database if there is one; it is kept beside the new one.")
    ] = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Put a backup in the place of a SQLite database, which must not be in use; for Postgres, say what to run."""
    from chatfeedback.store.database import backup as backups
    from chatfeedback.store.database import migrate

    url = configured_url(config, database_url)
    with exit_on_signals(), progress("Copying pages") as report:
        result = backups.restore(url, file, overwrite, report)
    typer.echo(f"Restored {result.events:,} events from {file}.")
    if result.aside:
        typer.echo(f"What was there before is {result.aside}.")
    if not migrate.current(url).is_head:
        typer.echo(f"Its schema ({result.revision}) is an older one; `chatfeedback db upgrade` or `serve` upgrades it.")


def _print_change(before: str | None, after: str | None) -> None:
    if before == after:
        typer.echo(f"Nothing to do, the database is at {after or 'empty'}.")
    else:
        typer.echo(f"{before or 'empty'} → {after or 'empty'}")

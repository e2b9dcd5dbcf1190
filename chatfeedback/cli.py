"""The command line: parse, call, print.

Whatever a command needs is imported inside it, so that `--help` loads no web framework, data frame or
database library. Errors pass one seam, `_Commands`: an error of chatfeedback becomes one sentence on
stderr and status 1, or 2 where a flag or a setting is wrong.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from chatfeedback import __version__
from chatfeedback.errors import ChatFeedbackError, InputError, SettingsError

if TYPE_CHECKING:
    from chatfeedback.analytics.filters import Filters


class _Commands(TyperGroup):
    """The seam where errors turn into a sentence and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # The reader (`| head`) has gone. Python flushes stdout once more at exit: let it have a place.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(128 + signal.SIGPIPE) from None
        except KeyboardInterrupt:
            raise typer.Exit(128 + signal.SIGINT) from None
        except ChatFeedbackError as error:
            typer.echo(f"chatfeedback: {error}", err=True)
            raise typer.Exit(2 if isinstance(error, SettingsError) else 1) from None


app = typer.Typer(
    name="chatfeedback",
    cls=_Commands,
    help="Chat with language models, say what is good and bad about their replies, and take it away as data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
db = typer.Typer(help="Look after the database.", no_args_is_help=True)
app.add_typer(db, name="db")

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="The database: sqlite:///FILE or postgresql://…; by default sqlite:///chatfeedback.db.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The settings file; by default chatfeedback.toml in the working directory, if there is one.",
        show_default=False,
    ),
]


def _moment(text: str) -> datetime:
    from chatfeedback.analytics.filters import instant

    try:
        return instant(text)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


def _optional(flag: str, metavar: str, text: str, **more: Any) -> Any:
    return typer.Option(flag, metavar=metavar, help=text, show_default=False, **more)


Since = Annotated[
    datetime | None,
    _optional(
        "--since",
        "TIME",
        "Only from this date or time on, UTC unless it has an offset; feedback counts by its last change.",
        parser=_moment,
    ),
]
Until = Annotated[
    datetime | None,
    _optional("--until", "TIME", "Only before this date or time; the moment itself is no longer part.", parser=_moment),
]
Model = Annotated[str | None, _optional("--model", "NAME", "Only replies of this model.")]
Annotator = Annotated[str | None, _optional("--annotator", "NAME", "Only what this annotator said and did.")]


def _database_url(config: Path | None, database_url: str | None) -> str:
    from chatfeedback.settings import Settings

    return Settings.load(config, database_url=database_url).database_url


def _filters(since: datetime | None, until: datetime | None, model: str | None, annotator: str | None) -> Filters:
    from chatfeedback.analytics.filters import Filters

    try:
        return Filters(since=since, until=until, model=model, annotator=annotator)
    except InputError:
        raise typer.BadParameter("--since must be earlier than --until.") from None


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, fed with (done, total); nothing is drawn where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chatfeedback {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True),
    ] = False,
) -> None: ...


@app.command()
def serve(
    model: Annotated[
        str | None,
        _optional("--model", "ID", "Serve this one model instead of those configured; `local` is the local one."),
    ] = None,
    base_url: Annotated[
        str | None,
        _optional("--base-url", "URL", "The OpenAI-compatible server of --model; by default the Hugging Face Hub."),
    ] = None,
    provider: Annotated[
        str | None,
        _optional("--provider", "NAME", "The Hub's inference provider for --model; by default the Hub chooses."),
    ] = None,
    api_key_env: Annotated[
        str | None,
        _optional("--api-key-env", "NAME", "The environment variable that holds the key for --model."),
    ] = None,
    host: Annotated[str | None, _optional("--host", "ADDRESS", "Listen here; by default 127.0.0.1.")] = None,
    port: Annotated[
        int | None, _optional("--port", "PORT", "Listen on this port, 0 takes a free one; by default 7860.")
    ] = None,
    title: Annotated[
        str | None, _optional("--title", "TEXT", "The title of the page; by default chatfeedback.")
    ] = None,
    annotator: Annotated[
        str | None,
        _optional("--annotator", "NAME", "The name of the person who gives the feedback; by default local."),
    ] = None,
    migrate: Annotated[
        bool | None,
        typer.Option(
            "--migrate/--no-migrate",
            help="Bring a Postgres database up to date first; by default not. A SQLite file always is.",
            show_default=False,
        ),
    ] = None,
    open_browser: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open",
            help="Open the page in a browser; by default where this is started from a terminal.",
            show_default=False,
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Open the chat and its analytics in the browser."""
    from chatfeedback.settings import Settings

    settings = Settings.load(
        config,
        model=model,
        base_url=base_url,
        provider=provider,
        api_key_env=api_key_env,
        host=host,
        port=port,
        title=title,
        annotator=annotator,
        migrate=migrate,
        database_url=database_url,
    )
    from chatfeedback.web import server

    server.serve(settings, open_browser=sys.stdout.isatty() if open_browser is None else open_browser)


@app.command()
def export(
    kind: Annotated[
        Literal["events", "messages", "feedback"],
        typer.Argument(
            metavar="KIND",
            help="`events`: all that happened; `messages`: each version of each message; `feedback`: a row per rating.",
            show_default=False,
        ),
    ],
    format: Annotated[
        Literal["csv", "jsonl"], typer.Option("--format", help="The format of the file, csv or jsonl.")
    ] = "csv",
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="The file to write, - for the standard output.")
    ] = Path("-"),
    since: Since = None,
    until: Until = None,
    model: Model = None,
    annotator: Annotator = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Write what was recorded as a table."""
    from chatfeedback.export import command

    filters = _filters(since, until, model, annotator)
    file = None if output == Path("-") else output
    with _progress(f"Exporting {kind}") as report:
        command.run(_database_url(config, database_url), kind, format, file, filters, report)


@app.command()
def stats(
    format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="For people a table, for programs json.")
    ] = "table",
    since: Since = None,
    until: Until = None,
    model: Model = None,
    annotator: Annotator = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Print the headline figures."""
    from chatfeedback.analytics import command

    figures = command.stats(_database_url(config, database_url), _filters(since, until, model, annotator))
    if format == "json":
        import json

        typer.echo(json.dumps(figures, ensure_ascii=False, indent=2))
    else:
        _print_table(figures)


@db.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="The schema revision to go to.")] = "head",
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Bring the database to the newest schema; makes the SQLite file if there is none."""
    from chatfeedback.store import admin

    _print_move(*admin.upgrade(_database_url(config, database_url), revision))


@db.command()
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
    from chatfeedback.store import admin

    _print_move(*admin.downgrade(_database_url(config, database_url), revision, destroy_data=destroy_data))


@db.command()
def current(database_url: DatabaseUrl = None, config: Config = None) -> None:
    """Say which schema the database has, and which is the newest."""
    from chatfeedback.store import admin

    found = admin.current(_database_url(config, database_url))
    newest = "the newest" if found.is_head else f"the newest is {found.head}"
    typer.echo(f"{found.revision or 'empty'} ({newest})")


@db.command()
def check(database_url: DatabaseUrl = None, config: Config = None) -> None:
    """Check the schema, the guards of the log, and that all else agrees with the log; status 1 if not."""
    from chatfeedback.store import admin

    problems = admin.check(_database_url(config, database_url))
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo("The database is as it should be.")


@db.command()
def rebuild(database_url: DatabaseUrl = None, config: Config = None) -> None:
    """Make everything that is derived from the log again."""
    from chatfeedback.store import admin

    url = _database_url(config, database_url)
    with _progress("Reading events") as report:
        events = admin.rebuild(url, report)
    typer.echo(f"Rebuilt from {events:,} events.")


def _print_move(before: str | None, after: str | None) -> None:
    if before == after:
        typer.echo(f"Nothing to do, the database is at {after or 'empty'}.")
    else:
        typer.echo(f"{before or 'empty'} → {after or 'empty'}")


def _print_table(figures: dict[str, int | float | None]) -> None:
    """The figures for people: counts, shares as per cent, times in seconds."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in figures.items():
        table.add_row(name.removesuffix("_seconds").replace("_", " "), _for_people(name, value))
    Console().print(table)


def _for_people(name: str, value: int | float | None) -> str:
    if value is None:
        return "–"
    if name.endswith("_seconds"):
        return f"{value:.2f} s"
    return f"{value:.1%}" if isinstance(value, float) else f"{value:,}"


def main() -> None:
    """The console script."""
    app()

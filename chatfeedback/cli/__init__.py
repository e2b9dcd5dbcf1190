"""The command line: parse, call, print.

Whatever a command needs is imported inside it, so that `--help` loads no web framework, data frame or
database library. Errors pass one seam, `_Commands`: an error of chatfeedback becomes one sentence on
stderr and status 1, or 2 where a flag or a setting is wrong.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from chatfeedback import __version__
from chatfeedback.cli.database import db
from chatfeedback.cli.erasing import erase
from chatfeedback.cli.options import (
    Annotator,
    Condition,
    Config,
    DatabaseUrl,
    ExternalId,
    Model,
    Since,
    Study,
    Until,
    configured_url,
    ending_in_order,
    filters_of,
    optional,
    progress,
)
from chatfeedback.cli.users import users
from chatfeedback.errors import ChatFeedbackError, InputError, SettingsError
from chatfeedback.lasting import lasting


class _Commands(TyperGroup):
    """The seam where errors turn into a sentence and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
            return result
        except BrokenPipeError:
            # The reader (`| head`) has gone. Python flushes stdout once more at exit: let it have a place.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(128 + signal.SIGPIPE) from None
        except KeyboardInterrupt:
            raise typer.Exit(128 + signal.SIGINT) from None
        except OSError as error:
            # What a command does with files is translated where it does it: this is what it prints.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            typer.echo(f"chatfeedback: The standard output cannot be written: {error.strerror or error}.", err=True)
            raise typer.Exit(1) from None
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
app.add_typer(db, name="db")
app.add_typer(users, name="users")


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
        optional("--model", "ID", "Serve this one model instead of those configured; `local` is the local one."),
    ] = None,
    base_url: Annotated[
        str | None,
        optional("--base-url", "URL", "The OpenAI-compatible server of --model; by default the Hugging Face Hub."),
    ] = None,
    provider: Annotated[
        str | None,
        optional("--provider", "NAME", "The Hub's inference provider for --model; by default the Hub chooses."),
    ] = None,
    api_key_env: Annotated[
        str | None,
        optional("--api-key-env", "NAME", "The environment variable that holds the key for --model."),
    ] = None,
    host: Annotated[str | None, optional("--host", "ADDRESS", "Listen here; by default 127.0.0.1.")] = None,
    port: Annotated[
        int | None, optional("--port", "PORT", "Listen on this port, 0 takes a free one; by default 7860.")
    ] = None,
    title: Annotated[str | None, optional("--title", "TEXT", "The title of the page; by default chatfeedback.")] = None,
    auth: Annotated[
        Literal["none", "password", "oidc", "proxy"] | None,
        typer.Option(
            "--auth",
            help="How people sign in; by default none: one local person, on this machine only.",
            show_default=False,
        ),
    ] = None,
    public_url: Annotated[
        str | None,
        optional("--public-url", "URL", "The address that people use, such as https://chat.example.org."),
    ] = None,
    annotator: Annotated[
        str | None,
        optional("--annotator", "NAME", "The name of the one local person, without sign-in; by default local."),
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
        auth=auth,
        public_url=public_url,
        annotator=annotator,
        migrate=migrate,
        database_url=database_url,
    )
    with lasting():
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
        Literal["csv", "spreadsheet", "jsonl"],
        typer.Option(
            "--format",
            help="The format of the file: csv, jsonl, or spreadsheet, a CSV in which no text is a formula.",
        ),
    ] = "csv",
    output: Annotated[
        str, typer.Option("--output", metavar="FILE", help="The file to write, - for the standard output.")
    ] = "-",
    since: Since = None,
    until: Until = None,
    model: Model = None,
    annotator: Annotator = None,
    study: Study = None,
    condition: Condition = None,
    external_id: ExternalId = None,
    annotators: Annotated[
        Literal["pseudonyms", "names"],
        typer.Option("--annotators", help="What annotators are called in the file, pseudonyms or names."),
    ] = "pseudonyms",
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Write what was recorded as a table."""
    from chatfeedback.export import command

    wanted = filters_of(
        since,
        until,
        model=model,
        annotator=annotator,
        study=study,
        condition=condition,
        external_id=external_id,
    )
    file = None if output == "-" else Path(output)
    # A bar between rows on the same terminal would be part of what is copied from it.
    with ending_in_order(), progress(f"Exporting {kind}", hidden=file is None and sys.stdout.isatty()) as report:
        command.run(configured_url(config, database_url), kind, format, file, wanted, annotators, report)


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

    figures = command.stats(
        configured_url(config, database_url), filters_of(since, until, model=model, annotator=annotator)
    )
    if format == "json":
        import json

        typer.echo(json.dumps(figures, ensure_ascii=False, indent=2))
    else:
        _print_table(figures)


app.command()(erase)


@app.command()
def link(
    study: Annotated[str | None, optional("--study", "NAME", "The study; by default that of the settings.")] = None,
    condition: Annotated[
        str | None, optional("--condition", "NAME", "The condition of the study; by default that of the settings.")
    ] = None,
    external_id: Annotated[
        list[str] | None,
        optional("--external-id", "ID", "Of the annotator or the task in another system; once for each link."),
    ] = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Print signed links: what is chatted through one is recorded with its study, condition and external id."""
    from chatfeedback.access.links import links
    from chatfeedback.settings import Settings

    settings = Settings.load(config, database_url=database_url)
    page = settings.public_url or f"http://{settings.host}:{settings.port}"
    url = settings.database_url
    try:
        for address in links(url, page, study=study, condition=condition, external_ids=external_id or ()):
            typer.echo(address)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without an arrow gets a question mark
    app()

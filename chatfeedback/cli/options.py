"""Options shared by several commands, and their helpers."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from chatfeedback.errors import InputError

if TYPE_CHECKING:
    from chatfeedback.query.filters import Filters

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


def _parse_time(text: str) -> datetime:
    from chatfeedback.query.filters import instant

    try:
        return instant(text)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


def optional(flag: str, metavar: str, text: str, **kwargs: Any) -> Any:
    """Return a Typer option without a displayed default."""
    return typer.Option(flag, metavar=metavar, help=text, show_default=False, **kwargs)


Since = Annotated[
    datetime | None,
    optional(
        "--since",
        "TIME",
        "Only from this date or time on, UTC unless it has an offset; feedback counts by its last change.",
        parser=_parse_time,
    ),
]
Until = Annotated[
    datetime | None,
    optional(
        "--until", "TIME", "Only before this date or time; the moment itself is no longer part.", parser=_parse_time
    ),
]
Model = Annotated[str | None, optional("--model", "NAME", "Only replies of this model.")]
Annotator = Annotated[
    str | None,
    optional("--annotator", "NAME", "Only what this annotator said and did; a name, an id or a pseudonym."),
]
Study = Annotated[str | None, optional("--study", "NAME", "Only conversations of this study.")]
Condition = Annotated[str | None, optional("--condition", "NAME", "Only conversations with this condition of a study.")]
ExternalId = Annotated[str | None, optional("--external-id", "ID", "Only conversations with this external id.")]


class Command(TyperCommand):
    """Command that refuses an option with two values. The parser alone would take the last one silently."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments of the command. Raises UsageError."""
        _, _, parameters = self.make_parser(ctx).parse_args(list(args))
        options = [one for one in parameters if isinstance(one, TyperOption) and not one.is_flag and not one.multiple]
        for option in options:
            if options.count(option) > 1:
                ctx.fail(f"{option.opts[0]} is given more than once; give it once.")
        return super().parse_args(ctx, args)


def configured_url(config: Path | None, database_url: str | None) -> str:
    """Return the database URL from this flag and the settings. Raises SettingsError."""
    from chatfeedback.config.settings import Settings

    return Settings.load(config, database_url=database_url).database_url


def build_filters(since: datetime | None, until: datetime | None, **names: str | None) -> Filters:
    """Build the filters of these flags. `names` are fields of `Filters`.

    Raises BadParameter for a period that ends before it begins, and for a name that no database stores.
    """
    from chatfeedback.query.filters import Filters

    for name, value in names.items():
        if value is not None and not is_text(value):
            raise typer.BadParameter(f"--{name.replace('_', '-')} has characters that no database stores.")
    try:
        return Filters(since=since, until=until, **names)
    except InputError:
        raise typer.BadParameter("--since must be earlier than --until.") from None


def is_text(argument: str) -> bool:
    """Return True for valid Unicode; bytes of another encoding arrive as lone surrogates."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that a terminated process cleans up like an interrupted one."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def progress(label: str, *, hidden: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr, fed with (done, total); nothing is drawn if stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=hidden or not sys.stderr.isatty()) as bar:
        task = bar.add_task(label)
        yield lambda done, total: bar.update(task, completed=done, total=total)

"""The flags that several commands have, and what they make of them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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


def _moment(text: str) -> datetime:
    from chatfeedback.query.filters import instant

    try:
        return instant(text)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


def optional(flag: str, metavar: str, text: str, **more: Any) -> Any:
    """A flag that may be left out."""
    return typer.Option(flag, metavar=metavar, help=text, show_default=False, **more)


Since = Annotated[
    datetime | None,
    optional(
        "--since",
        "TIME",
        "Only from this date or time on, UTC unless it has an offset; feedback counts by its last change.",
        parser=_moment,
    ),
]
Until = Annotated[
    datetime | None,
    optional("--until", "TIME", "Only before this date or time; the moment itself is no longer part.", parser=_moment),
]
Model = Annotated[str | None, optional("--model", "NAME", "Only replies of this model.")]
Annotator = Annotated[
    str | None,
    optional("--annotator", "NAME", "Only what this annotator said and did; a name, an id or a pseudonym."),
]
Study = Annotated[str | None, optional("--study", "NAME", "Only conversations of this study.")]
Condition = Annotated[str | None, optional("--condition", "NAME", "Only conversations with this condition of a study.")]
ExternalId = Annotated[str | None, optional("--external-id", "ID", "Only conversations with this external id.")]


def configured_url(config: Path | None, database_url: str | None) -> str:
    """The database of the settings and this flag. Raises SettingsError."""
    from chatfeedback.config.settings import Settings

    return Settings.load(config, database_url=database_url).database_url


def filters_of(since: datetime | None, until: datetime | None, **named: str | None) -> Filters:
    """The filters of these flags; `named`: by the names of `Filters`.

    Raises BadParameter for a time that ends before it begins, and for a name that no database stores.
    """
    from chatfeedback.query.filters import Filters

    for name, value in named.items():
        if value is not None and not is_text(value):
            raise typer.BadParameter(f"--{name.replace('_', '-')} has characters that no database stores.")
    try:
        return Filters(since=since, until=until, **named)
    except InputError:
        raise typer.BadParameter("--since must be earlier than --until.") from None


def is_text(argument: str) -> bool:
    """Whether it is whole Unicode; bytes of another encoding arrive as halves of characters."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Lets a process that is asked to end, by `timeout` or by the system, clean up like one that is interrupted."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress(what: str, *, hidden: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, fed with (done, total); nothing is drawn where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=hidden or not sys.stderr.isatty()) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)

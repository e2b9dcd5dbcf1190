"""Command line: parse, call, print.

Each command imports what it needs inside its function, so that `--help` loads no web framework, data frame or database
library. `_Commands` is the only error handler: an error of chatfeedback becomes one sentence on stderr and exit status
1, or 2 for a wrong flag or setting.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from chatfeedback import __version__
from chatfeedback.cli.database import db
from chatfeedback.cli.erase import erase
from chatfeedback.cli.export import export
from chatfeedback.cli.link import link
from chatfeedback.cli.options import Command
from chatfeedback.cli.serve import serve
from chatfeedback.cli.stats import stats
from chatfeedback.cli.users import users
from chatfeedback.errors import ChatFeedbackError, SettingsError


class _Commands(TyperGroup):
    """Command group that turns errors into a sentence and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; translate its errors."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:  # the reader (`| head`) has closed the pipe
            raise typer.Exit(128 + signal.SIGPIPE) from None
        except KeyboardInterrupt:
            raise typer.Exit(128 + signal.SIGINT) from None
        except OSError as error:
            # Commands translate the errors of their own files: this one comes from stdout.
            _report(error)
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


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"chatfeedback {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None: ...


app.command(cls=Command)(serve)
app.command(cls=Command)(export)
app.command(cls=Command)(stats)
app.command(cls=Command)(erase)
app.command(cls=Command)(link)


def _report(error: OSError) -> None:
    """Say that stdout cannot be written."""
    what = "is closed" if error.errno == errno.EBADF else f"cannot be written: {error.strerror or error}"
    typer.echo(f"chatfeedback: The standard output {what}.", err=True)


def _drop_unwritable_output() -> None:
    """Drop what stdout cannot take, which was reported: Python would flush it once more, and end with status 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_closed_streams() -> None:
    """Open the standard streams that the caller has closed (`>&-`).

    Otherwise the next file or socket would get their numbers, and what libraries write to them. To write to a closed
    stdout is still an error.
    """
    for number, name, flags in ((0, "stdin", os.O_RDONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))


def main() -> None:
    """Run the console script."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot encode an arrow gets a question mark
    try:
        app()
    except OSError as error:  # `--help` and `--version` are printed before `_Commands` is asked
        _report(error)
        raise SystemExit(1) from None
    finally:
        _drop_unwritable_output()

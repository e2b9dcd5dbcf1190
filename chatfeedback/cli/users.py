"""Commands `users …`: administration of the people who may sign in."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from chatfeedback.cli.options import Command, Config, DatabaseUrl, configured_url, is_text, optional
from chatfeedback.errors import InputError, SettingsError

users = typer.Typer(help="Look after the people who may sign in.", no_args_is_help=True)

UserName = Annotated[str, typer.Argument(metavar="NAME", help="The name of the user.", show_default=False)]
AnyRole = Literal["annotator", "researcher", "admin"]
_ROLES = (
    "annotator: chats and sees their own figures; researcher: sees and exports all; admin: all, users and erasure too."
)
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the standard input instead of asking for it.")
]


@users.command(cls=Command)
def add(
    name: UserName,
    role: Annotated[AnyRole, typer.Option("--role", help=_ROLES)] = "annotator",
    subject: Annotated[
        str | None,
        optional("--subject", "ID", "Who this is at the provider of [oidc] (its `sub`), instead of a password."),
    ] = None,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="No password: a proxy says who it is, or there will be one later.")
    ] = False,
    password_stdin: FromStdin = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Add a user; asks for a password on the terminal. Creates the database if there is none."""
    from chatfeedback.auth import commands
    from chatfeedback.config.settings import Settings

    settings = Settings.load(config, database_url=database_url)
    identity = None
    if subject is not None:
        if settings.oidc is None:
            raise SettingsError("--subject needs the table [oidc] in the settings: it says whose subject it is.")
        identity = (settings.oidc.issuer, subject)
    password = None if no_password or identity else _password(password_stdin)
    commands.add(settings.database_url, name, role, password, identity)
    typer.echo(f"{name} may sign in, as {role}.")


@users.command(name="list", cls=Command)
def list_users(
    format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="For people a table, for programs json.")
    ] = "table",
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Show who may sign in, with what, and who has."""
    from chatfeedback.auth import commands

    rows = [
        {
            "annotator_id": listed.user.annotator_id,
            "name": listed.user.name,
            "role": listed.user.role,
            "disabled": listed.user.disabled_at is not None,
            "signs_in_with": [*(["password"] if listed.user.password_hash else []), *listed.issuers],
            "sessions": listed.sessions,
            "seen_at": listed.seen_at.isoformat(timespec="seconds") if listed.seen_at else None,
        }
        for listed in commands.list_users(configured_url(config, database_url))
    ]
    if format == "json":
        import json

        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    else:
        _print_table(
            ("name", "role", "state", "signs in with", "sessions", "seen"),
            [
                (
                    str(row["name"]),
                    str(row["role"]),
                    "disabled" if row["disabled"] else "active",
                    ", ".join(row["signs_in_with"]) or "–",  # type: ignore[arg-type]
                    str(row["sessions"]),
                    str(row["seen_at"] or "–"),
                )
                for row in rows
            ],
        )


@users.command(cls=Command)
def role(
    name: UserName,
    role: Annotated[AnyRole, typer.Argument(metavar="ROLE", help=_ROLES, show_default=False)],
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Change the role of a user; it counts from the next request on."""
    from chatfeedback.auth import commands

    commands.set_role(configured_url(config, database_url), name, role)
    typer.echo(f"{name} is {role} now.")


@users.command(cls=Command)
def disable(
    name: UserName,
    enable: Annotated[bool, typer.Option("--enable", help="The opposite: enable the user again.")] = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Disable a user at once; all that was recorded stays."""
    from chatfeedback.auth import commands

    commands.set_disabled(configured_url(config, database_url), name, not enable)
    typer.echo(f"{name} may sign in again." if enable else f"{name} is locked out.")


@users.command(cls=Command)
def password(
    name: UserName,
    password_stdin: FromStdin = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Set another password; signs the user out everywhere."""
    from chatfeedback.auth import commands

    commands.set_password(configured_url(config, database_url), name, _password(password_stdin))
    typer.echo(f"The password of {name} was changed.")


@users.command(cls=Command)
def sessions(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only those of this user.", show_default=False)
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="Sign this user out everywhere.")] = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Show who is signed in, since when and until when; or end it."""
    from chatfeedback.auth import commands

    url = configured_url(config, database_url)
    if end:
        if name is None:
            raise InputError("Say whose sessions are to end: chatfeedback users sessions NAME --end")
        ended = commands.end_sessions(url, name)
        typer.echo(f"{name} was signed out of {ended} session{'' if ended == 1 else 's'}.")
        return
    _print_table(
        ("name", "by", "since", "seen", "until"),
        [
            (
                session.name,
                session.method,
                *(f"{moment:%Y-%m-%d %H:%M}" for moment in (session.created_at, session.seen_at, session.expires_at)),
            )
            for session in commands.list_sessions(url, name)
        ],
    )


def _password(from_stdin: bool) -> str:
    """Read the password from stdin, or prompt for it twice. Raises InputError without a terminal."""
    if from_stdin:
        not_text = InputError("The password on the standard input is not UTF-8.")
        try:
            password = sys.stdin.readline().rstrip("\r\n")
        except UnicodeDecodeError:
            raise not_text from None
        if not is_text(password):
            raise not_text
        return password
    if not sys.stdin.isatty():
        raise InputError("There is no terminal to ask for a password on; pass it with --password-stdin.")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)

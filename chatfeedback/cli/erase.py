"""Command `erase`: permanent erasure of a conversation or an annotator."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatfeedback.cli.options import Config, DatabaseUrl, configured_url, is_text, optional
from chatfeedback.errors import NotFound, SettingsError

if TYPE_CHECKING:
    from chatfeedback.store.erasure.erasure import Erased


def erase(
    conversation: Annotated[str | None, optional("--conversation", "ID", "Erase this conversation.")] = None,
    annotator: Annotated[
        str | None,
        optional(
            "--annotator",
            "NAME",
            "Erase this annotator, named or by id: their conversations, name and account, and their text elsewhere.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Erase without asking.")] = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Erase a conversation or an annotator for good, from the database and its files."""
    if (conversation is None) == (annotator is None):
        raise typer.BadParameter("name either a --conversation or an --annotator to erase.")
    if not yes and not sys.stdin.isatty():
        raise SettingsError("There is no terminal to ask whether this is meant; say so with --yes.")
    from chatfeedback.store.database import migrate

    url = configured_url(config, database_url)
    with migrate.opened(url) as engine, migrate.prefixed_errors(url):
        if conversation is not None:
            erased = _erase_conversation(engine, conversation, yes)
        else:
            erased = _erase_annotator(engine, str(annotator), yes)
    typer.echo(f"Erased: {_describe(erased)}." if erased else "There was nothing left to erase; the files are clean.")


def _erase_conversation(engine: Any, conversation_id: str, yes: bool) -> Erased:
    from chatfeedback.store.erasure import erasure

    _check_text(conversation_id, "conversation")
    extent = erasure.extent_of_conversation(engine, conversation_id)
    _confirm(f"the conversation {conversation_id}", extent, yes)
    return erasure.erase_conversation(engine, conversation_id, None)


def _erase_annotator(engine: Any, name_or_id: str, yes: bool) -> Erased:
    from chatfeedback.store.erasure import erasure

    name, annotator_id = _find_annotator(engine, name_or_id)
    extent = erasure.extent_of_annotator(engine, annotator_id)
    _confirm(f"the annotator {name} ({annotator_id})", extent, yes)
    return erasure.erase_annotator(engine, annotator_id, None)


def _find_annotator(engine: Any, name_or_id: str) -> tuple[str, str]:
    """Return name and id of an annotator. Raises NotFound."""
    from chatfeedback.store.accounts import annotators

    _check_text(name_or_id, "annotator")
    annotator = annotators.find(engine, name_or_id)
    if annotator is None:
        raise NotFound(f"There is no annotator {name_or_id!r} in this database.")
    return annotator.name, annotator.annotator_id


def _check_text(argument: str, noun: str) -> None:
    if not is_text(argument):
        raise NotFound(f"There is no such {noun}.")


def _confirm(subject: str, extent: Erased, yes: bool) -> None:
    """Print what will be erased and ask for confirmation unless `yes`. Raises Exit if declined."""
    if extent:
        typer.echo(f"This erases {subject} for good: {_describe(extent)}.")
    if extent and not yes and not typer.confirm("This cannot be undone. Erase it?"):
        typer.echo("Nothing was erased.")
        raise typer.Exit(1)


def _describe(extent: Erased) -> str:
    parts = [_pluralize(extent.conversations, "conversation"), _pluralize(extent.events, "event")]
    if extent.redacted:
        parts.append(f"the words in {_pluralize(extent.redacted, 'event')} elsewhere")
    if extent.account:
        parts.append("name and account")
    return ", ".join(parts)


def _pluralize(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")

"""Command `link`."""

from __future__ import annotations

from typing import Annotated

import typer

from chatfeedback.cli.options import (
    Config,
    DatabaseUrl,
    optional,
)
from chatfeedback.errors import InputError


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
    from chatfeedback.auth.links import links
    from chatfeedback.config.settings import Settings

    settings = Settings.load(config, database_url=database_url)
    page = settings.public_url or f"http://{settings.host}:{settings.port}"
    url = settings.database_url
    try:
        for address in links(url, page, study=study, condition=condition, external_ids=external_id or ()):
            typer.echo(address)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None

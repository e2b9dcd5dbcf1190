"""Command `export`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

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
    build_filters,
    configured_url,
    exit_on_signals,
    progress,
)
from chatfeedback.export.registry import DATASETS, FORMATS

# What can be chosen follows from the registry.
Kind = StrEnum("Kind", {name: name for name in DATASETS})  # type: ignore[misc]
Format = StrEnum("Format", {name: name for name in FORMATS})  # type: ignore[misc]
_CSV = Format("csv")


def export(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help=DATASETS.help, show_default=False)],
    format: Annotated[Format, typer.Option("--format", help=f"The format of the file. {FORMATS.help}")] = _CSV,
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
    from chatfeedback.export import to_file

    filters = build_filters(
        since,
        until,
        model=model,
        annotator=annotator,
        study=study,
        condition=condition,
        external_id=external_id,
    )
    file = None if output == "-" else Path(output)
    # On the same terminal a progress bar would get between the rows.
    with exit_on_signals(), progress(f"Exporting {kind}", hidden=file is None and sys.stdout.isatty()) as report:
        to_file.run(configured_url(config, database_url), kind, format, file, filters, annotators, report)

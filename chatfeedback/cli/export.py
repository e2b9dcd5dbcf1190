"""Command `export`."""

from __future__ import annotations

import sys
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

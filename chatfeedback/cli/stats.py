"""Command `stats`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from chatfeedback.cli.options import (
    Annotator,
    Config,
    DatabaseUrl,
    Model,
    Since,
    Until,
    build_filters,
    configured_url,
)


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
    from chatfeedback.analytics import stats as command

    figures = command.stats(
        configured_url(config, database_url), build_filters(since, until, model=model, annotator=annotator)
    )
    if format == "json":
        import json

        typer.echo(json.dumps(figures, ensure_ascii=False, indent=2))
    else:
        _print_table(figures)


def _print_table(figures: dict[str, int | float | None]) -> None:
    """Print the figures for people: counts, shares in per cent, times in seconds."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in figures.items():
        table.add_row(name.removesuffix("_seconds").replace("_", " "), _format(name, value))
    Console().print(table)


def _format(name: str, value: int | float | None) -> str:
    if value is None:
        return "–"
    if name.endswith("_seconds"):
        return f"{value:.2f} s"
    return f"{value:.1%}" if isinstance(value, float) else f"{value:,}"

"""Headline figures of a database as JSON values; the command `stats`."""

from __future__ import annotations

from typing import Any

from chatfeedback.analytics.figures.headline import headline
from chatfeedback.analytics.registry import FIGURES
from chatfeedback.query.filters import Filters
from chatfeedback.query.sql_filters import read_snapshot, resolve
from chatfeedback.store.database import migrate


def stats(url: str, filters: Filters) -> dict[str, Any]:
    """Return the headline figures by name, always the same names in the same order, ready for JSON.

    Counts are integers; proportions are 0 to 1, rounded to 4 places; times are seconds, rounded to 3 places. An
    undefined value (a proportion of nothing) is None.

    Args:
        url: URL of the database.
        filters: Filters; `annotator` is a name, an id or a pseudonym.

    Raises:
        SettingsError: There is no such database.
        NotFound: The model or annotator is unknown.
        StoreError: The database refused.
    """
    with migrate.opened(url, read_only=True, hint="name an existing one") as engine:
        resolved = resolve(engine, filters)
        with read_snapshot(engine) as connection:
            figures = headline(connection, resolved)
    return {name: value(figures) for figure in FIGURES for name, value in figure.values.items()}

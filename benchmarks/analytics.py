"""All figures of the Analytics tab over a million events: a year of 200 annotators and 5 models.

Subject: `DashboardQueries.overview`, the queries of a refresh of the tab, as data frames: without filter, of one
model, of one annotator, of the last thirty days. The target is one second. Baseline without filter: sqlite3 counts
the same, one query per figure, by scans of the tables without their indexes. The benchmark fails unless SQLite's
plans show the scans, both have counted the same events, conversations and ratings, and each filter selects a part of
them.

    uv run python -m benchmarks.analytics
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta

from benchmarks._measure import Figure, Run, command, medians
from benchmarks._premises import require, require_equal, require_scans
from benchmarks._stores import CROWD, open_raw, open_store, populated
from chatfeedback.analytics.dashboard import DashboardQueries, Overview
from chatfeedback.query.filters import ResolvedFilters

EVENTS = 1_000_000
# SQLite uses the indexes of a table without rowid despite NOT INDEXED. It cannot do so for a column that is in no
# index, nor for an expression such as `+model`.
SCANS = (
    "SELECT kind, count(*) FROM events NOT INDEXED GROUP BY kind",
    "SELECT count(*) FROM conversations NOT INDEXED",
    "SELECT role, status, count(*) FROM messages NOT INDEXED GROUP BY role, status",
    "SELECT time_to_first_token FROM messages NOT INDEXED WHERE time_to_first_token IS NOT NULL ORDER BY 1",
    "SELECT count(DISTINCT message_id) FROM ratings NOT INDEXED WHERE value IS NOT NULL AND event_id <> ''",
    """SELECT updated_at / 86400000000, sum(value = 'like'), sum(value = 'dislike'), count(comment)
       FROM ratings NOT INDEXED GROUP BY 1""",
    "SELECT model, value, count(*) FROM ratings NOT INDEXED WHERE event_id <> '' GROUP BY +model, +value",
    """SELECT value, reason, count(*) FROM rating_reasons NOT INDEXED JOIN ratings USING (message_id, annotator_id)
       GROUP BY value, reason""",
    """SELECT * FROM (SELECT * FROM ratings NOT INDEXED ORDER BY +updated_at DESC LIMIT 200)
       JOIN messages USING (message_id)""",
)


def measure(run: Run) -> list[Figure]:
    """Measure the overview with each filter, and the scans."""
    events = run.size(EVENTS, 5_000)
    database = populated(run.data, events)
    filters_by_name = {
        "all": ResolvedFilters(),
        "of one model": ResolvedFilters(model=CROWD.model_names()[0]),
        "of one annotator": ResolvedFilters(annotator_id=next(iter(CROWD.names()))),
        "of thirty days": ResolvedFilters(since=CROWD.until - timedelta(days=30), until=CROWD.until),
    }
    with open_store(database) as store, closing(open_raw(database)) as raw:
        dashboard = DashboardQueries(store.engine, store.conversation)
        overviews = {name: dashboard.overview(filters) for name, filters in filters_by_name.items()}
        _require_same_data(raw, overviews, events)
        actions = {
            name: lambda filters=filters: dashboard.overview(filters) for name, filters in filters_by_name.items()
        }
        scan = {"scan": lambda: [raw.execute(query).fetchall() for query in SCANS]}
        seconds = medians({**actions, **scan}, rounds=run.size(5, 1))
    figures = [
        Figure(f"Analytics at {events:,} events, {name}", seconds[name] * 1000, "ms", 1000, "one second", at_most=1)
        for name in filters_by_name
    ]
    name = f"Analytics at {events:,} events, all"
    return [
        *figures,
        Figure(name, seconds["all"] * 1000, "ms", seconds["scan"] * 1000, "scans of the tables with sqlite3"),
    ]


def _require_same_data(raw: sqlite3.Connection, overviews: Mapping[str, Overview], events: int) -> None:
    """End the benchmark unless the tab and the scans read the same data, of the expected size."""
    for query in SCANS:
        require_scans(raw, query)
    kinds, ((conversations,),), roles, *_ = counts = [raw.execute(query).fetchall() for query in SCANS]
    stored = sum(count for _, count in kinds)
    require(events <= stored < events + 200, f"{stored} events are not about {events}")
    unfiltered = overviews["all"]
    require_equal("the events that the tab has seen", unfiltered.position, stored)
    require_equal("its conversations", unfiltered.headline.conversations, conversations)
    require_equal("its messages", unfiltered.headline.messages, sum(count for *_, count in roles))
    by_day = [int(sum(column)) for column in zip(*(row[1:] for row in counts[5]), strict=True)]
    totals = [int(unfiltered.per_day[column].sum()) for column in ("likes", "dislikes", "comments")]
    require_equal("its ratings", totals, by_day)
    require_equal("its latest ratings", len(unfiltered.latest.rows), len(counts[8]))
    for name, overview in overviews.items():
        part = overview.headline.conversations
        require(name == "all" or 0 < part < conversations, f"{part} of {conversations} conversations are {name}")


if __name__ == "__main__":
    command(__doc__, measure)

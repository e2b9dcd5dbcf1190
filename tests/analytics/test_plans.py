"""Query plans of SQLite: each figure is read from the index made for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from analytics.conftest import fill
from analytics.load_users import Crowd
from chatfeedback.analytics.dashboard import DashboardQueries
from chatfeedback.analytics.figures import feedback
from chatfeedback.analytics.figures.headline import headline
from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.query.sql_filters import read_snapshot
from chatfeedback.store.database import migrate
from chatfeedback.store.database.engine import open_engine

CROWD = Crowd()
TIMES = ResolvedFilters(since=datetime(2026, 1, 1, tzinfo=UTC), until=datetime(2027, 1, 1, tzinfo=UTC))
MODEL, ANNOTATOR = CROWD.model_names()[0], next(iter(CROWD.names()))
FILTERS = {
    "none": ResolvedFilters(),
    "times": TIMES,
    "model": ResolvedFilters(model=MODEL),
    "annotator": ResolvedFilters(annotator_id=ANNOTATOR),
    "all": replace(TIMES, model=MODEL, annotator_id=ANNOTATOR),
}


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path: Path = tmp_path_factory.mktemp("plans") / "chatfeedback.db"
    migrate.upgrade(f"sqlite:///{path}")
    engine = open_engine(f"sqlite:///{path}")
    fill(engine, CROWD, 20)
    yield engine
    engine.dispose()


def plans(engine: Engine, figure: Callable[[Connection], Any]) -> list[str]:
    """Return the query plan of each statement of a figure."""
    statements: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if statement != "BEGIN":
            statements.append((statement, parameters))

    with read_snapshot(engine) as connection:
        event.listen(connection, "before_cursor_execute", keep)
        figure(connection)
        event.remove(connection, "before_cursor_execute", keep)
        return [
            "; ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters))
            for text, parameters in statements
        ]


def uses(query_plans: list[str], index: str) -> list[str]:
    return [plan for plan in query_plans if f" {index} " in f"{plan} ".replace(";", " ")]


@pytest.mark.parametrize("filters", FILTERS)
def test_headline_is_read_from_its_indexes_without_sorting(sqlite: Engine, filters: str) -> None:
    query_plans = plans(sqlite, lambda connection: headline(connection, FILTERS[filters]))
    for index in ("ix_ratings_model", "ix_events_kind_time"):
        assert len(uses(query_plans, index)) == 1, (index, query_plans)
    assert len(uses(query_plans, "ix_messages_empty_replies")) == 2, query_plans  # how they ended, and their ratings
    assert len(uses(query_plans, "ratings USING PRIMARY KEY")) >= 1, query_plans
    assert len(uses(query_plans, "ix_messages_replies")) == 2, query_plans  # all with a text, and the rated ones
    assert len(uses(query_plans, "ix_messages_first_token")) == 2, query_plans  # the median and the 95th percentile
    assert not [plan for plan in query_plans if "TEMP B-TREE" in plan]
    assert not [plan for plan in query_plans if plan.startswith("SCAN") and "USING" not in plan]


@pytest.mark.parametrize("filters", FILTERS)
def test_by_model_is_added_up_in_order_of_its_index(sqlite: Engine, filters: str) -> None:
    query_plans = plans(sqlite, lambda connection: feedback.by_model(connection, FILTERS[filters]))
    without_text, thumbs = query_plans
    assert "ix_ratings_model" in thumbs and "TEMP B-TREE" not in thumbs, thumbs
    assert "ix_messages_empty_replies" in without_text and "ratings USING PRIMARY KEY" in without_text, without_text


@pytest.mark.parametrize("filters", FILTERS)
def test_per_day_is_read_from_its_indexes(sqlite: Engine, filters: str) -> None:
    thumbs, comments = plans(sqlite, lambda connection: feedback.per_day(connection, FILTERS[filters]))
    assert "COVERING INDEX ix_ratings" in thumbs
    assert "ix_ratings_comments" in comments


@pytest.mark.parametrize("filters", FILTERS)
def test_latest_is_read_in_order_of_its_index(sqlite: Engine, filters: str) -> None:
    latest, _reasons = plans(sqlite, lambda connection: feedback.latest(connection, FILTERS[filters]))
    assert "ix_ratings_latest" in latest and "TEMP B-TREE" not in latest, latest


def test_models_are_read_without_scan_of_messages(sqlite: Engine) -> None:
    dashboard = DashboardQueries(sqlite, lambda _: None)
    statements: list[str] = []
    event.listen(sqlite, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    assert dashboard.models() == CROWD.model_names()
    with read_snapshot(sqlite) as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statements[-1]}")
        plan = [row[3] for row in rows]
    assert not [step for step in plan if "messages" in step and not step.startswith("SEARCH")], plan

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine, text

from analytics.conftest import Recorded, fill
from analytics.load_users import Crowd
from chatfeedback.analytics.dashboard import DashboardQueries
from chatfeedback.analytics.figures import feedback
from chatfeedback.analytics.figures.headline import headline
from chatfeedback.errors import NotFound, SchemaBehind
from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.query.sql_filters import read_snapshot
from chatfeedback.store.accounts import pseudonyms
from chatfeedback.store.database.engine import open_engine


def test_overview_has_figures_and_first_rows_of_table(recorded: Recorded) -> None:
    filters = ResolvedFilters(model=recorded.crowd.model_names()[0])
    overview = recorded.dashboard.overview(filters, limit=5)
    with read_snapshot(recorded.engine) as connection:
        assert overview.headline == headline(connection, filters)
        assert overview.reasons.equals(feedback.reasons(connection, filters))
        assert overview.latest.rows.equals(feedback.latest(connection, filters, 5))
        assert overview.latest.total == feedback.count(connection, filters)
    assert overview.position == recorded.dashboard.position() == len(recorded.record.events)


def test_read_snapshot_gives_figures_of_one_state_while_others_write(recorded: Recorded) -> None:
    """Events that are committed between two figures are in neither."""
    late = replace(recorded.crowd, seed=2, until=recorded.crowd.until)
    with read_snapshot(recorded.engine) as connection:
        before = headline(connection, ResolvedFilters())
        others = open_engine(recorded.url)
        fill(others, replace(late, names_begin_with="late-"), 3)
        others.dispose()
        assert headline(connection, ResolvedFilters()) == before
    assert recorded.dashboard.overview(ResolvedFilters()).headline.conversations == before.conversations + 3


def test_position_grows_when_events_are_stored(engine: Engine) -> None:
    dashboard = DashboardQueries(engine, lambda _: None)
    assert dashboard.position() == 0
    fill(engine, Crowd(), 1)
    assert dashboard.position() > 0


def test_latest_returns_last_page_when_offset_is_beyond_end(recorded: Recorded) -> None:
    total = len(recorded.record.judged)
    page = recorded.dashboard.latest(ResolvedFilters(), offset=10_000, limit=7)
    assert page.total == total
    assert page.offset == (total - 1) // 7 * 7
    assert len(page.rows) == total - page.offset
    assert recorded.dashboard.latest(ResolvedFilters(), offset=-7, limit=7).offset == 0


def test_dashboard_lists_models_and_annotators_of_database(recorded: Recorded) -> None:
    assert recorded.dashboard.models() == recorded.crowd.model_names()
    assert recorded.dashboard.annotators() == recorded.crowd.names()
    assert list(recorded.dashboard.annotators().values()) == sorted(recorded.crowd.names().values())


def test_dashboard_lists_models_that_annotator_used(recorded: Recorded) -> None:
    with recorded.engine.connect() as connection:
        pairs = connection.execute(
            text("SELECT DISTINCT annotator_id, model FROM messages WHERE model IS NOT NULL")
        ).all()
    for annotator_id in recorded.crowd.names():
        expected = sorted(model for person, model in pairs if person == annotator_id)
        assert recorded.dashboard.models(annotator_id) == expected
    assert recorded.dashboard.models("nobody") == []


def test_dashboard_without_names_has_pseudonyms_in_list_and_table(recorded: Recorded) -> None:
    dashboard, called = recorded.dashboard, pseudonyms.pseudonyms(recorded.engine)
    people = dashboard.annotators(names=False)
    assert people == {annotator_id: called(annotator_id) for annotator_id in recorded.crowd.names()}
    assert list(people.values()) == sorted(people.values())
    named = dashboard.latest(ResolvedFilters()).rows
    assert list(named["annotator"]) == [recorded.crowd.names()[one] for one in named["annotator_id"]] != []
    for page in (
        dashboard.latest(ResolvedFilters(), names=False),
        dashboard.overview(ResolvedFilters(), names=False).latest,
    ):
        assert list(page.rows["annotator"]) == [people[annotator_id] for annotator_id in page.rows["annotator_id"]]
        assert page.rows.drop(columns="annotator").equals(named.drop(columns="annotator"))


def test_conversation_is_returned_or_not_found(recorded: Recorded) -> None:
    conversation_id, conversation = next(iter(recorded.talks.items()))
    assert recorded.dashboard.conversation(conversation_id) is conversation
    with pytest.raises(NotFound):
        recorded.dashboard.conversation("none")


def test_overview_refuses_database_without_schema(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    with pytest.raises(SchemaBehind):
        DashboardQueries(engine, lambda _: None).overview(ResolvedFilters())
    engine.dispose()

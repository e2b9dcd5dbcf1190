from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from analytics.conftest import Recorded
from chatfeedback.analytics.stats import stats
from chatfeedback.errors import NotFound, SettingsError
from chatfeedback.query.filters import Filters, ResolvedFilters
from chatfeedback.store.accounts import pseudonyms
from chatfeedback.store.database import migrate

DOCUMENTED = Path(__file__).parents[2] / "docs" / "analytics.md"


def test_every_figure_is_documented_in_the_order_in_which_it_comes(database_url: str) -> None:
    documented = re.findall(r"^\| `(\w+)` \|", DOCUMENTED.read_text("utf-8"), re.MULTILINE)
    assert list(stats(database_url, Filters())) == documented


def test_of_an_empty_database_counts_are_zero_and_shares_unknown(database_url: str) -> None:
    assert set(stats(database_url, Filters()).values()) == {0, None}


def test_the_figures_are_those_of_the_log(recorded: Recorded) -> None:
    found = stats(recorded.url, Filters())
    replies = recorded.record.replies().values()
    likes, thumbs = (sum(column) for column in zip(*recorded.record.by_model().values(), strict=True))
    assert found["conversations"] == recorded.record.conversations()
    assert (found["replies"], found["failed"]) == (len(replies), sum(reply.status == "failed" for reply in replies))
    assert (found["likes"], found["dislikes"]) == (likes, thumbs - likes)
    assert found["like_rate"] == round(likes / thumbs, 4)
    assert found["ratings_without_text"] == recorded.record.without_text() > 0
    assert found["like_rate_low"] < found["like_rate"] < found["like_rate_high"]
    assert found["first_token_median_seconds"] == round(recorded.record.first_token(50) or 0, 3)
    assert json.loads(json.dumps(found)) == found


def test_an_annotator_can_be_given_by_name_id_or_pseudonym(recorded: Recorded) -> None:
    since = datetime(2026, 6, 24, tzinfo=UTC)
    called = pseudonyms.pseudonyms(recorded.engine)
    for annotator_id, name in recorded.crowd.names().items():
        found = stats(recorded.url, Filters(since=since, annotator=name))
        assert found == stats(recorded.url, Filters(since=since, annotator=annotator_id))
        assert found == stats(recorded.url, Filters(since=since, annotator=called(annotator_id)))
        record = recorded.record.under(ResolvedFilters(since=since, annotator_id=annotator_id))
        assert found["messages"] == len(record.messages())


@pytest.mark.parametrize("filters", [Filters(annotator="nobody"), Filters(model="nothing")])
def test_unknown_names_are_refused(recorded: Recorded, filters: Filters) -> None:
    with pytest.raises(NotFound, match=r"nobody|nothing"):
        stats(recorded.url, filters)


def test_a_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    migrate.upgrade(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    before = path.read_bytes()
    assert stats(f"sqlite:///{path}", Filters())["messages"] == 0
    assert path.read_bytes() == before


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no database"):
        stats(f"sqlite:///{tmp_path}/none.db", Filters())
    assert list(tmp_path.iterdir()) == []

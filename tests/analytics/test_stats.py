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


def test_stats_are_documented_in_their_order(database_url: str) -> None:
    documented = re.findall(r"^\| `(\w+)` \|", DOCUMENTED.read_text("utf-8"), re.MULTILINE)
    assert list(stats(database_url, Filters())) == documented


def test_stats_of_empty_database_have_zero_counts_and_no_shares(database_url: str) -> None:
    assert set(stats(database_url, Filters()).values()) == {0, None}


def test_stats_agree_with_log(recorded: Recorded) -> None:
    figures = stats(recorded.url, Filters())
    replies = recorded.record.replies().values()
    likes, thumbs = (sum(column) for column in zip(*recorded.record.by_model().values(), strict=True))
    assert figures["conversations"] == recorded.record.conversations()
    assert (figures["replies"], figures["failed"]) == (len(replies), sum(reply.status == "failed" for reply in replies))
    assert (figures["likes"], figures["dislikes"]) == (likes, thumbs - likes)
    assert figures["like_rate"] == round(likes / thumbs, 4)
    assert figures["ratings_without_text"] == recorded.record.without_text() > 0
    assert figures["like_rate_low"] < figures["like_rate"] < figures["like_rate_high"]
    assert figures["first_token_median_seconds"] == round(recorded.record.first_token(50) or 0, 3)
    assert json.loads(json.dumps(figures)) == figures


def test_stats_accept_annotator_by_name_id_or_pseudonym(recorded: Recorded) -> None:
    since = datetime(2026, 6, 24, tzinfo=UTC)
    called = pseudonyms.pseudonyms(recorded.engine)
    for annotator_id, name in recorded.crowd.names().items():
        figures = stats(recorded.url, Filters(since=since, annotator=name))
        assert figures == stats(recorded.url, Filters(since=since, annotator=annotator_id))
        assert figures == stats(recorded.url, Filters(since=since, annotator=called(annotator_id)))
        record = recorded.record.under(ResolvedFilters(since=since, annotator_id=annotator_id))
        assert figures["messages"] == len(record.messages())


@pytest.mark.parametrize("filters", [Filters(annotator="nobody"), Filters(model="nothing")])
def test_stats_refuse_unknown_names(recorded: Recorded, filters: Filters) -> None:
    with pytest.raises(NotFound, match=r"nobody|nothing"):
        stats(recorded.url, filters)


def test_stats_leave_database_file_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    migrate.upgrade(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    before = path.read_bytes()
    assert stats(f"sqlite:///{path}", Filters())["messages"] == 0
    assert path.read_bytes() == before


def test_stats_create_no_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no database"):
        stats(f"sqlite:///{tmp_path}/none.db", Filters())
    assert list(tmp_path.iterdir()) == []

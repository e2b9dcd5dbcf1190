"""Each figure is compared with a recomputation from the log, under every kind of filter, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise

import pandas as pd
import pytest
from sqlalchemy import Engine

from analytics.conftest import Recorded
from analytics.reference_figures import Record
from chatfeedback.analytics.figures import feedback
from chatfeedback.analytics.figures.headline import headline
from chatfeedback.analytics.statistics import Proportion
from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.query.sql_filters import read_snapshot

SINCE = datetime(2026, 6, 25, 7, 30, tzinfo=UTC)
UNTIL = datetime(2026, 6, 29, 12, tzinfo=UTC)


def views(recorded: Recorded) -> Iterator[Record]:
    """The record under each filter alone, under all of them at once, and under none."""
    models, people = recorded.crowd.model_names(), list(recorded.crowd.names())
    times = [
        ResolvedFilters(),
        ResolvedFilters(since=SINCE),
        ResolvedFilters(until=UNTIL),
        ResolvedFilters(since=SINCE, until=UNTIL),
    ]
    single = chain(
        (ResolvedFilters(model=model) for model in models),
        (ResolvedFilters(annotator_id=person) for person in people),
        (
            ResolvedFilters(since=SINCE, until=UNTIL, model=model, annotator_id=person)
            for model in models
            for person in people
        ),
    )
    return map(recorded.record.under, [*times, *single])


def test_the_headline_figures_agree_with_the_log(recorded: Recorded) -> None:
    for naive in views(recorded):
        with read_snapshot(recorded.engine) as connection:
            found = headline(connection, naive.filters)
        replies = naive.replies().values()
        assert found.conversations == naive.conversations(), naive.filters
        assert found.messages == len(naive.messages()), naive.filters
        assert found.replies.requested == len(replies), naive.filters
        assert found.replies.with_text == sum(bool(reply.text) for reply in replies), naive.filters
        assert found.replies.rated == naive.rated_replies(), naive.filters
        for status in ("writing", "stopped", "failed"):
            counted = sum(reply.status == status for reply in replies)
            assert getattr(found.replies, status) == counted, (status, naive.filters)
        assert found.replies.median_first_token == naive.first_token(50), naive.filters
        assert found.replies.p95_first_token == naive.first_token(95), naive.filters
        assert (found.retries, found.undos, found.edits) == (
            naive.happened("reply_retried"),
            naive.happened("turn_undone"),
            naive.happened("message_edited"),
        ), naive.filters
        likes, thumbs = (sum(column) for column in zip((0, 0), *naive.by_model().values(), strict=True))
        assert found.liked == Proportion(likes, thumbs), naive.filters
        assert found.without_text == naive.without_text(), naive.filters


def test_the_rates_are_of_what_they_say(recorded: Recorded) -> None:
    with read_snapshot(recorded.engine) as connection:
        found = headline(connection, ResolvedFilters())
    ended = found.replies.requested - found.replies.writing
    assert 0 < ended < found.replies.requested
    assert found.rated == Proportion(found.replies.rated, found.replies.with_text)
    assert found.retried == Proportion(found.retries, found.replies.requested)
    assert found.undone == Proportion(found.undos, found.replies.requested)
    assert found.edited == Proportion(found.edits, found.messages)
    assert found.stopped == Proportion(found.replies.stopped, ended)
    assert found.failed == Proportion(found.replies.failed, ended)


def test_feedback_per_day_agrees_with_the_log_and_has_every_day(recorded: Recorded) -> None:
    for naive in views(recorded):
        with read_snapshot(recorded.engine) as connection:
            found = feedback.per_day(connection, naive.filters)
        wanted, days = naive.per_day(), [day.date() for day in found["day"]]
        counts = found[["likes", "dislikes", "comments"]].to_numpy().tolist()
        assert counts == [wanted.get(day, [0, 0, 0]) for day in days], naive.filters
        assert wanted.keys() <= set(days)
        assert all(after - before == timedelta(days=1) for before, after in pairwise(days))


def test_a_range_of_days_is_filled_to_both_ends(engine: Engine) -> None:
    with read_snapshot(engine) as connection:
        found = feedback.per_day(connection, ResolvedFilters(since=SINCE, until=UNTIL))
        upto_midnight = feedback.per_day(
            connection, ResolvedFilters(since=SINCE, until=datetime(2026, 6, 29, tzinfo=UTC))
        )
    assert [f"{day:%m-%d}" for day in found["day"]] == ["06-25", "06-26", "06-27", "06-28", "06-29"]
    assert not found[["likes", "dislikes", "comments"]].to_numpy().any()
    assert f"{upto_midnight['day'].iloc[-1]:%m-%d}" == "06-28"


def test_like_rates_by_model_agree_with_the_log(recorded: Recorded) -> None:
    for naive in views(recorded):
        with read_snapshot(recorded.engine) as connection:
            found = feedback.by_model(connection, naive.filters)
        assert {row.model: (row.likes, row.n) for row in found.itertuples()} == naive.by_model(), naive.filters
        assert list(found["like_rate"]) == sorted(found["like_rate"], reverse=True)
        for row in found.itertuples():
            share = Proportion(row.likes, row.n)
            assert (row.dislikes, row.like_rate, row.low, row.high) == (
                row.n - row.likes,
                share.value,
                *share.interval(),
            )


def test_what_people_wrote_counts_for_no_model(recorded: Recorded) -> None:
    corrected = [
        j for (message_id, _), j in recorded.record.judged.items() if recorded.record.said[message_id].model is None
    ]
    assert any(judged.value for judged in corrected)
    with read_snapshot(recorded.engine) as connection:
        thumbs = feedback.per_day(connection, ResolvedFilters())[["likes", "dislikes"]].to_numpy().sum()
        by_model = feedback.by_model(connection, ResolvedFilters())["n"].sum()
        people = sum(judged.value is not None for judged in corrected)
        assert thumbs - by_model == people + recorded.record.without_text()
        assert feedback.count(connection, ResolvedFilters()) == len(recorded.record.judged)


def test_reasons_agree_with_the_log(recorded: Recorded) -> None:
    for naive in views(recorded):
        with read_snapshot(recorded.engine) as connection:
            found = feedback.reasons(connection, naive.filters)
        counts = {(value, reason): count for value, reason, count in found.itertuples(index=False)}
        assert counts == naive.reasons(), naive.filters
        assert list(found["count"]) == sorted(found["count"], reverse=True)


def test_the_latest_feedback_agrees_with_the_log(recorded: Recorded) -> None:
    names = recorded.crowd.names()
    for naive in views(recorded):
        with read_snapshot(recorded.engine) as connection:
            found = feedback.latest(connection, naive.filters, limit=10_000)
            assert feedback.count(connection, naive.filters) == len(found)
        rows = found.to_dict("records")
        assert {(row["message_id"], row["annotator_id"]) for row in rows} == naive.feedback().keys(), naive.filters
        assert [row["rated_at"] for row in rows] == sorted((row["rated_at"] for row in rows), reverse=True)
        for row in rows:
            said = naive.said[row["message_id"]]
            judged = naive.judged[row["message_id"], row["annotator_id"]]
            assert (row["rating"], row["reasons"], row["comment"]) == (judged.value, judged.reasons, judged.comment)
            assert row["rated_at"].to_pydatetime() == judged.at
            assert (row["prompt"], row["reply"], row["model"]) == (said.prompt, said.text, said.model)
            assert (row["annotator"], row["conversation_id"]) == (names[row["annotator_id"]], said.conversation_id)


@pytest.mark.parametrize("limit", [1, 7, 200])
def test_the_pages_of_the_table_put_together_are_the_table(recorded: Recorded, limit: int) -> None:
    with read_snapshot(recorded.engine) as connection:
        whole = feedback.latest(connection, ResolvedFilters(), limit=10_000)
        some = whole if limit > 1 else whole[:20]
        pages = [feedback.latest(connection, ResolvedFilters(), limit, offset) for offset in range(0, len(some), limit)]
    pd.testing.assert_frame_equal(pd.concat(pages, ignore_index=True)[: len(some)], some.reset_index(drop=True))


def test_an_empty_database_has_figures_of_nothing(engine: Engine) -> None:
    with read_snapshot(engine) as connection:
        found = headline(connection, ResolvedFilters())
        frames = [figure(connection, ResolvedFilters()) for figure in FRAMES]
    assert (found.conversations, found.messages, found.replies.requested) == (0, 0, 0)
    assert found.liked.interval() is None and found.replies.median_first_token is None
    assert [list(frame.columns) for frame in frames] == list(FRAMES.values())
    assert all(frame.empty for frame in frames)


FRAMES = {
    feedback.per_day: ["day", "likes", "dislikes", "comments"],
    feedback.by_model: ["model", "likes", "dislikes", "n", "like_rate", "low", "high"],
    feedback.reasons: ["value", "reason", "count"],
    feedback.latest: [
        "rated_at", "annotator", "model", "prompt", "reply", "rating", "reasons", "comment",
        "conversation_id", "message_id", "annotator_id",
    ],
}  # fmt: skip

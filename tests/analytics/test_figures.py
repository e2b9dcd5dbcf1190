"""Figures: each is compared with a recomputation from the log, under every kind of filter, on both databases."""

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
    """Yield the record under each filter alone, under all of them at once, and under none."""
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


def test_headline_agrees_with_log(recorded: Recorded) -> None:
    for naive in views(recorded):
        with read_snapshot(recorded.engine) as connection:
            figures = headline(connection, naive.filters)
        replies = naive.replies().values()
        assert figures.conversations == naive.conversations(), naive.filters
        assert figures.messages == len(naive.messages()), naive.filters
        assert figures.replies.requested == len(replies), naive.filters
        assert figures.replies.with_text == sum(bool(reply.text) for reply in replies), naive.filters
        assert figures.replies.rated == naive.rated_replies(), naive.filters
        for status in ("writing", "stopped", "failed"):
            counted = sum(reply.status == status for reply in replies)
            assert getattr(figures.replies, status) == counted, (status, naive.filters)
        assert figures.replies.median_first_token == naive.first_token(50), naive.filters
        assert figures.replies.p95_first_token == naive.first_token(95), naive.filters
        assert (figures.retries, figures.undos, figures.edits) == (
            naive.happened("reply_retried"),
            naive.happened("turn_undone"),
            naive.happened("message_edited"),
        ), naive.filters
        likes, thumbs = (sum(column) for column in zip((0, 0), *naive.by_model().values(), strict=True))
        assert figures.liked == Proportion(likes, thumbs), naive.filters
        assert figures.without_text == naive.without_text(), naive.filters


def test_headline_rates_have_right_counts_and_totals(recorded: Recorded) -> None:
    with read_snapshot(recorded.engine) as connection:
        figures = headline(connection, ResolvedFilters())
    ended = figures.replies.requested - figures.replies.writing
    assert 0 < ended < figures.replies.requested
    assert figures.rated == Proportion(figures.replies.rated, figures.replies.with_text)
    assert figures.retried == Proportion(figures.retries, figures.replies.requested)
    assert figures.undone == Proportion(figures.undos, figures.replies.requested)
    assert figures.edited == Proportion(figures.edits, figures.messages)
    assert figures.stopped == Proportion(figures.replies.stopped, ended)
    assert figures.failed == Proportion(figures.replies.failed, ended)


def test_per_day_agrees_with_log_and_has_every_day(recorded: Recorded) -> None:
    for naive in views(recorded):
        with read_snapshot(recorded.engine) as connection:
            frame = feedback.per_day(connection, naive.filters)
        expected, days = naive.per_day(), [day.date() for day in frame["day"]]
        counts = frame[["likes", "dislikes", "comments"]].to_numpy().tolist()
        assert counts == [expected.get(day, [0, 0, 0]) for day in days], naive.filters
        assert expected.keys() <= set(days)
        assert all(after - before == timedelta(days=1) for before, after in pairwise(days))


def test_per_day_fills_range_to_both_ends(engine: Engine) -> None:
    with read_snapshot(engine) as connection:
        frame = feedback.per_day(connection, ResolvedFilters(since=SINCE, until=UNTIL))
        upto_midnight = feedback.per_day(
            connection, ResolvedFilters(since=SINCE, until=datetime(2026, 6, 29, tzinfo=UTC))
        )
    assert [f"{day:%m-%d}" for day in frame["day"]] == ["06-25", "06-26", "06-27", "06-28", "06-29"]
    assert not frame[["likes", "dislikes", "comments"]].to_numpy().any()
    assert f"{upto_midnight['day'].iloc[-1]:%m-%d}" == "06-28"


def test_by_model_agrees_with_log(recorded: Recorded) -> None:
    for naive in views(recorded):
        with read_snapshot(recorded.engine) as connection:
            frame = feedback.by_model(connection, naive.filters)
        assert {row.model: (row.likes, row.n) for row in frame.itertuples()} == naive.by_model(), naive.filters
        assert list(frame["like_rate"]) == sorted(frame["like_rate"], reverse=True)
        for row in frame.itertuples():
            share = Proportion(row.likes, row.n)
            assert (row.dislikes, row.like_rate, row.low, row.high) == (
                row.n - row.likes,
                share.value,
                *share.interval(),
            )


def test_by_model_leaves_out_human_replies(recorded: Recorded) -> None:
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


def test_reasons_agree_with_log(recorded: Recorded) -> None:
    for naive in views(recorded):
        with read_snapshot(recorded.engine) as connection:
            frame = feedback.reasons(connection, naive.filters)
        counts = {(value, reason): count for value, reason, count in frame.itertuples(index=False)}
        assert counts == naive.reasons(), naive.filters
        assert list(frame["count"]) == sorted(frame["count"], reverse=True)


def test_latest_agrees_with_log(recorded: Recorded) -> None:
    names = recorded.crowd.names()
    for naive in views(recorded):
        with read_snapshot(recorded.engine) as connection:
            frame = feedback.latest(connection, naive.filters, limit=10_000)
            assert feedback.count(connection, naive.filters) == len(frame)
        rows = frame.to_dict("records")
        assert {(row["message_id"], row["annotator_id"]) for row in rows} == naive.feedback().keys(), naive.filters
        assert [row["rated_at"] for row in rows] == sorted((row["rated_at"] for row in rows), reverse=True)
        for row in rows:
            message = naive.said[row["message_id"]]
            judged = naive.judged[row["message_id"], row["annotator_id"]]
            assert (row["rating"], row["reasons"], row["comment"]) == (judged.value, judged.reasons, judged.comment)
            assert row["rated_at"].to_pydatetime() == judged.at
            assert (row["prompt"], row["reply"], row["model"]) == (message.prompt, message.text, message.model)
            assert (row["annotator"], row["conversation_id"]) == (names[row["annotator_id"]], message.conversation_id)


@pytest.mark.parametrize("limit", [1, 7, 200])
def test_latest_pages_together_are_whole_table(recorded: Recorded, limit: int) -> None:
    with read_snapshot(recorded.engine) as connection:
        whole = feedback.latest(connection, ResolvedFilters(), limit=10_000)
        some = whole if limit > 1 else whole[:20]
        pages = [feedback.latest(connection, ResolvedFilters(), limit, offset) for offset in range(0, len(some), limit)]
    pd.testing.assert_frame_equal(pd.concat(pages, ignore_index=True)[: len(some)], some.reset_index(drop=True))


def test_figures_of_empty_database_are_empty(engine: Engine) -> None:
    with read_snapshot(engine) as connection:
        figures = headline(connection, ResolvedFilters())
        frames = [figure(connection, ResolvedFilters()) for figure in FRAMES]
    assert (figures.conversations, figures.messages, figures.replies.requested) == (0, 0, 0)
    assert figures.liked.interval() is None and figures.replies.median_first_token is None
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


@pytest.mark.parametrize(("days", "filled"), [([10_000, 10_002], range(10_000, 10_003)), ([], range(0))])
def test_per_day_fills_no_centuries_around_feedback(days: list[int], filled: range) -> None:
    filters = ResolvedFilters(since=datetime(1900, 1, 1, tzinfo=UTC), until=datetime(2100, 1, 1, tzinfo=UTC))
    assert list(feedback._days(filters, days)) == list(filled)

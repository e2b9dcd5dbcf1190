"""Figures on feedback, as data frames: by day, by model, by reason, and the latest ratings.

Feedback is the current rating or comment of one annotator on one reply, and counts by its last change. All figures but
`by_model` include the feedback on texts by humans.
"""

from __future__ import annotations

from datetime import date, timedelta

import pandas as pd
from sqlalchemy import BigInteger, ColumnElement, Connection, func, literal_column, select

from chatfeedback.analytics.statistics import Proportion
from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.query.sql_filters import conditions, of_replies_without_text, without_index
from chatfeedback.store.schema import annotators, messages, rating_reasons, ratings

PAGE = 200
"""Default number of rows of `latest`."""
_DAY = 86_400_000_000
"""Microseconds per day; `updated_at // _DAY` counts the UTC days since 1970."""
_MAX_DAYS = 3660
"""Longest range that is filled up with days without feedback."""
_EPOCH = date(1970, 1, 1)
_OF_MODEL = dict.fromkeys(("likes", "dislikes", "n"), "int64") | dict.fromkeys(("like_rate", "low", "high"), "float64")


def per_day(connection: Connection, filters: ResolvedFilters) -> pd.DataFrame:
    """Return columns `day` (datetime64, UTC days), `likes`, `dislikes`, `comments`; one row per day, oldest first.

    The rows go from the first to the last day of the filter. Where it is open, they go to the first or last day with
    feedback.
    """
    updated_at, model, annotator = ratings.c.updated_at, ratings.c.model, ratings.c.annotator_id
    where = conditions(filters, instant=updated_at, model=model, annotator=annotator)
    day = updated_at // literal_column(str(_DAY), BigInteger)
    thumbs = (func.count().filter(ratings.c.value == value) for value in ("like", "dislike"))
    counts = {
        number: [likes, dislikes, 0]
        for number, likes, dislikes in connection.execute(select(day, *thumbs).where(*where).group_by(day))
    }
    # Comments are few, and have a partial index.
    where = conditions(filters, instant=updated_at, model=without_index(model), annotator=annotator)
    commented = select(day, func.count()).where(ratings.c.comment.is_not(None), *where).group_by(day)
    for number, comments in connection.execute(commented):
        counts[number][2] = comments
    days = _days(filters, sorted(counts))
    frame = pd.DataFrame(
        [counts.get(number, [0, 0, 0]) for number in days], columns=["likes", "dislikes", "comments"], dtype="int64"
    )
    frame.insert(0, "day", pd.to_datetime([_EPOCH + timedelta(days=number) for number in days]))
    return frame


def _days(filters: ResolvedFilters, days: list[int]) -> range:
    if not days and (filters.since is None or filters.until is None):
        return range(0)
    first = days[0] if filters.since is None else (filters.since.date() - _EPOCH).days
    last = days[-1] if filters.until is None else ((filters.until - timedelta(microseconds=1)).date() - _EPOCH).days
    if last - first > _MAX_DAYS:  # do not fill up centuries without feedback
        first, last = (max(first, days[0]), min(last, days[-1])) if days else (first, first - 1)
    return range(first, last + 1)


def by_model(connection: Connection, filters: ResolvedFilters) -> pd.DataFrame:
    """Return columns `model`, `likes`, `dislikes`, `n`, `like_rate`, `low`, `high`; highest like rate first.

    `low` and `high` are the bounds of the 95 % Wilson interval of the like rate. Replies without text, models without
    likes or dislikes, and texts by humans are left out.
    """
    where = conditions(
        filters, instant=without_index(ratings.c.updated_at), model=ratings.c.model, annotator=ratings.c.annotator_id
    )
    thumbs = func.count().filter(ratings.c.value == "like"), func.count()
    query = (
        select(ratings.c.model, *thumbs)
        .where(ratings.c.model.is_not(None), ratings.c.value.is_not(None), *where)
        .group_by(ratings.c.model)
    )
    name = without_index(ratings.c.model)
    without_text = of_replies_without_text(filters, name, *thumbs).group_by(name)
    empty = {model: (likes, n) for model, likes, n in connection.execute(without_text)}
    rows = []
    for model, likes, n in connection.execute(query):
        empty_likes, empty_n = empty.get(model, (0, 0))
        likes, n = likes - empty_likes, n - empty_n
        if not n:
            continue
        liked = Proportion(likes, n)
        rows.append((model, likes, n - likes, n, liked.value, *(liked.interval() or ())))
    frame = pd.DataFrame(rows, columns=["model", *_OF_MODEL]).astype(_OF_MODEL)
    return frame.sort_values(["like_rate", "model"], ascending=[False, True], ignore_index=True)


def reasons(connection: Connection, filters: ResolvedFilters) -> pd.DataFrame:
    """Return columns `value` (like, dislike, or None: no thumb), `reason` (a code), `count`; highest count first."""
    where = conditions(filters, instant=ratings.c.updated_at, model=ratings.c.model, annotator=ratings.c.annotator_id)
    query = (
        select(ratings.c.value, rating_reasons.c.reason, func.count())
        .join_from(ratings, rating_reasons, _reasons_of_rating)
        .where(*where)
        .group_by(ratings.c.value, rating_reasons.c.reason)
    )
    frame = pd.DataFrame(connection.execute(query), columns=["value", "reason", "count"], dtype=object)
    frame["count"] = frame["count"].astype("int64")
    return frame.sort_values(["count", "reason", "value"], ascending=[False, True, True], ignore_index=True)


def count(connection: Connection, filters: ResolvedFilters) -> int:
    """Return the total number of rows of `latest`."""
    query = select(func.count()).select_from(ratings).where(*_latest_conditions(filters))
    return connection.execute(query).scalar_one()


def latest(connection: Connection, filters: ResolvedFilters, limit: int = PAGE, offset: int = 0) -> pd.DataFrame:
    """Return one row for each rating or comment, latest first.

    Columns `rated_at` (datetime64, UTC), `annotator` (name), `model`, `prompt`, `reply`, `rating` (like, dislike or
    None), `reasons` (a tuple of codes), `comment`, `conversation_id`, `message_id`, `annotator_id`.
    """
    prompts = messages.alias("prompts")
    query = (
        select(
            ratings.c.updated_at.label("rated_at"),
            annotators.c.name.label("annotator"),
            ratings.c.model,
            prompts.c.text.label("prompt"),
            messages.c.text.label("reply"),
            ratings.c.value.label("rating"),
            ratings.c.comment,
            ratings.c.conversation_id,
            ratings.c.message_id,
            ratings.c.annotator_id,
        )
        .join(messages, messages.c.message_id == ratings.c.message_id)
        .join(prompts, prompts.c.message_id == messages.c.parent_id)
        .join(annotators, annotators.c.annotator_id == ratings.c.annotator_id)
        .where(*_latest_conditions(filters))
        .order_by(ratings.c.updated_at.desc(), ratings.c.message_id.desc(), ratings.c.annotator_id.desc())
        .limit(limit)
        .offset(offset)
    )
    result = connection.execute(query)
    frame = pd.DataFrame(result, columns=list(result.keys()), dtype=object)
    codes: dict[tuple[str, str], list[str]] = {}
    reasons_query = select(rating_reasons).where(rating_reasons.c.message_id.in_(list(frame["message_id"])))
    for message_id, annotator_id, reason in connection.execute(reasons_query.order_by(rating_reasons.c.reason)):
        codes.setdefault((message_id, annotator_id), []).append(reason)
    keys = zip(frame["message_id"], frame["annotator_id"], strict=True)
    frame.insert(6, "reasons", pd.Series([tuple(codes.get(key, ())) for key in keys], dtype=object))
    frame["rated_at"] = pd.to_datetime(frame["rated_at"].astype("int64"), unit="us", utc=True)
    return frame


_reasons_of_rating = (rating_reasons.c.message_id == ratings.c.message_id) & (
    rating_reasons.c.annotator_id == ratings.c.annotator_id
)


def _latest_conditions(filters: ResolvedFilters) -> list[ColumnElement[bool]]:
    return conditions(
        filters,
        instant=ratings.c.updated_at,
        model=without_index(ratings.c.model),
        annotator=ratings.c.annotator_id,
    )

"""The figures on feedback, as data frames: by day, by model, by reason, and the latest one by one.

Feedback is what one person says of one reply now, and counts by its last change. All but `by_model` have the feedback
on texts by people too.
"""

from __future__ import annotations

from datetime import date, timedelta

import pandas as pd
from sqlalchemy import BigInteger, ColumnElement, Connection, func, literal_column, select

from chatfeedback.analytics.statistics import Proportion
from chatfeedback.query.filters import Filters
from chatfeedback.query.sql_filters import conditions, of_replies_without_text, without_index
from chatfeedback.store.schema import annotators, messages, rating_reasons, ratings

PAGE = 200
"""Rows of `latest` at once."""
_DAY = 86_400_000_000
"""In microseconds; `updated_at // _DAY` counts the days of UTC since 1970."""
_MAX_DAYS = 3660
"""That are filled up with days without feedback."""
_EPOCH = date(1970, 1, 1)
_OF_MODEL = dict.fromkeys(("likes", "dislikes", "n"), "int64") | dict.fromkeys(("like_rate", "low", "high"), "float64")


def per_day(connection: Connection, filters: Filters) -> pd.DataFrame:
    """Columns `day` (datetime64, UTC days), `likes`, `dislikes`, `comments`; a row for every day, oldest first.

    From the first to the last day of the filter, or where it is open, to the first and last day with feedback.
    """
    at, model, annotator = ratings.c.updated_at, ratings.c.model, ratings.c.annotator_id
    where = conditions(filters, instant=at, model=model, annotator=annotator)
    day = at // literal_column(str(_DAY), BigInteger)
    thumbs = (func.count().filter(ratings.c.value == value) for value in ("like", "dislike"))
    found = {
        number: [likes, dislikes, 0]
        for number, likes, dislikes in connection.execute(select(day, *thumbs).where(*where).group_by(day))
    }
    # Comments are few, and have an index of their own.
    where = conditions(filters, instant=at, model=without_index(model), annotator=annotator)
    commented = select(day, func.count()).where(ratings.c.comment.is_not(None), *where).group_by(day)
    for number, comments in connection.execute(commented):
        found[number][2] = comments
    days = _days(filters, sorted(found))
    frame = pd.DataFrame(
        [found.get(number, [0, 0, 0]) for number in days], columns=["likes", "dislikes", "comments"], dtype="int64"
    )
    frame.insert(0, "day", pd.to_datetime([_EPOCH + timedelta(days=number) for number in days]))
    return frame


def _days(filters: Filters, found: list[int]) -> range:
    if not found and (filters.since is None or filters.until is None):
        return range(0)
    first = found[0] if filters.since is None else (filters.since.date() - _EPOCH).days
    last = found[-1] if filters.until is None else ((filters.until - timedelta(microseconds=1)).date() - _EPOCH).days
    if last - first > _MAX_DAYS:  # nobody looks at centuries without feedback
        first, last = (max(first, found[0]), min(last, found[-1])) if found else (first, first - 1)
    return range(first, last + 1)


def by_model(connection: Connection, filters: Filters) -> pd.DataFrame:
    """Columns `model`, `likes`, `dislikes`, `n`, `like_rate`, `low`, `high`; the best liked model first.

    `low` and `high` bound the 95 % Wilson interval of the like rate. Replies without text and models without a like or
    dislike are left out, and so is what people wrote.
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


def reasons(connection: Connection, filters: Filters) -> pd.DataFrame:
    """Columns `value` (like, dislike, or None: given without a thumb), `reason` (a code), `count`; the most frequent
    first.
    """
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


def count(connection: Connection, filters: Filters) -> int:
    """How many rows `latest` has in all."""
    query = select(func.count()).select_from(ratings).where(*_latest_conditions(filters))
    return connection.execute(query).scalar_one()


def latest(connection: Connection, filters: Filters, limit: int = PAGE, offset: int = 0) -> pd.DataFrame:
    """One row for each rating or comment, the latest first.

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
    found = connection.execute(query)
    frame = pd.DataFrame(found, columns=list(found.keys()), dtype=object)
    codes: dict[tuple[str, str], list[str]] = {}
    given = select(rating_reasons).where(rating_reasons.c.message_id.in_(list(frame["message_id"])))
    for message_id, annotator_id, reason in connection.execute(given.order_by(rating_reasons.c.reason)):
        codes.setdefault((message_id, annotator_id), []).append(reason)
    keys = zip(frame["message_id"], frame["annotator_id"], strict=True)
    frame.insert(6, "reasons", pd.Series([tuple(codes.get(key, ())) for key in keys], dtype=object))
    frame["rated_at"] = pd.to_datetime(frame["rated_at"].astype("int64"), unit="us", utc=True)
    return frame


_reasons_of_rating = (rating_reasons.c.message_id == ratings.c.message_id) & (
    rating_reasons.c.annotator_id == ratings.c.annotator_id
)


def _latest_conditions(filters: Filters) -> list[ColumnElement[bool]]:
    return conditions(
        filters,
        instant=ratings.c.updated_at,
        model=without_index(ratings.c.model),
        annotator=ratings.c.annotator_id,
    )

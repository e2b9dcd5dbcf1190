"""Headline figures of a database as JSON values; the command `stats`."""

from __future__ import annotations

from typing import Any

from chatfeedback.analytics.figures.headline import headline
from chatfeedback.analytics.statistics import Proportion
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
    replies, interval = figures.replies, figures.liked.interval() or (None, None)
    return {
        "conversations": figures.conversations,
        "messages": figures.messages,
        "replies": replies.requested,
        "replies_with_text": replies.with_text,
        "replies_rated": replies.rated,
        "share_rated": _share(figures.rated),
        "likes": figures.liked.count,
        "dislikes": figures.liked.total - figures.liked.count,
        "like_rate": _share(figures.liked),
        "like_rate_low": _rounded(interval[0], 4),
        "like_rate_high": _rounded(interval[1], 4),
        "retries": figures.retries,
        "retry_rate": _share(figures.retried),
        "undos": figures.undos,
        "undo_rate": _share(figures.undone),
        "edits": figures.edits,
        "edit_rate": _share(figures.edited),
        "stopped": replies.stopped,
        "stop_rate": _share(figures.stopped),
        "failed": replies.failed,
        "failure_rate": _share(figures.failed),
        "first_token_median_seconds": _rounded(replies.median_first_token, 3),
        "first_token_p95_seconds": _rounded(replies.p95_first_token, 3),
        "ratings_without_text": figures.without_text,
    }


def _share(share: Proportion) -> float | None:
    return _rounded(share.value, 4)


def _rounded(value: float | None, places: int) -> float | None:
    return None if value is None else round(value, places)

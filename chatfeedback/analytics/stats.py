"""The command `stats`: the headline figures of a database, for people and for programs."""

from __future__ import annotations

from typing import Any

from chatfeedback.analytics.figures.headline import headline
from chatfeedback.analytics.statistics import Proportion
from chatfeedback.query.filters import Filters
from chatfeedback.query.sql_filters import read_snapshot, resolve
from chatfeedback.store.database import migrate


def stats(url: str, filters: Filters) -> dict[str, Any]:
    """The headline figures by name, always the same names in the same order, ready for JSON.

    Counts are whole numbers, shares are 0 to 1 and rounded to 4 places, times are seconds rounded to 3; what cannot
    be known (a share of nothing) is None. `filters.annotator` is a name, an id or a pseudonym. Raises SettingsError
    for a database that is not there, NotFound for an unknown model or annotator, StoreError.
    """
    with migrate.opened(url, read_only=True, otherwise="name an existing one") as engine:
        wanted = resolve(engine, filters)
        with read_snapshot(engine) as connection:
            found = headline(connection, wanted)
    made, interval = found.replies, found.liked.interval() or (None, None)
    return {
        "conversations": found.conversations,
        "messages": found.messages,
        "replies": made.asked,
        "replies_with_text": made.with_text,
        "replies_rated": made.rated,
        "share_rated": _share(found.rated),
        "likes": found.liked.count,
        "dislikes": found.liked.of - found.liked.count,
        "like_rate": _share(found.liked),
        "like_rate_low": _rounded(interval[0], 4),
        "like_rate_high": _rounded(interval[1], 4),
        "retries": found.retries,
        "retry_rate": _share(found.retried),
        "undos": found.undos,
        "undo_rate": _share(found.undone),
        "edits": found.edits,
        "edit_rate": _share(found.edited),
        "stopped": made.stopped,
        "stop_rate": _share(found.stopped),
        "failed": made.failed,
        "failure_rate": _share(found.failed),
        "first_token_median_seconds": _rounded(made.median_first_token, 3),
        "first_token_p95_seconds": _rounded(made.p95_first_token, 3),
        "ratings_without_text": found.without_text,
    }


def _share(share: Proportion) -> float | None:
    return _rounded(share.value, 4)


def _rounded(value: float | None, places: int) -> float | None:
    return None if value is None else round(value, places)

"""Registry of the headline figures: the cards of the Analytics tab and the command `stats` follow from its entries.

To add one, compute it in `figures/headline.py`, enter it here, and define it in docs/analytics.md. Names of values are
API: scripts read them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chatfeedback.analytics.figures.headline import Headline
from chatfeedback.analytics.formatting import counted, number, percent, seconds
from chatfeedback.analytics.statistics import Proportion

Value = Callable[[Headline], int | float | None]


@dataclass(frozen=True, slots=True)
class Card:
    """Card of a figure. `detail` explains its calculation."""

    title: str
    text: Callable[[Headline], str]
    detail: Callable[[Headline], str]


@dataclass(frozen=True, slots=True)
class Figure:
    """Headline figure: its values by their names in `stats`, and its card, if it has one of its own."""

    values: Mapping[str, Value]
    card: Card | None = None


def _share(proportion: Callable[[Headline], Proportion]) -> Value:
    return lambda h: _rounded(proportion(h).value, 4)


def _rounded(value: float | None, places: int) -> float | None:
    return None if value is None else round(value, places)


def _bound(index: int) -> Value:
    return lambda h: _rounded((h.liked.interval() or (None, None))[index], 4)


def _like_rate_detail(h: Headline) -> str:
    low, high = h.liked.interval() or (None, None)
    interval = f"95% interval {percent(low)} to {percent(high)}; " if h.liked.total else ""
    left_out = f"; {number(h.without_text)} on replies without text left out" if h.without_text else ""
    return f"{interval}{number(h.liked.count)} of {number(h.liked.total)}{left_out}"


FIGURES: tuple[Figure, ...] = (
    Figure(
        {"conversations": lambda h: h.conversations},
        Card(
            "Conversations",
            lambda h: number(h.conversations),
            lambda h: "started, in which the model was asked" if h.of_model else "started",
        ),
    ),
    Figure(
        {"messages": lambda h: h.messages},
        Card(
            "Messages",
            lambda h: number(h.messages),
            lambda h: "by this model, all versions" if h.of_model else "by people and models, all versions",
        ),
    ),
    Figure(
        {"replies": lambda h: h.replies.requested, "replies_with_text": lambda h: h.replies.with_text},
        Card(
            "Replies",
            lambda h: number(h.replies.requested),
            lambda h: f"asked of {'this model' if h.of_model else 'models'}; {number(h.replies.with_text)} with text",
        ),
    ),
    Figure(
        {"replies_rated": lambda h: h.replies.rated, "share_rated": _share(lambda h: h.rated)},
        Card(
            "Rated",
            lambda h: percent(h.rated.value),
            lambda h: f"{number(h.replies.rated)} of the replies with text",
        ),
    ),
    Figure(
        {
            "likes": lambda h: h.liked.count,
            "dislikes": lambda h: h.liked.total - h.liked.count,
            "like_rate": _share(lambda h: h.liked),
            "like_rate_low": _bound(0),
            "like_rate_high": _bound(1),
        },
        Card("Like rate", lambda h: percent(h.liked.value), _like_rate_detail),
    ),
    Figure(
        {"retries": lambda h: h.retries, "retry_rate": _share(lambda h: h.retried)},
        Card(
            "Retried",
            lambda h: percent(h.retried.value),
            lambda h: f"{counted(h.retries, 'retry', 'retries')}, per reply",
        ),
    ),
    Figure(
        {"undos": lambda h: h.undos, "undo_rate": _share(lambda h: h.undone)},
        Card(
            "Undone",
            lambda h: percent(h.undone.value),
            lambda h: f"{counted(h.undos, 'undo', 'undos')}, per reply",
        ),
    ),
    Figure(
        {"edits": lambda h: h.edits, "edit_rate": _share(lambda h: h.edited)},
        Card(
            "Edited",
            lambda h: percent(h.edited.value),
            lambda h: (
                f"{counted(h.edits, 'edit', 'edits')} of replies, per reply"
                if h.of_model
                else f"{counted(h.edits, 'edit', 'edits')}, per message"
            ),
        ),
    ),
    Figure(
        {"stopped": lambda h: h.replies.stopped, "stop_rate": _share(lambda h: h.stopped)},
        Card(
            "Stopped",
            lambda h: percent(h.stopped.value),
            lambda h: f"{number(h.replies.stopped)} of {number(h.stopped.total)} replies that ended",
        ),
    ),
    Figure(
        {"failed": lambda h: h.replies.failed, "failure_rate": _share(lambda h: h.failed)},
        Card(
            "Failed",
            lambda h: percent(h.failed.value),
            lambda h: f"{number(h.replies.failed)} of {number(h.failed.total)} replies that ended",
        ),
    ),
    Figure(
        {"first_token_median_seconds": lambda h: _rounded(h.replies.median_first_token, 3)},
        Card(
            "First token",
            lambda h: seconds(h.replies.median_first_token),
            lambda _: "median time to the first token",
        ),
    ),
    Figure(
        {"first_token_p95_seconds": lambda h: _rounded(h.replies.p95_first_token, 3)},
        Card("First token, slow", lambda h: seconds(h.replies.p95_first_token), lambda _: "95th percentile"),
    ),
    Figure({"ratings_without_text": lambda h: h.without_text}),
)

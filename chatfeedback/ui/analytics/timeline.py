"""The chart of feedback over time, as HTML like the others (`charts`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import pandas as pd

from chatfeedback.ui.analytics.charts import figure, nothing, number, table

MAX_BARS = 92
"""That stay legible on a phone; a longer time is drawn in weeks, months or years."""
_SLOTS = 14
"""A chart of few bars leaves room for as many, so that one day is a bar and not a wall."""
_LABELS = 7
_COUNTS = ("likes", "dislikes", "comments")
_LEGEND = (
    '<ul class="cf-legend"><li><i class="cf-like"></i>Likes</li><li><i class="cf-dislike"></i>Dislikes</li>'
    '<li><i class="cf-comment"></i>Comments</li></ul>'
)


class _Period(NamedTuple):
    name: str
    code: str
    """As pandas calls it."""
    label: str
    """On the axis, for strftime; the year is added where it changes."""
    spoken: str
    """One of them in words, for strftime."""


_PERIODS = (
    _Period("day", "D", "%-d %b", "%A, %-d %B %Y"),
    _Period("week", "W-SUN", "%-d %b", "Week from Monday, %-d %B %Y"),
    _Period("month", "M", "%b", "%B %Y"),
    _Period("year", "Y", "", "%Y"),
)


def per_day(days: pd.DataFrame) -> str:
    """Likes and dislikes, stacked, and comments over time; `days` as `analytics.feedback.per_day` gives them.

    More than MOST_BARS days are added up to weeks, then months, then years, and the chart says so.
    """
    if not days[list(_COUNTS)].to_numpy().any():
        return figure("Feedback per day", "", nothing("No feedback in this selection yet."))
    period, frame = _added_up(days)
    totals = (int(days[name].sum()) for name in _COUNTS)
    spoken = (
        f"Feedback per {period.name} from {days['day'].iloc[0]:%Y-%m-%d} to {days['day'].iloc[-1]:%Y-%m-%d}: "
        f"{_spoken(*totals)}."
    )
    why = "" if period.name == "day" else f" Added up, because there are {number(len(days))} days."
    cells = ((f"{start:%Y-%m-%d}", *map(number, counts)) for start, *counts in frame.itertuples(index=False))
    return figure(
        f"Feedback per {period.name}",
        f"Ratings and comments by the {period.name} of their last change, in UTC.{why}",
        _LEGEND,
        _plot(frame, period, spoken),
        table((f"{period.name.capitalize()} from", "Likes", "Dislikes", "Comments"), cells),
    )


def _added_up(days: pd.DataFrame) -> tuple[_Period, pd.DataFrame]:
    """The days in the shortest period that makes few enough bars."""
    frame = days
    for period in _PERIODS:
        starts = days["day"].dt.to_period(period.code).dt.start_time
        frame = days.drop(columns="day").groupby(starts).sum().reset_index()
        if len(frame) <= MAX_BARS:
            break
    return period, frame


def _plot(frame: pd.DataFrame, period: _Period, spoken: str) -> str:
    most = max((frame["likes"] + frame["dislikes"]).max(), frame["comments"].max())
    step, top = _axis(int(most))
    slots = max(len(frame), _SLOTS)
    first = (slots - len(frame)) / 2
    bars = "".join(
        _bar(first + place, counts, top, f"{start.strftime(period.spoken)}: {_spoken(*counts)}")
        for place, (start, *counts) in enumerate(frame.itertuples(index=False))
    )
    lines = "".join(
        f'<div style="bottom:{tick / top:.2%}"><span>{number(tick)}</span></div>' for tick in range(0, top + 1, step)
    )
    return (
        f'<div class="cf-plot" role="img" aria-label="{spoken}"><span class="cf-unit">Number per {period.name}</span>'
        f'<div class="cf-lines">{lines}</div>'
        f'<svg viewBox="0 0 {slots} 100" preserveAspectRatio="none">{bars}</svg>'
        f'<div class="cf-dates">{_dates(list(frame["day"]), period, first, slots)}</div></div>'
    )


def _bar(at: float, counts: Sequence[int], top: int, title: str) -> str:
    likes, dislikes, comments = counts
    liked, both, commented = (100 * value / top for value in (likes, likes + dislikes, comments))
    y = f"{100 - commented:.2f}"
    mark = f'<line class="cf-comment" x1="{at + 0.05:g}" x2="{at + 0.95:g}" y1="{y}" y2="{y}"/>'
    return (
        f'<g><title>{title}</title><rect class="cf-slot" x="{at:g}" y="0" width="1" height="100"/>'
        f'<rect class="cf-like" x="{at + 0.12:g}" y="{100 - liked:.2f}" width="0.76" height="{liked:.2f}"/>'
        f'<rect class="cf-dislike" x="{at + 0.12:g}" y="{100 - both:.2f}" width="0.76" height="{both - liked:.2f}"/>'
        f"{mark if comments else ''}</g>"
    )


def _dates(starts: Sequence[pd.Timestamp], period: _Period, first: float, slots: int) -> str:
    """At most _LABELS dates below the bars, with the year where it is not that of the label before."""
    wanted = min(_LABELS, len(starts))
    places = [round(order * (len(starts) - 1) / max(1, wanted - 1)) for order in range(wanted)]
    labels, year = [], None
    for order, place in enumerate(places):
        start = starts[place]
        shown = start.strftime(period.label)
        if start.year != year:
            shown, year = f"{shown} {start.year}".strip(), start.year
        # Every other label gives way on a narrow screen.
        minor = ' class="cf-minor"' if order % 2 and wanted > 3 else ""
        labels.append(f'<span{minor} style="left:{(first + place + 0.5) / slots:.2%}">{shown}</span>')
    return "".join(labels)


def _axis(most: int) -> tuple[int, int]:
    """The step and the top of an axis from zero to at least `most`: at most five steps, of 1, 2 or 5 times 10ⁿ."""
    step = next(digit * 10**power for power in count() for digit in (1, 2, 5) if most <= 5 * digit * 10**power)
    return step, step * max(1, -(-most // step))


def _spoken(likes: int, dislikes: int, comments: int) -> str:
    return ", ".join(
        f"{number(count)} {name}{'' if count == 1 else 's'}"
        for count, name in ((likes, "like"), (dislikes, "dislike"), (comments, "comment"))
    )

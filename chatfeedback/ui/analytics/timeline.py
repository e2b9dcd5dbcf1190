"""Chart of feedback over time, as HTML like those in `charts`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import pandas as pd

from chatfeedback.analytics.formatting import number
from chatfeedback.ui.analytics.charts import figure, placeholder, table

MAX_BARS = 92
"""Bars that stay legible on a phone; a longer time is shown in weeks, months or years."""
_SLOTS = 14
"""Smallest number of slots, so that a single bar does not fill the chart."""
_LABELS = 7
"""Dates below the bars, at most."""
_COUNTS = ("likes", "dislikes", "comments")
_LEGEND = (
    '<ul class="cf-legend"><li><i class="cf-like"></i>Likes</li><li><i class="cf-dislike"></i>Dislikes</li>'
    '<li><i class="cf-comment"></i>Comments</li></ul>'
)


class _Period(NamedTuple):
    name: str
    frequency: str
    """Frequency alias of pandas."""
    label_format: str
    """strftime format of a label on the axis; the year is added where it changes."""
    title_format: str
    """strftime format of the title of a bar."""


_PERIODS = (
    _Period("day", "D", "%-d %b", "%A, %-d %B %Y"),
    _Period("week", "W-SUN", "%-d %b", "Week from Monday, %-d %B %Y"),
    _Period("month", "M", "%b", "%B %Y"),
    _Period("year", "Y", "", "%Y"),
)


def per_day(days: pd.DataFrame) -> str:
    """Return the chart of ratings (stacked) and comments. `days`: from `analytics.figures.feedback.per_day`.

    More than MAX_BARS days are aggregated into weeks, then months, then years, and the chart says so.
    """
    if not days[list(_COUNTS)].to_numpy().any():
        return figure("Feedback per day", "", placeholder("No feedback in this selection yet."))
    period, frame = _aggregate(days)
    totals = (int(days[name].sum()) for name in _COUNTS)
    description = (
        f"Feedback per {period.name} from {days['day'].iloc[0]:%Y-%m-%d} to {days['day'].iloc[-1]:%Y-%m-%d}: "
        f"{_describe(*totals)}."
    )
    aggregation_note = "" if period.name == "day" else f" Added up, because there are {number(len(days))} days."
    cells = ((f"{start:%Y-%m-%d}", *map(number, counts)) for start, *counts in frame.itertuples(index=False))
    return figure(
        f"Feedback per {period.name}",
        f"Ratings and comments by the {period.name} of their last change, in UTC.{aggregation_note}",
        _LEGEND,
        _plot(frame, period, description),
        table((f"{period.name.capitalize()} from", "Likes", "Dislikes", "Comments"), cells),
    )


def _aggregate(days: pd.DataFrame) -> tuple[_Period, pd.DataFrame]:
    """Return the shortest period with at most MAX_BARS bars, and the counts per period."""
    frame = days
    for period in _PERIODS:
        starts = days["day"].dt.to_period(period.frequency).dt.start_time
        frame = days.drop(columns="day").groupby(starts).sum().reset_index()
        if len(frame) <= MAX_BARS:
            break
    return period, frame


def _plot(frame: pd.DataFrame, period: _Period, description: str) -> str:
    highest = max((frame["likes"] + frame["dislikes"]).max(), frame["comments"].max())
    step, top = _axis(int(highest))
    slots = max(len(frame), _SLOTS)
    first_slot = (slots - len(frame)) / 2
    bars = "".join(
        _bar(first_slot + index, counts, top, f"{start.strftime(period.title_format)}: {_describe(*counts)}")
        for index, (start, *counts) in enumerate(frame.itertuples(index=False))
    )
    lines = "".join(
        f'<div style="bottom:{tick / top:.2%}"><span>{number(tick)}</span></div>' for tick in range(0, top + 1, step)
    )
    return (
        f'<div class="cf-plot" role="img" aria-label="{description}">'
        f'<span class="cf-unit">Number per {period.name}</span>'
        f'<div class="cf-lines">{lines}</div>'
        f'<svg viewBox="0 0 {slots} 100" preserveAspectRatio="none">{bars}</svg>'
        f'<div class="cf-dates">{_dates(list(frame["day"]), period, first_slot, slots)}</div></div>'
    )


def _bar(x: float, counts: Sequence[int], top: int, title: str) -> str:
    likes, dislikes, comments = counts
    like_top, rated_top, comment_top = (100 * value / top for value in (likes, likes + dislikes, comments))
    y = f"{100 - comment_top:.2f}"
    mark = f'<line class="cf-comment" x1="{x + 0.05:g}" x2="{x + 0.95:g}" y1="{y}" y2="{y}"/>'
    return (
        f'<g><title>{title}</title><rect class="cf-slot" x="{x:g}" y="0" width="1" height="100"/>'
        f'<rect class="cf-like" x="{x + 0.12:g}" y="{100 - like_top:.2f}" width="0.76" height="{like_top:.2f}"/>'
        f'<rect class="cf-dislike" x="{x + 0.12:g}" y="{100 - rated_top:.2f}" width="0.76" '
        f'height="{rated_top - like_top:.2f}"/>'
        f"{mark if comments else ''}</g>"
    )


def _dates(starts: Sequence[pd.Timestamp], period: _Period, first_slot: float, slots: int) -> str:
    """Return at most _LABELS dates for the axis; the year is added where it changes."""
    label_count = min(_LABELS, len(starts))
    indexes = [round(order * (len(starts) - 1) / max(1, label_count - 1)) for order in range(label_count)]
    labels, year = [], None
    for order, index in enumerate(indexes):
        start = starts[index]
        label = start.strftime(period.label_format)
        if start.year != year:
            label, year = f"{label} {start.year}".strip(), start.year
        # Every other label is hidden on a narrow screen.
        minor = ' class="cf-minor"' if order % 2 and label_count > 3 else ""
        labels.append(f'<span{minor} style="left:{(first_slot + index + 0.5) / slots:.2%}">{label}</span>')
    return "".join(labels)


def _axis(highest: int) -> tuple[int, int]:
    """Return the step and the top of an axis from 0 to at least `highest`: up to five steps of 1, 2 or 5 times 10ⁿ."""
    step = next(digit * 10**power for power in count() for digit in (1, 2, 5) if highest <= 5 * digit * 10**power)
    return step, step * max(1, -(-highest // step))


def _describe(likes: int, dislikes: int, comments: int) -> str:
    return ", ".join(
        f"{number(count)} {name}{'' if count == 1 else 's'}"
        for count, name in ((likes, "like"), (dislikes, "dislike"), (comments, "comment"))
    )

"""Chart of feedback over time, as HTML like those in `charts`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import count
from typing import NamedTuple

import pandas as pd

from chatfeedback.analytics.formatting import number
from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.ui.analytics.charts import figure, placeholder, table

MAX_BARS = 92
"""Bars that stay legible on a phone; a longer time is shown in weeks, months or years."""
_SLOTS = 8
"""Smallest number of slots, so that a single bar does not fill the chart."""
_LABELS = 7
"""Dates below the bars, at most."""
_NARROW_LABELS = 5
"""Dates below the bars on a narrow screen, at most."""
_COUNTS = ("likes", "dislikes", "comments")
_LEGEND = (
    '<ul class="cf-legend"><li><i class="cf-like"></i>Likes</li><li><i class="cf-dislike"></i>Dislikes</li>'
    '<li><i class="cf-comment"></i>Comments</li></ul>'
)
_NOT_OVER, _CUT = "not over yet", "cut by the filter"
"""Reasons for which a bar counts less than its whole period."""


class _Period(NamedTuple):
    name: str
    frequency: str
    """Frequency alias of pandas."""
    label_format: str
    """strftime format of a label on the axis; the year is added where it changes."""
    title_format: str
    """strftime format of the title of a bar."""
    steps: tuple[int, ...]
    """Periods from one label to the next, of which the smallest that fits is used."""
    first_label: int = 0
    """Ordinal in pandas of a period with a label: labels begin at a Monday, a January or a round year."""


_PERIODS = (
    _Period("day", "D", "%-d %b", "%A, %-d %B %Y", (1, 2, 7, 14), pd.Period("1970-01-05", "D").ordinal),
    _Period("week", "W-SUN", "%-d %b", "Week from Monday, %-d %B %Y", (1, 2, 4, 8, 16)),
    _Period("month", "M", "%b", "%B %Y", (1, 2, 3, 6, 12, 24)),
    _Period("year", "Y", "", "%Y", (1, 2, 5, 10, 20, 50), pd.Period("2000", "Y").ordinal),
)


def per_day(days: pd.DataFrame, filters: ResolvedFilters, now: datetime) -> str:
    """Return the chart of ratings (stacked) and comments.

    More than MAX_BARS days are aggregated into weeks, then months, then years, and the chart says so. A period of which
    only a part is counted is marked, because its bar would look like a fall. Days after `now` have no bars.

    Args:
        days: Counts from `analytics.figures.feedback.per_day`.
        filters: Filters of these counts.
        now: Time of these counts, aware.
    """
    days = _without_future(days, pd.Timestamp(now))
    if not days[list(_COUNTS)].to_numpy().any():
        return figure("Feedback per day", "", placeholder("No feedback in this selection yet."))
    period, frame = _aggregate(days)
    parts = _parts(frame, period, filters, pd.Timestamp(now))
    totals = (int(days[name].sum()) for name in _COUNTS)
    partly = "".join(f" {title}." for title in _partly(frame, period, parts))
    description = (
        f"Feedback per {period.name} from {days['day'].iloc[0]:%Y-%m-%d} to {days['day'].iloc[-1]:%Y-%m-%d}, UTC: "
        f"{_describe(*totals)}.{partly}"
    )
    aggregation_note = "" if period.name == "day" else f" Added up, because there are {number(len(days))} days."
    part_note = f" Paler:{partly}" if partly else ""
    cells = (
        (f"{start:%Y-%m-%d}" + (f" ({part})" if part else ""), *map(number, counts))
        for part, (start, *counts) in zip(parts, frame.itertuples(index=False), strict=True)
    )
    return figure(
        f"Feedback per {period.name}",
        f"Ratings and comments by the {period.name} of their last change, in UTC.{aggregation_note}{part_note}",
        _LEGEND,
        _plot(frame, period, parts, description),
        table((f"{period.name.capitalize()} from (UTC)", "Likes", "Dislikes", "Comments"), cells),
    )


def _without_future(days: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """Return the days without those after `now`, but for feedback from a clock that is ahead."""
    has_feedback = days[list(_COUNTS)].any(axis=1)
    last = max(now.tz_localize(None), days["day"][has_feedback].max()) if has_feedback.any() else now.tz_localize(None)
    return days[days["day"] <= last]


def _aggregate(days: pd.DataFrame) -> tuple[_Period, pd.DataFrame]:
    """Return the shortest period with at most MAX_BARS bars, and the counts per period."""
    frame = days
    for period in _PERIODS:
        starts = days["day"].dt.to_period(period.frequency).dt.start_time
        frame = days.drop(columns="day").groupby(starts).sum().reset_index()
        if len(frame) <= MAX_BARS:
            break
    return period, frame


def _parts(frame: pd.DataFrame, period: _Period, filters: ResolvedFilters, now: pd.Timestamp) -> list[str]:
    """Return for each bar why it counts only a part of its period; "" for a whole one."""
    since, until = (at and pd.Timestamp(at) for at in (filters.since, filters.until))
    parts = []
    for start in frame["day"]:
        first = start.tz_localize("UTC")
        end = start.to_period(period.frequency).end_time.tz_localize("UTC")
        if (since and since > first) or (until and until <= end and until <= now):
            parts.append(_CUT)
        else:
            parts.append(_NOT_OVER if first <= now <= end else "")
    return parts


def _partly(frame: pd.DataFrame, period: _Period, parts: Sequence[str]) -> list[str]:
    """Return the titles of the bars that count only a part of their period."""
    return [
        f"{start.strftime(period.title_format)}, {part}"
        for start, part in zip(frame["day"], parts, strict=True)
        if part
    ]


def _plot(frame: pd.DataFrame, period: _Period, parts: Sequence[str], description: str) -> str:
    highest = max((frame["likes"] + frame["dislikes"]).max(), frame["comments"].max())
    step, top = _axis(int(highest))
    slots = max(len(frame), _SLOTS)
    first_slot = (slots - len(frame)) / 2
    bars = "".join(
        _bar(first_slot + index, counts, top, start.strftime(period.title_format), parts[index])
        for index, (start, *counts) in enumerate(frame.itertuples(index=False))
    )
    lines = "".join(
        f'<div style="bottom:{tick / top:.2%}"><span>{number(tick)}</span></div>' for tick in range(0, top + 1, step)
    )
    return (
        f'<div class="cf-plot" role="img" aria-label="{description}" style="--cf-digits:{len(number(top))}">'
        f'<span class="cf-unit">Number per {period.name}</span>'
        f'<div class="cf-lines">{lines}</div>'
        f'<svg viewBox="0 0 {slots} 100" preserveAspectRatio="none">{bars}</svg>'
        f'<div class="cf-dates">{_dates(list(frame["day"]), period, first_slot, slots)}</div></div>'
    )


def _bar(x: float, counts: Sequence[int], top: int, title: str, part: str) -> str:
    likes, dislikes, comments = counts
    like_top, rated_top, comment_top = (100 * value / top for value in (likes, likes + dislikes, comments))
    y = f"{100 - comment_top:.2f}"
    mark = f'<line class="cf-comment" x1="{x + 0.05:g}" x2="{x + 0.95:g}" y1="{y}" y2="{y}"/>'
    part_class, part_note = (' class="cf-part"', f", {part}") if part else ("", "")
    return (
        f"<g{part_class}><title>{title}{part_note}: {_describe(*counts)}</title>"
        f'<rect class="cf-slot" x="{x:g}" y="0" width="1" height="100"/>'
        f'<rect class="cf-like" x="{x + 0.12:g}" y="{100 - like_top:.2f}" width="0.76" height="{like_top:.2f}"/>'
        f'<rect class="cf-dislike" x="{x + 0.12:g}" y="{100 - rated_top:.2f}" width="0.76" '
        f'height="{rated_top - like_top:.2f}"/>'
        f"{mark if comments else ''}</g>"
    )


def _dates(starts: Sequence[pd.Timestamp], period: _Period, first_slot: float, slots: int) -> str:
    """Return the dates below the bars, at even distances; the year stands where it changes, on any screen."""
    ordinals = [start.to_period(period.frequency).ordinal - period.first_label for start in starts]
    step = next(step for step in period.steps if step * _LABELS >= len(starts))
    indexes = [index for index, ordinal in enumerate(ordinals) if ordinal % step == 0]
    narrow_stride = -(-slots // (_NARROW_LABELS * step))
    labels, year, narrow_year = [], None, None
    for order, index in enumerate(indexes):
        start = starts[index]
        is_wide_only = order % narrow_stride != 0
        year_label = ""
        if start.year != year:
            year_label = f'<b class="cf-year">{start.year}</b>'
        elif start.year != narrow_year and not is_wide_only:
            year_label = f'<b class="cf-year cf-narrow">{start.year}</b>'
        year, narrow_year = start.year, narrow_year if is_wide_only else start.year
        labels.append(
            f'<span{" class=cf-wide" if is_wide_only else ""} style="left:{(first_slot + index + 0.5) / slots:.2%}">'
            f"{start.strftime(period.label_format)}{year_label}</span>"
        )
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

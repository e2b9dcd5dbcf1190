"""Charts as HTML: data in, a string out. No Gradio, no script, no outside request; whatever is shown is escaped.

Boxes and bars are laid out by the browser in per cent, and all writing is HTML: a chart is as wide as its place, and
its writing is never stretched or shrunk with it. Colours are variables of assets/analytics.css, which follow the
theme. Bars start at zero. Each chart has its numbers in words (`aria-label`) and as a table below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from math import ceil, log10
from typing import NamedTuple

import pandas as pd

NOTHING = "–"
MOST_BARS = 92
"""That stay legible on a phone; a longer time is drawn in weeks, months or years."""
MOST_ROWS = 20
"""Of a chart with names; its table has all."""
_SLOTS = 12
"""A chart of few bars leaves room for as many, so that one day is a bar and not a wall."""
_LABELS = 7


class Card(NamedTuple):
    """A headline figure; `detail` says what it is made of."""

    name: str
    value: str
    detail: str


def number(value: int) -> str:
    return f"{value:,}"


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.1%}"


def seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f} s" if value < 10 else f"{value:,.1f} s"


def cards(figures: Iterable[Card]) -> str:
    """A grid of headline figures."""
    shown = "".join(
        f'<div class="cf-card"><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(detail)}</small></dd></div>'
        for name, value, detail in figures
    )
    return f'<dl class="cf-cards">{shown}</dl>'


# Feedback over time


class _Period(NamedTuple):
    name: str
    code: str
    """As pandas calls it."""
    label: str
    spoken: str
    """How one of them is called, for strftime."""


_PERIODS = (
    _Period("day", "D", "%-d %b", "%A, %-d %B %Y"),
    _Period("week", "W-SUN", "%-d %b", "the week from %-d %B %Y"),
    _Period("month", "M", "%b", "%B %Y"),
    _Period("year", "Y", "%Y", "%Y"),
)


def per_day(days: pd.DataFrame) -> str:
    """Likes and dislikes, stacked, and comments over time; `days` as `analytics.feedback.per_day` gives them.

    More than MOST_BARS days are added up to weeks, then months, then years, and the chart says so.
    """
    if not len(days) or not days[["likes", "dislikes", "comments"]].to_numpy().any():
        return _figure("Feedback per day", "", _empty("No feedback in this selection yet."))
    period, frame = _added_up(days)
    likes, dislikes, comments = (frame[name].to_list() for name in ("likes", "dislikes", "comments"))
    starts = list(frame["day"])
    step, top = _scale(max(map(max, zip(map(sum, zip(likes, dislikes, strict=True)), comments, strict=True))))
    slots = max(len(frame), _SLOTS)
    first = (slots - len(frame)) / 2
    bars = "".join(
        _bar(first + place, *counts, top, f"{start.strftime(period.spoken)}: {_spoken(*counts)}")
        for place, (start, *counts) in enumerate(zip(starts, likes, dislikes, comments, strict=True))
    )
    lines = "".join(
        f'<div class="cf-line" style="bottom:{_share(tick, top)}"><span>{number(tick)}</span></div>'
        for tick in range(0, top + 1, step)
    )
    spoken = (
        f"Feedback per {period.name} from {starts[0]:%Y-%m-%d} to {days['day'].iloc[-1]:%Y-%m-%d}: "
        f"{_spoken(sum(likes), sum(dislikes), sum(comments))}."
    )
    plot = (
        f'<div class="cf-plot" role="img" aria-label="{spoken}"><div class="cf-lines">{lines}</div>'
        f'<svg viewBox="0 0 {slots} 100" preserveAspectRatio="none" aria-hidden="true">{bars}</svg>'
        f'<div class="cf-dates">{_dates(starts, period, first, slots)}</div></div>'
    )
    table = _table(
        (period.name.capitalize(), "Likes", "Dislikes", "Comments"),
        ((f"{start:%Y-%m-%d}", *map(number, counts)) for start, *counts in frame.itertuples(index=False)),
    )
    why = "" if period.name == "day" else f" Drawn per {period.name}, because there are {number(len(days))} days."
    return _figure(
        f"Feedback per {period.name}", f"By the {period.name} of its last change, in UTC.{why}", _LEGEND + plot, table
    )


_LEGEND = (
    '<ul class="cf-legend"><li><i class="cf-like"></i>Likes</li><li><i class="cf-dislike"></i>Dislikes</li>'
    '<li><i class="cf-comment"></i>Comments</li></ul>'
)


def _added_up(days: pd.DataFrame) -> tuple[_Period, pd.DataFrame]:
    """The days in the shortest period that has few enough bars."""
    for period in _PERIODS:
        frame = days if period.name == "day" else _grouped(days, period.code)
        if len(frame) <= MOST_BARS:
            break
    return period, frame


def _grouped(days: pd.DataFrame, code: str) -> pd.DataFrame:
    starts = days["day"].dt.to_period(code).dt.start_time
    return days.drop(columns="day").groupby(starts).sum().reset_index()


def _bar(at: float, likes: int, dislikes: int, comments: int, top: int, spoken: str) -> str:
    liked, both, commented = (100 * value / top for value in (likes, likes + dislikes, comments))
    mark = f'<line class="cf-comment" x1="{at + 0.06:g}" x2="{at + 0.94:g}" y1="{100 - commented:g}" y2="{100 - commented:g}"/>'
    return (
        f'<g><title>{spoken}</title><rect class="cf-slot" x="{at:g}" width="1" height="100"/>'
        f'<rect class="cf-like" x="{at + 0.12:g}" y="{100 - liked:g}" width="0.76" height="{liked:g}"/>'
        f'<rect class="cf-dislike" x="{at + 0.12:g}" y="{100 - both:g}" width="0.76" height="{both - liked:g}"/>'
        f"{mark if comments else ''}</g>"
    )


def _dates(starts: Sequence[pd.Timestamp], period: _Period, first: float, slots: int) -> str:
    """At most _LABELS dates below the bars, with the year where it is not that of the date before."""
    wanted = min(_LABELS, len(starts))
    places = sorted({round(place * (len(starts) - 1) / max(1, wanted - 1)) for place in range(wanted)})
    labels, year = [], None
    for order, place in enumerate(places):
        start = starts[place]
        shown = start.strftime(period.label)
        if start.year != year and period.name != "year":
            shown, year = f"{shown} {start.year}", start.year
        minor = ' class="cf-minor"' if order % 2 and len(places) > 3 else ""
        labels.append(f'<span{minor} style="left:{_share(first + place + 0.5, slots)}">{shown}</span>')
    return "".join(labels)


def _scale(most: int) -> tuple[int, int]:
    """The step and the top of an axis of whole numbers from zero: at most five steps of 1, 2 or 5 times ten."""
    decade = 10 ** int(log10(max(most, 1)))
    sizes = (decade // 10, decade // 5, decade // 2, decade, 2 * decade)
    step = next(size for size in sizes if size and most <= 5 * size)
    return step, step * max(1, ceil(most / step))


def _spoken(likes: int, dislikes: int, comments: int) -> str:
    return ", ".join(
        f"{number(count)} {name}{'' if count == 1 else 's'}"
        for count, name in ((likes, "like"), (dislikes, "dislike"), (comments, "comment"))
    )


# Like rate by model


def by_model(models: pd.DataFrame) -> str:
    """The like rate of each model with its 95 % interval; `models` as `analytics.feedback.by_model` gives them."""
    title = "Like rate by model"
    if not len(models):
        return _figure(title, "", _empty("No likes or dislikes in this selection yet."))
    rows, spoken, table = [], [], []
    for model, likes, dislikes, n, rate, low, high in models.itertuples(index=False):
        between = f"{low * 100:.1f}–{high * 100:.1f}%"
        spoken.append(f"{model} {percent(rate)}, interval {between}, n = {number(n)}")
        table.append((model, number(likes), number(dislikes), percent(rate), percent(low), percent(high)))
        rows.append(
            f'<div class="cf-row"><div class="cf-name">{escape(model)}</div><div class="cf-track">'
            f'<span class="cf-whisker" style="left:{low:.2%};width:{high - low:.2%}"></span>'
            f'<span class="cf-dot" style="left:{rate:.2%}"></span></div>'
            f'<div class="cf-value"><b>{percent(rate)}</b> <small>{between}, n&nbsp;=&nbsp;{number(n)}</small></div>'
            "</div>"
        )
    axis = "".join(f'<span style="left:{tick}%">{tick}%</span>' for tick in (0, 25, 50, 75, 100))
    chart = (
        f'<div class="cf-rates" role="img" aria-label="{escape("; ".join(spoken[:MOST_ROWS]))}">'
        f'{"".join(rows[:MOST_ROWS])}<div class="cf-row cf-axis"><div class="cf-track">{axis}</div></div></div>'
    )
    return _figure(
        title,
        "Likes among likes and dislikes, with the 95% Wilson interval." + _left_out(len(rows)),
        chart,
        _table(("Model", "Likes", "Dislikes", "Like rate", "From", "To"), table),
    )


# Reasons


def reasons(given: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """How often each reason was given, by the rating; `given` as `analytics.feedback.reasons`, `labels` by code."""
    if not len(given):
        return _figure("Reasons", "", _empty("No reasons in this selection yet."))
    most = int(given["count"].max())
    groups = []
    for value, name in (("like", "Likes"), ("dislike", "Dislikes"), (None, "Without a thumb")):
        group = given[given["value"].isna() if value is None else given["value"] == value]
        bars = "".join(
            _reason(_label(code, labels), count, most, value) for _, code, count in group.itertuples(index=False)
        )
        if bars:
            groups.append(f'<section class="cf-reasons"><h4>{name}</h4>{bars}</section>')
    table = _table(
        ("Rating", "Reason", "Code", "Count"),
        (
            (value if isinstance(value, str) else "none", _label(code, labels), code, number(count))
            for value, code, count in given.itertuples(index=False)
        ),
    )
    return _figure("Reasons", "How many ratings give each reason; a rating may give several.", "".join(groups), table)

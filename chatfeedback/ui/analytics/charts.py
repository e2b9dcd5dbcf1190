"""Charts as HTML: data in, a string out. No Gradio, no script, no outside request; whatever is shown is escaped.

The browser lays bars out in per cent, and all writing is HTML: a chart is as wide as its place, and its writing is
never stretched or shrunk with it. Colours are variables of assets/analytics.css, which follow the theme. Bars start
at zero. Each chart says its numbers in words (`aria-label`) and shows them as a table below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

import pandas as pd

NOTHING = "–"
MAX_ROWS = 20
"""Of a chart with names; its table has all."""
_RATINGS = {"like": "Likes", "dislike": "Dislikes", None: "Without a thumb"}


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


def reason_label(code: str, labels: Mapping[str, str]) -> str:
    """The reason as people read it; a code without a label is shown as it is, with spaces."""
    return labels.get(code) or code.replace("_", " ").capitalize()


def cards(figures: Iterable[Card]) -> str:
    """A grid of headline figures."""
    shown = "".join(
        f'<div class="cf-card"><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(detail)}</small></dd></div>'
        for name, value, detail in figures
    )
    return f'<dl class="cf-cards">{shown}</dl>'


def by_model(models: pd.DataFrame) -> str:
    """The like rate of each model with its 95 % interval; `models` as `analytics.feedback.by_model` gives them."""
    title = "Like rate by model"
    if not len(models):
        return figure(title, "", nothing("No likes or dislikes in this selection yet."))
    rows, spoken, cells = [], [], []
    for model, likes, dislikes, n, rate, low, high in models.itertuples(index=False):
        interval = f"{low * 100:.1f}–{high * 100:.1f}%"
        spoken.append(f"{model} {percent(rate)}, interval {interval}, n = {number(n)}")
        cells.append((model, number(likes), number(dislikes), percent(rate), percent(low), percent(high)))
        rows.append(
            f'<div class="cf-row"><div class="cf-name">{escape(model)}</div><div class="cf-track">'
            f'<span class="cf-whisker" style="left:{low:.2%};width:{high - low:.2%}"></span>'
            f'<span class="cf-dot" style="left:{rate:.2%}"></span></div>'
            f'<div class="cf-value"><b>{percent(rate)}</b><small>{interval}, n = {number(n)}</small></div></div>'
        )
    ticks = "".join(f'<span style="left:{tick}%">{tick}%</span>' for tick in (0, 25, 50, 75, 100))
    chart = (
        f'<div class="cf-rates" role="img" aria-label="{escape("; ".join(spoken[:MAX_ROWS]))}">'
        f'{"".join(rows[:MAX_ROWS])}<div class="cf-row cf-axis" aria-hidden="true"><div class="cf-track">{ticks}</div>'
        "</div></div>"
    )
    note = f"Likes among likes and dislikes, with the 95% Wilson interval.{_cut(len(rows))}"
    return figure(title, note, chart, table(("Model", "Likes", "Dislikes", "Like rate", "From", "To"), cells))


def reasons(given: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """How often each reason was given, grouped by rating; `given` as `analytics.feedback.reasons` gives it.

    `labels` by code.
    """
    if not len(given):
        return figure("Reasons", "", nothing("No reasons in this selection yet."))
    counts: dict[str | None, list[tuple[str, str, int]]] = {value: [] for value in _RATINGS}
    for value, code, count in given.itertuples(index=False):
        counts[value].append((reason_label(code, labels), code, count))
    most = int(given["count"].max())
    groups, spoken, cells = [], [], []
    for value, found in counts.items():
        if found:
            rows = "".join(_reason(label, count, most, value) for label, _, count in found[:MAX_ROWS])
            groups.append(f'<section class="cf-reasons"><h4>{_RATINGS[value]}</h4>{rows}</section>')
            listed = ", ".join(f"{label} {number(count)}" for label, _, count in found[:MAX_ROWS])
            spoken.append(f"{_RATINGS[value]}: {listed}")
            cells += [(_RATINGS[value], label, code, number(count)) for label, code, count in found]
    chart = f'<div role="img" aria-label="{escape("; ".join(spoken))}">{"".join(groups)}</div>'
    note = f"Number of ratings that give each reason; one may give several.{_cut(max(map(len, counts.values())))}"
    return figure("Reasons", note, chart, table(("Rating", "Reason", "Code", "Number"), cells))


def _reason(label: str, count: int, most: int, value: str | None) -> str:
    return (
        f'<div class="cf-row"><div class="cf-name">{escape(label)}</div><div class="cf-track">'
        f'<span class="cf-bar cf-{value or "neither"}" style="width:{count / most:.2%}"></span></div>'
        f'<div class="cf-value"><b>{number(count)}</b></div></div>'
    )


def _cut(rows: int) -> str:
    return f" The first {MAX_ROWS}; the table has all {number(rows)}." if rows > MAX_ROWS else ""


# What all charts are made of


def figure(title: str, note: str, *content: str) -> str:
    """A chart in its frame, below its title and a sentence on what is drawn; the contents are HTML."""
    caption = f"<h3>{escape(title)}</h3>" + (f"<p>{escape(note)}</p>" if note else "")
    return f'<figure class="cf-chart"><figcaption>{caption}</figcaption>{"".join(content)}</figure>'


def nothing(sentence: str) -> str:
    """What stands in the place of a chart of nothing."""
    return f'<p class="cf-nothing">{escape(sentence)}</p>'


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The numbers of a chart, folded away; the first column names the row."""
    head = "".join(f'<th scope="col">{escape(header)}</th>' for header in headers)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    return (
        "<details><summary>Show as a table</summary><div><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )

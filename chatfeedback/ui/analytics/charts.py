"""Charts as HTML: pure functions from data to an escaped string. No Gradio, no script, no external request.

Bars are laid out in per cent and labels are HTML: a chart fills its column, and its text is never stretched. Colours
are variables of assets/analytics.css, which follow the theme. Bars start at zero. Each chart has its numbers in words
(`aria-label`) and as a table below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

import pandas as pd

from chatfeedback.analytics.formatting import number, percent

MAX_ROWS = 20
"""Rows of a chart by model or reason; its table has all of them."""
_RATINGS = {"like": "Likes", "dislike": "Dislikes", None: "Without a thumb"}


class Card(NamedTuple):
    """Headline figure; `detail` explains its calculation."""

    name: str
    value: str
    detail: str


def reason_label(code: str, labels: Mapping[str, str]) -> str:
    """Return the label of a reason; for a code without a label, the code with spaces."""
    return labels.get(code) or code.replace("_", " ").capitalize()


def cards(figures: Iterable[Card]) -> str:
    """Return a grid of headline figures."""
    items = "".join(
        f'<div class="cf-card"><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(detail)}</small></dd></div>'
        for name, value, detail in figures
    )
    return f'<dl class="cf-cards">{items}</dl>'


def by_model(models: pd.DataFrame) -> str:
    """Return the chart of like rates with 95 % intervals. `models`: from `analytics.figures.feedback.by_model`."""
    title = "Like rate by model"
    if not len(models):
        return figure(title, "", placeholder("No likes or dislikes in this selection yet."))
    rows, descriptions, cells = [], [], []
    for model, likes, dislikes, n, rate, low, high in models.itertuples(index=False):
        interval = f"{low * 100:.1f}–{high * 100:.1f}%"
        descriptions.append(f"{model} {percent(rate)}, interval {interval}, n = {number(n)}")
        cells.append((model, number(likes), number(dislikes), percent(rate), percent(low), percent(high)))
        rows.append(
            f'<div class="cf-row"><div class="cf-name">{escape(model)}</div><div class="cf-track">'
            f'<span class="cf-whisker" style="left:{low:.2%};width:{high - low:.2%}"></span>'
            f'<span class="cf-dot" style="left:{rate:.2%}"></span></div>'
            f'<div class="cf-value"><b>{percent(rate)}</b><small>{interval}, n = {number(n)}</small></div></div>'
        )
    ticks = "".join(f'<span style="left:{tick}%">{tick}%</span>' for tick in (0, 25, 50, 75, 100))
    chart = (
        f'<div class="cf-rates" role="img" aria-label="{escape("; ".join(descriptions[:MAX_ROWS]))}">'
        f'{"".join(rows[:MAX_ROWS])}<div class="cf-row cf-axis" aria-hidden="true"><div class="cf-track">{ticks}</div>'
        "</div></div>"
    )
    note = f"Likes among likes and dislikes, with the 95% Wilson interval.{_truncation_note(len(rows))}"
    return figure(title, note, chart, table(("Model", "Likes", "Dislikes", "Like rate", "From", "To"), cells))


def reasons(counts: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Return the chart of reasons, grouped by rating.

    Args:
        counts: Ratings per value and reason, from `analytics.figures.feedback.reasons`.
        labels: Labels of the reasons, by code.
    """
    if not len(counts):
        return figure("Reasons", "", placeholder("No reasons in this selection yet."))
    by_rating: dict[str | None, list[tuple[str, str, int]]] = {value: [] for value in _RATINGS}
    for value, code, count in counts.itertuples(index=False):
        by_rating[value].append((reason_label(code, labels), code, count))
    highest = int(counts["count"].max())
    groups, descriptions, cells = [], [], []
    for value, entries in by_rating.items():
        if entries:
            rows = "".join(_reason_row(label, count, highest, value) for label, _, count in entries[:MAX_ROWS])
            groups.append(f'<section class="cf-reasons"><h4>{_RATINGS[value]}</h4>{rows}</section>')
            listed = ", ".join(f"{label} {number(count)}" for label, _, count in entries[:MAX_ROWS])
            descriptions.append(f"{_RATINGS[value]}: {listed}")
            cells += [(_RATINGS[value], label, code, number(count)) for label, code, count in entries]
    chart = f'<div role="img" aria-label="{escape("; ".join(descriptions))}">{"".join(groups)}</div>'
    longest = max(map(len, by_rating.values()))
    note = f"Number of ratings that give each reason; one may give several.{_truncation_note(longest)}"
    return figure("Reasons", note, chart, table(("Rating", "Reason", "Code", "Number"), cells))


def _reason_row(label: str, count: int, highest: int, value: str | None) -> str:
    return (
        f'<div class="cf-row"><div class="cf-name">{escape(label)}</div><div class="cf-track">'
        f'<span class="cf-bar cf-{value or "neither"}" style="width:{count / highest:.2%}"></span></div>'
        f'<div class="cf-value"><b>{number(count)}</b></div></div>'
    )


def _truncation_note(rows: int) -> str:
    return f" The first {MAX_ROWS}; the table has all {number(rows)}." if rows > MAX_ROWS else ""


# Parts of all charts


def figure(title: str, note: str, *content: str) -> str:
    """Return a framed chart with its title and a note. `content`: HTML."""
    caption = f"<h3>{escape(title)}</h3>" + (f"<p>{escape(note)}</p>" if note else "")
    return f'<figure class="cf-chart"><figcaption>{caption}</figcaption>{"".join(content)}</figure>'


def placeholder(sentence: str) -> str:
    """Return the sentence in place of an empty chart."""
    return f'<p class="cf-nothing">{escape(sentence)}</p>'


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the numbers of a chart as a collapsed table; the first column is the header of the row."""
    head = "".join(f'<th scope="col">{escape(header)}</th>' for header in headers)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    return (
        "<details><summary>Show as a table</summary><div><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )

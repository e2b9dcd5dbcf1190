"""Feedback table as HTML; on a narrow screen each row becomes a card. Pure functions; all text is escaped.

Each row has a button with its row number in `data-row`; the server knows which feedback the row shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd

from chatfeedback.ui.analytics.charts import placeholder, reason_label
from chatfeedback.ui.chat import markdown

_MAX_TEXT_LENGTH = 320
"""Longest text in the table, in characters; the conversation shows all of it."""
_HEADERS = ("Time", "Annotator", "Prompt", "Reply", "Rating", "Reasons", "Comment", "Conversation")
_BADGES = {"like": "Like", "dislike": "Dislike"}


def feedback_table(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Return the table.

    Args:
        rows: Rows of feedback, from `analytics.figures.feedback.latest`.
        labels: Labels of the reasons, by code.
    """
    if not len(rows):
        return placeholder("No feedback in this selection yet. Rate a reply on the Chat tab, and it is listed here.")
    head = "".join(f'<th scope="col">{header}</th>' for header in _HEADERS)
    body = "".join(_row(number, row, labels) for number, (_, row) in enumerate(rows.iterrows()))
    return f'<table class="cf-feedback"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def badge(value: object) -> str:
    """Return a coloured badge for a like or a dislike; "" for a comment without a thumb."""
    return f'<span class="cf-badge cf-{value}">{_BADGES[value]}</span>' if isinstance(value, str) else ""


def _row(number: int, row: pd.Series[Any], labels: Mapping[str, str]) -> str:
    rated_at = row["rated_at"]
    model = row["model"] if isinstance(row["model"], str) else "written by a person"
    cells = (
        f'<time datetime="{rated_at.isoformat()}">{rated_at:%Y-%m-%d %H:%M} UTC</time>',
        escape(row["annotator"]),
        _text(row["prompt"]),
        f"{_text(_plain_excerpt(row['reply']))}<small>{escape(model)}</small>",
        badge(row["rating"]),
        escape(", ".join(reason_label(code, labels) for code in row["reasons"])),
        _text(row["comment"]),
        f'<button type="button" data-row="{number}">Open</button>',
    )
    columns = "".join(
        f'<td data-label="{header}"{"" if cell else " class=cf-blank"}>{cell}</td>'
        for header, cell in zip(_HEADERS, cells, strict=True)
    )
    return f"<tr>{columns}</tr>"


def _plain_excerpt(reply: object) -> object:
    """Return the beginning of a reply as plain text, without Markdown syntax."""
    return markdown.to_text(reply[: 2 * _MAX_TEXT_LENGTH]) if isinstance(reply, str) else reply


def _text(text: object) -> str:
    if not isinstance(text, str) or not text:
        return ""
    return f'<div class="cf-text">{escape(text[:_MAX_TEXT_LENGTH])}{"…" if len(text) > _MAX_TEXT_LENGTH else ""}</div>'

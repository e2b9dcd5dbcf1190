"""The table of feedback, as HTML; on a narrow screen each row becomes a card. Pure, and all text is escaped.

Each row has a button with the number of the row in `data-row`; what the row is about, the server remembers.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd

from chatfeedback.ui.analytics.charts import nothing, reason_label
from chatfeedback.ui.chat import markdown

_SHOWN_LENGTH = 320
"""Of a text in the table; its conversation has all of it."""
_HEADERS = ("Time", "Annotator", "Prompt", "Reply", "Rating", "Reasons", "Comment", "Conversation")
_BADGES = {"like": "Like", "dislike": "Dislike"}


def feedback_table(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """`rows` as `analytics.feedback.latest` gives them; `labels` of the reasons by code."""
    if not len(rows):
        return nothing("No feedback in this selection yet. Rate a reply on the Chat tab, and it is listed here.")
    head = "".join(f'<th scope="col">{header}</th>' for header in _HEADERS)
    body = "".join(_row(number, row, labels) for number, (_, row) in enumerate(rows.iterrows()))
    return f'<table class="cf-feedback"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def badge(value: object) -> str:
    """A like or a dislike, as a word on its colour; nothing for a comment without a thumb."""
    return f'<span class="cf-badge cf-{value}">{_BADGES[value]}</span>' if isinstance(value, str) else ""


def _row(number: int, row: pd.Series[Any], labels: Mapping[str, str]) -> str:
    at = row["rated_at"]
    model = row["model"] if isinstance(row["model"], str) else "written by a person"
    cells = (
        f'<time datetime="{at.isoformat()}">{at:%Y-%m-%d %H:%M} UTC</time>',
        escape(row["annotator"]),
        _text(row["prompt"]),
        f"{_text(_quoted(row['reply']))}<small>{escape(model)}</small>",
        badge(row["rating"]),
        escape(", ".join(reason_label(code, labels) for code in row["reasons"])),
        _text(row["comment"]),
        f'<button type="button" data-row="{number}">Open</button>',
    )
    shown = "".join(
        f'<td data-label="{header}"{"" if cell else " class=cf-blank"}>{cell}</td>'
        for header, cell in zip(_HEADERS, cells, strict=True)
    )
    return f"<tr>{shown}</tr>"


def _quoted(reply: object) -> object:
    """Return the beginning of what is read of a reply, without the marks of Markdown."""
    return markdown.to_text(reply[: 2 * _SHOWN_LENGTH]) if isinstance(reply, str) else reply


def _text(text: object) -> str:
    if not isinstance(text, str) or not text:
        return ""
    return f'<div class="cf-text">{escape(text[:_SHOWN_LENGTH])}{"…" if len(text) > _SHOWN_LENGTH else ""}</div>'

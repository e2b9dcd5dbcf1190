from __future__ import annotations

from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from analytics.markup import parse
from analytics.test_charts import NASTY
from chatfeedback.ui.analytics.feedback_table import feedback_table


def row(**changes: Any) -> dict[str, Any]:
    return {
        "rated_at": pd.Timestamp("2026-06-30 23:59:59.999999", tz="UTC"),
        "annotator": "ada",
        "model": "org/model",
        "prompt": "Why?",
        "reply": "Because.",
        "rating": "like",
        "reasons": ("too_long", "other"),
        "comment": None,
    } | changes


def test_feedback_table_row_has_annotator_reply_and_feedback() -> None:
    page = parse(feedback_table(pd.DataFrame([row()]), {"too_long": "Too long"}))
    assert page.rows() == [
        ["Time", "Annotator", "Prompt", "Reply", "Rating", "Reasons", "Comment", "Conversation"],
        ["2026-06-30 23:59 UTC", "ada", "Why?", "Because.org/model", "Like", "Too long, Other", "", "Open"],
    ]
    assert page.all("time")[0].attributes["datetime"] == "2026-06-30T23:59:59.999999+00:00"


def test_feedback_table_marks_human_reply_and_leaves_missing_thumb_empty() -> None:
    page = parse(
        feedback_table(pd.DataFrame([row(model=None, rating=None, reasons=(), comment="hm")], dtype=object), {})
    )
    assert page.rows()[1][3:7] == ["Because.written by a person", "", "", "hm"]
    assert not page.all(cls="cf-badge")


def test_feedback_table_quotes_visible_text_of_reply() -> None:
    reply = "```cpp\n#include <a>\n```\n\n**Bold** and a<b"
    page = parse(feedback_table(pd.DataFrame([row(reply=reply)]), {}))
    assert page.rows()[1][3] == "#include <a>\n\nBold and a<borg/model"


def test_feedback_table_buttons_name_their_rows() -> None:
    page = parse(feedback_table(pd.DataFrame([row()] * 3), {}))
    assert [button.attributes["data-row"] for button in page.all("button")] == ["0", "1", "2"]


@given(text=NASTY, annotator=NASTY)
def test_feedback_table_escapes_texts(text: str, annotator: str) -> None:
    page = parse(feedback_table(pd.DataFrame([row(prompt=text, reply=text, comment=text, annotator=annotator)]), {}))
    cells = page.all("tr")[1].children
    assert [cells[place].text for place in (1, 2, 6)] == [annotator, text, text]
    assert page.all("script") == []


@given(length=st.integers(0, 2000))
def test_feedback_table_cuts_long_texts_with_ellipsis(length: int) -> None:
    page = parse(feedback_table(pd.DataFrame([row(prompt="x" * length)]), {}))
    shown = page.rows()[1][2]
    assert shown == "x" * length if length <= 320 else shown == "x" * 320 + "…"

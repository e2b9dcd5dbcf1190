"""What is where on the Analytics tab. Built inside the tab's context; nothing is wired here."""

from __future__ import annotations

from dataclasses import dataclass, field

import gradio as gr

from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.ui.assets import ASSETS
from chatfeedback.ui.chat.messages import lay_out_messages

LIVE_SECONDS = 5.0
ALL_MODELS = ("All models", "")
EVERYBODY = ("Everybody", "")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page shows; the number of a row that it sends means something only together with this."""

    filters: ResolvedFilters = field(default_factory=ResolvedFilters)
    position: int = -1
    """Of the newest event in the figures; -1 before the first drawing."""
    offset: int = 0
    """Of the first row of the table."""
    rows: tuple[tuple[str, str, str], ...] = ()
    """Conversation, message and annotator id of each row of the table."""


@dataclass(frozen=True, slots=True)
class Components:
    """Everything on the Analytics tab that is used or drawn."""

    shown: gr.State
    """A `Shown`."""
    since: gr.HTML
    """Its value is a day as in 2026-11-20, or empty."""
    until: gr.HTML
    """The last day that belongs to the time."""
    model: gr.Dropdown
    annotator: gr.Dropdown
    refresh: gr.Button
    live: gr.Checkbox
    timer: gr.Timer
    drawn_at: gr.HTML
    download: gr.HTML
    cards: gr.HTML
    per_day: gr.HTML
    by_model: gr.HTML
    reasons: gr.HTML
    table: gr.HTML
    pages: gr.Row
    newer: gr.Button
    range: gr.HTML
    older: gr.Button
    side: gr.Column
    about: gr.HTML
    chatbot: gr.Chatbot
    messages: gr.HTML
    """The HTML of the chatbot's messages (chatfeedback.ui.chat.messages)."""
    close: gr.Button


def lay_out_analytics() -> Components:
    """The whole tab, from the top down."""
    with gr.Row(elem_id="analytics-filters"):
        since, until = _day("From", "analytics-since"), _day("To", "analytics-until")
        model = gr.Dropdown([ALL_MODELS], value="", label="Model", interactive=True, elem_id="analytics-model")
        annotator = gr.Dropdown(
            [EVERYBODY], value="", label="Annotator", interactive=True, elem_id="analytics-annotator"
        )
    with gr.Row(elem_id="analytics-actions"):
        refresh = gr.Button("Refresh", size="sm", scale=0, min_width=96, elem_id="analytics-refresh")
        live = gr.Checkbox(label="Live", container=False, elem_id="analytics-live")
        drawn_at = gr.HTML(elem_id="analytics-drawn-at")
    download = gr.HTML(elem_id="analytics-download")
    cards = gr.HTML(elem_id="analytics-cards")
    per_day = gr.HTML(elem_id="analytics-per-day")
    with gr.Row(elem_id="analytics-charts"):
        by_model = gr.HTML(elem_id="analytics-by-model", min_width=320)
        reasons = gr.HTML(elem_id="analytics-reasons", min_width=320)
    gr.HTML('<h3 class="cf-heading">Latest feedback</h3>')
    table = gr.HTML(elem_id="analytics-feedback", js_on_load=(ASSETS / "feedback.js").read_text())
    with gr.Row(visible=False, elem_id="analytics-pages") as pages:
        newer = gr.Button("‹ Newer", size="sm", scale=0, min_width=110, elem_id="analytics-newer")
        range_ = gr.HTML(elem_id="analytics-range")
        older = gr.Button("Older ›", size="sm", scale=0, min_width=110, elem_id="analytics-older")
    side, about, (chatbot, messages), close = _side()
    return Components(
        shown=gr.State(Shown()),
        since=since,
        until=until,
        model=model,
        annotator=annotator,
        refresh=refresh,
        live=live,
        timer=gr.Timer(LIVE_SECONDS, active=False),
        drawn_at=drawn_at,
        download=download,
        cards=cards,
        per_day=per_day,
        by_model=by_model,
        reasons=reasons,
        table=table,
        pages=pages,
        newer=newer,
        range=range_,
        older=older,
        side=side,
        about=about,
        chatbot=chatbot,
        messages=messages,
        close=close,
    )


def _day(label: str, elem_id: str) -> gr.HTML:
    """The browser's own field for a day: it speaks the reader's language, and works by keyboard and by touch."""
    return gr.HTML(
        "",
        html_template=f'<label class="cf-day"><span>{label}</span><input type="date" value="${{value}}"></label>',
        js_on_load=(ASSETS / "day.js").read_text(),
        elem_id=elem_id,
        min_width=160,
    )


def _side() -> tuple[gr.Column, gr.HTML, tuple[gr.Chatbot, gr.HTML], gr.Button]:
    """The panel beside the page in which a conversation is read."""
    with gr.Column(visible=False, elem_id="analytics-side") as side:
        with gr.Row(elem_classes="cf-panel-head", equal_height=True):
            about = gr.HTML(elem_id="analytics-about")
            close = gr.Button("Close", size="sm", scale=0, min_width=72, elem_id="analytics-close")
        chatbot = lay_out_messages("analytics-conversation", label="Conversation", buttons=[], feedback_options=None)
    return side, about, chatbot, close

"""Layout of the Analytics tab, built inside the tab's context; `build_analytics` wires the events."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.ui.assets import ASSETS
from chatfeedback.ui.chat.messages import lay_out_messages

LIVE_SECONDS = 5.0
"""Refresh interval while Live is checked."""
ALL_MODELS = ("All models", "")
ALL_ANNOTATORS = ("Everybody", "")


@dataclass(frozen=True, slots=True)
class DashboardView:
    """Rendered state of the tab; a row number from the page has a meaning only together with it."""

    filters: ResolvedFilters | None = None
    """Filters of the figures; None while there are no figures."""
    position: int = -1
    """Position of the newest event in the figures; -1 before the first render."""
    offset: int = 0
    """Offset of the first row of the table."""
    rows: tuple[tuple[str, str, str], ...] = ()
    """Conversation id, message id and annotator id of each row of the table."""


@dataclass(frozen=True, slots=True)
class Components:
    """Components of the Analytics tab."""

    view: gr.State
    """A `DashboardView`."""
    since: gr.HTML
    """First day, in the format 2026-11-20, or empty."""
    until: gr.HTML
    """Last day, inclusive."""
    model: gr.Dropdown
    annotator: gr.Dropdown
    refresh: gr.Button
    live: gr.Checkbox
    timer: gr.Timer
    as_of: gr.HTML
    download: gr.HTML
    cards: gr.HTML
    per_day: gr.HTML
    by_model: gr.HTML
    reasons: gr.HTML
    table: gr.HTML
    pagination: gr.Row
    newer: gr.Button
    row_range: gr.HTML
    older: gr.Button
    side_panel: gr.Column
    summary: gr.HTML
    chatbot: gr.Chatbot
    messages: gr.HTML
    """HTML of the chatbot's messages (`ui/chat/messages.py`)."""
    close: gr.Button


def lay_out_analytics() -> Components:
    """Lay out the whole tab, from top to bottom."""
    with gr.Row(elem_id="analytics-filters"):
        since, until = (
            _date_input(f"{label} (UTC)", f"analytics-{name}") for label, name in (("From", "since"), ("To", "until"))
        )
        model = gr.Dropdown([ALL_MODELS], value="", label="Model", interactive=True, elem_id="analytics-model")
        annotator = gr.Dropdown(
            [ALL_ANNOTATORS], value="", label="Annotator", interactive=True, elem_id="analytics-annotator"
        )
    with gr.Row(elem_id="analytics-actions"):
        refresh = gr.Button("Refresh", size="sm", scale=0, min_width=96, elem_id="analytics-refresh")
        live = gr.Checkbox(label="Live", container=False, elem_id="analytics-live")
        as_of = gr.HTML(elem_id="analytics-drawn-at")
    download = gr.HTML(elem_id="analytics-download")
    cards = gr.HTML(elem_id="analytics-cards")
    per_day = gr.HTML(elem_id="analytics-per-day")
    with gr.Row(elem_id="analytics-charts"):
        by_model = gr.HTML(elem_id="analytics-by-model", min_width=320)
        reasons = gr.HTML(elem_id="analytics-reasons", min_width=320)
    gr.HTML('<h3 class="cf-heading">Latest feedback</h3>')
    table = gr.HTML(elem_id="analytics-feedback", js_on_load=(ASSETS / "feedback.js").read_text())
    with gr.Row(visible=False, elem_id="analytics-pages") as pagination:
        newer = gr.Button("‹ Newer", size="sm", scale=0, min_width=110, elem_id="analytics-newer")
        row_range = gr.HTML(elem_id="analytics-range")
        older = gr.Button("Older ›", size="sm", scale=0, min_width=110, elem_id="analytics-older")
    side_panel, summary, (chatbot, messages), close = _side_panel()
    return Components(
        view=gr.State(DashboardView()),
        since=since,
        until=until,
        model=model,
        annotator=annotator,
        refresh=refresh,
        live=live,
        timer=gr.Timer(LIVE_SECONDS, active=False),
        as_of=as_of,
        download=download,
        cards=cards,
        per_day=per_day,
        by_model=by_model,
        reasons=reasons,
        table=table,
        pagination=pagination,
        newer=newer,
        row_range=row_range,
        older=older,
        side_panel=side_panel,
        summary=summary,
        chatbot=chatbot,
        messages=messages,
        close=close,
    )


def _date_input(label: str, elem_id: str) -> gr.HTML:
    """Return the native date input, which is localised and works by keyboard and touch."""
    return gr.HTML(
        "",
        html_template=f'<label class="cf-day"><span>{label}</span><input type="date" value="${{value}}"></label>',
        js_on_load=(ASSETS / "day.js").read_text(),
        elem_id=elem_id,
        min_width=160,
    )


def _side_panel() -> tuple[gr.Column, gr.HTML, tuple[gr.Chatbot, gr.HTML], gr.Button]:
    """Lay out the side panel that shows one conversation."""
    with gr.Column(visible=False, elem_id="analytics-side") as side_panel:
        with gr.Row(elem_classes="cf-panel-head", equal_height=True):
            summary = gr.HTML(elem_id="analytics-about")
            close = gr.Button("Close", size="sm", scale=0, min_width=72, elem_id="analytics-close")
        chatbot_and_messages = lay_out_messages(
            "analytics-conversation", label="Conversation", buttons=[], feedback_options=None
        )
    return side_panel, summary, chatbot_and_messages, close

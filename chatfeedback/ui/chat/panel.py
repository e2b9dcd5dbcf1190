"""Feedback panel for reasons and a comment on one reply: its components and their content."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from chatfeedback.domain.conversation.state import Rating
from chatfeedback.errors import ChatFeedbackError
from chatfeedback.ui.chat import rendering
from chatfeedback.ui.chat.view import unique_attribute


@dataclass(frozen=True, slots=True)
class Reason:
    """Reason that annotators can select. `polarity`: like, dislike or any."""

    code: str
    label: str
    polarity: str


@dataclass(frozen=True, slots=True)
class Panel:
    """Components of the panel."""

    column: gr.Column
    target: gr.Textbox
    """Target of the panel, as the page has it: the ids of the conversation and of the reply, separated by a blank."""
    quote: gr.HTML
    reasons: gr.CheckboxGroup
    comment: gr.Textbox
    saved: gr.HTML
    close: gr.Button
    open_last: gr.Button


def build_panel() -> Panel:
    """Lay out the closed panel."""
    with gr.Column(visible=False, elem_id="feedback-panel") as column:
        with gr.Row(elem_classes="cf-panel-head", equal_height=True):
            quote = gr.HTML(elem_id="feedback-quote")
            close = gr.Button("Close", size="sm", scale=0, min_width=72, elem_id="feedback-close")
        target = gr.Textbox("", visible="hidden", container=False, elem_id="feedback-about")
        reasons = gr.CheckboxGroup(label="Reasons", choices=[], interactive=True, elem_id="feedback-reasons")
        comment = gr.Textbox(
            label="Comment",
            placeholder="What is good or bad about this reply? Saved as you type.",
            lines=2,
            max_lines=6,
            elem_id="feedback-comment",
        )
        saved = gr.HTML(elem_id="feedback-saved")
    open_last = gr.Button("Comment on the last reply", size="sm", visible=False, elem_id="feedback-open")
    return Panel(column, target, quote, reasons, comment, saved, close, open_last)


def reason_choices(reasons: Sequence[Reason], rating: Rating | None) -> gr.CheckboxGroup:
    """Return the reasons for the value of a rating, with the reasons of the rating selected."""
    value = rating.value if rating else None
    choices = [(reason.label, reason.code) for reason in reasons if value is None or reason.polarity in ("any", value)]
    # Codes that are no longer in the settings stay until the annotator removes them.
    known = {reason.code for reason in reasons}
    choices += [(code, code) for code in (rating.reasons if rating else ()) if code not in known]
    selected = [code for _label, code in choices if rating and code in rating.reasons]
    return gr.CheckboxGroup(choices=choices, value=selected, visible=bool(choices))


def quote_line(text: str, value: str | None) -> str:
    """Return the line that quotes the reply of the panel, as HTML."""
    lead = {"like": "You like", "dislike": "You dislike", None: "Feedback on"}[value]
    quote = f"<q>{html.escape(rendering.excerpt(text))}</q>" if text.strip() else "the reply that is being written"
    return f"<strong>{lead}</strong> {quote}"


def saved_line(target: str, rating: Rating | None, *, with_comment: bool = False) -> str:
    """Return the line "Saved" of a stored rating; the page shows "Saving…" in the same place (assets/unsaved.js).

    `with_comment`: the page puts the comment into its box, unless the annotator is typing there.
    """
    comment = (rating.comment if rating else None) or ""
    attribute = f'data-comment="{html.escape(comment)}"' if with_comment else ""
    return _line("status", target, "✓ Saved" if rating else "", attribute)


def unsaved_line(target: str, error: ChatFeedbackError, *, is_comment: bool) -> str:
    """Return the line "Not saved" of a refused part of a rating. `is_comment`: the part is the comment in the box."""
    return _line("alert", target, f"Not saved. {error}", "data-refused" if is_comment else "")


def _line(role: str, target: str, text: str, attribute: str = "") -> str:
    attributes = f'role="{role}" data-about="{html.escape(target)}" {attribute} {unique_attribute()}'
    return f"<span {attributes}>{html.escape(text)}</span>"

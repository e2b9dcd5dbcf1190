"""The panel for reasons and a comment on one reply: its components, and what they say of a rating."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from chatfeedback.domain.conversation.state import Rating
from chatfeedback.errors import ChatFeedbackError
from chatfeedback.ui.chat import rendering
from chatfeedback.ui.chat.view import once


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason as it is offered: for a like, a dislike, or any rating."""

    code: str
    label: str
    polarity: str


@dataclass(frozen=True, slots=True)
class Panel:
    """The panel's components."""

    box: gr.Column
    about: gr.Textbox
    """The reply that the panel is about, as the page has it: the ids of its conversation and of the message."""
    clicked: gr.Textbox
    """The id of the message that was clicked, as the page shows it. The page fills it in."""
    quote: gr.HTML
    reasons: gr.CheckboxGroup
    comment: gr.Textbox
    stamp: gr.Number
    """Goes with what is typed: a higher one is newer. The page fills it in."""
    saved: gr.HTML
    refused: gr.Textbox
    """Changes when a click on a reply was refused."""
    unsaved: gr.HTML
    """Tells of feedback that an earlier page of this tab sent in vain (assets/unsaved.js)."""
    typed: gr.Button
    """Pressed by the page whenever the comment was changed by hand: Gradio tells of keys only, not of a paste."""
    close: gr.Button
    open_last: gr.Button


def build_panel() -> Panel:
    """Lay the panel out, closed."""
    with gr.Column(visible=False, elem_id="feedback-panel") as box:
        with gr.Row(elem_classes="cf-panel-head", equal_height=True):
            quote = gr.HTML(elem_id="feedback-quote")
            close = gr.Button("Close", size="sm", scale=0, min_width=72, elem_id="feedback-close")
        about = gr.Textbox("", visible="hidden", container=False, elem_id="feedback-about")
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
    clicked = gr.Textbox("", visible="hidden", container=False)
    stamp, typed = gr.Number(visible=False), gr.Button(visible="hidden", elem_id="feedback-typed")
    refused = gr.Textbox("", visible="hidden", container=False)
    tell = 'chatfeedback.unsaved.ready((said) => trigger("select", said));'
    unsaved = gr.HTML(visible="hidden", elem_id="feedback-unsaved", js_on_load=tell)
    return Panel(box, about, clicked, quote, reasons, comment, stamp, saved, refused, unsaved, typed, close, open_last)


def offered(reasons: Sequence[Reason], rating: Rating | None) -> gr.CheckboxGroup:
    """Return the reasons that go with the value, those of the rating chosen."""
    value = rating.value if rating else None
    choices = [(one.label, one.code) for one in reasons if value is None or one.polarity in ("any", value)]
    # Codes that the settings do not know any more stay until they are taken away by hand.
    known = {reason.code for reason in reasons}
    choices += [(code, code) for code in (rating.reasons if rating else ()) if code not in known]
    chosen = [code for _label, code in choices if rating and code in rating.reasons]
    return gr.CheckboxGroup(choices=choices, value=chosen, visible=bool(choices))


def quote(text: str, value: str | None) -> str:
    """Return the line that says which reply the panel is about, as HTML."""
    said = {"like": "You like", "dislike": "You dislike", None: "Feedback on"}[value]
    quoted = f"<q>{html.escape(rendering.quoted(text))}</q>" if text.strip() else "the reply that is being written"
    return f"<strong>{said}</strong> {quoted}"


def saved(about: str, rating: Rating | None, *, with_comment: bool = False) -> str:
    """Return what the panel says of a rating; the page says "Saving…" in the same place (assets/unsaved.js).

    `with_comment`: the page puts the comment into the box, unless something is being typed there.
    """
    comment = (rating.comment if rating else None) or ""
    told = f'data-comment="{html.escape(comment)}"' if with_comment else ""
    return _line("status", about, "✓ Saved" if rating else "", told)


def unsaved(about: str, error: ChatFeedbackError, *, comment: bool) -> str:
    """Return what the panel says of a part of a rating that was refused; `comment`: it is the one in the box."""
    return _line("alert", about, f"Not saved. {error}", "data-refused" if comment else "")


def _line(role: str, about: str, text: str, told: str = "") -> str:
    return f'<span role="{role}" data-about="{html.escape(about)}" {told} {once()}>{html.escape(text)}</span>'

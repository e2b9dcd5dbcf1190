"""Layout of the Chat tab, built inside the tab's context; events are wired in `ui/app.py`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from chatfeedback.ui.assets import ASSETS
from chatfeedback.ui.chat.bridge import build_bridge
from chatfeedback.ui.chat.messages import lay_out_messages
from chatfeedback.ui.chat.panel import Panel, build_panel
from chatfeedback.ui.chat.rendering import ViewState
from chatfeedback.ui.chat.view import Components


@dataclass(frozen=True, slots=True)
class Controls:
    """Components of the Chat tab that a conversation does not change."""

    sidebar: gr.Sidebar
    new: gr.Button


def lay_out_chat(title: str, models: Sequence[str], shown_messages: int) -> tuple[Components, Panel, Controls]:
    """Lay out the whole tab, from top to bottom."""
    with gr.Sidebar(open=False, elem_id="sidebar", width=300) as sidebar:
        new = gr.Button("New conversation", variant="primary", elem_id="new-conversation")
        gr.HTML('<h2 class="cf-heading">Your conversations</h2>')
        conversation_list = gr.HTML(elem_id="conversations", js_on_load=(ASSETS / "conversations.js").read_text())
    model = _head(title, models)
    earlier = gr.Button("Show earlier messages", size="sm", visible=False, elem_id="earlier")
    chatbot, messages = _messages(title)
    with gr.Row(visible=False, elem_id="alternatives") as alternatives:
        previous = gr.Button("‹ Previous", size="sm", scale=0, min_width=110, elem_id="previous")
        position = gr.HTML(elem_id="position")
        following = gr.Button("Next ›", size="sm", scale=0, min_width=110, elem_id="next")
        keep = gr.Button(
            "Keep this one", size="sm", scale=0, min_width=110, variant="primary", visible=False, elem_id="keep"
        )
    status = gr.HTML(elem_id="status")
    panel = build_panel()
    notice = gr.HTML(elem_id="notice")
    put_back = gr.Button("Put back", size="sm", visible=False, elem_id="put-back")
    prompt = _prompt()
    components = Components(
        view=gr.State(ViewState(limit=shown_messages)),
        chatbot=chatbot,
        messages=messages,
        prompt=prompt,
        model=model,
        bridge=build_bridge(),
        notice=notice,
        status=status,
        earlier=earlier,
        alternatives=alternatives,
        previous=previous,
        position=position,
        following=following,
        keep=keep,
        put_back=put_back,
        undone=gr.State(""),
        conversation_list=conversation_list,
    )
    return components, panel, Controls(sidebar, new)


def _head(title: str, models: Sequence[str]) -> gr.Dropdown:
    with gr.Row(elem_id="chat-head", equal_height=True):
        gr.HTML(f'<h1 id="chat-title">{html.escape(title)}</h1>')
        return gr.Dropdown(
            list(models),
            value=models[0],
            label="Model",
            show_label=False,
            container=False,
            visible=len(models) > 1,
            interactive=True,
            elem_id="model",
        )


def _messages(title: str) -> tuple[gr.Chatbot, gr.HTML]:
    return lay_out_messages(
        "chatbot",
        label=title,
        editable="all",
        buttons=["copy", "copy_all"],
        avatar_images=(ASSETS / "person.svg", ASSETS / "model.svg"),
        placeholder=(ASSETS / "welcome.md").read_text(),
        feedback_options=("Like", "Dislike"),
    )


def _prompt() -> gr.Textbox:
    return gr.Textbox(
        label="Your message",
        show_label=False,
        placeholder="Type a message; Enter sends, Shift+Enter starts a new line",
        lines=1,
        max_lines=8,
        autofocus=True,
        submit_btn=True,
        elem_id="prompt",
        html_attributes=gr.InputHTMLAttributes(spellcheck=True),
    )

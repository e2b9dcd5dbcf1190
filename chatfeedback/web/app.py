"""The Blocks: two tabs, and which handler answers to what."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from chatfeedback.analytics.desk import AnalyticsDesk
from chatfeedback.service import ChatService
from chatfeedback.web.analytics import build_analytics
from chatfeedback.web.chat import ChatHandlers, Who
from chatfeedback.web.feedback import FeedbackHandlers, Panel, Reason, build_panel
from chatfeedback.web.pages import Pages
from chatfeedback.web.present import Rendered
from chatfeedback.web.screen import Components, Screen

ASSETS = Path(__file__).parent / "assets"
LATEX: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
    {"left": "$", "right": "$", "display": False},
]
MOST_EVENTS_AT_ONCE = 300
"""Gradio runs at most 40 unless it is told otherwise before the queue is made."""


def theme() -> gr.themes.Base:
    """The look: system fonts, so that nothing is fetched from elsewhere."""
    return gr.themes.Soft(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        font=("ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )


def build_blocks(
    service: ChatService,
    analytics: AnalyticsDesk,
    who: Who,
    *,
    title: str,
    models: Sequence[str],
    reasons: Sequence[Reason],
    shown_messages: int,
) -> gr.Blocks:
    """The whole page. `models`: names for the picker, the first is the default."""
    with gr.Blocks(title=title, fill_height=True, analytics_enabled=False) as blocks, gr.Tabs(elem_id="tabs"):
        with gr.Tab("Chat", id="chat", elem_id="chat-tab"):
            _chat_tab(blocks, service, who, title, models, reasons, shown_messages)
        with gr.Tab("Analytics", id="analytics", elem_id="analytics-tab") as tab:
            build_analytics(tab, analytics, who)
    blocks.max_threads = MOST_EVENTS_AT_ONCE
    blocks.queue(default_concurrency_limit=None)
    return blocks


def _chat_tab(
    blocks: gr.Blocks,
    service: ChatService,
    who: Who,
    title: str,
    models: Sequence[str],
    reasons: Sequence[Reason],
    shown_messages: int,
) -> None:
    with gr.Sidebar(open=False, elem_id="sidebar", width=300) as sidebar:
        new = gr.Button("New conversation", variant="primary", elem_id="new-conversation")
        gr.HTML('<h2 class="cf-heading">Your conversations</h2>')
        listed = gr.HTML(elem_id="conversations", js_on_load=(ASSETS / "conversations.js").read_text())
    with gr.Row(elem_id="chat-head", equal_height=True):
        gr.HTML(f'<h1 id="chat-title">{html.escape(title)}</h1>')
        model = gr.Dropdown(
            list(models),
            value=models[0],
            label="Model",
            show_label=False,
            container=False,
            visible=len(models) > 1,
            interactive=True,
            elem_id="model",
        )
    earlier = gr.Button("Show earlier messages", size="sm", visible=False, elem_id="earlier")
    chatbot = gr.Chatbot(
        label=title,
        show_label=False,
        height="100%",
        editable="all",
        buttons=["copy", "copy_all"],
        layout="bubble",
        group_consecutive_messages=False,
        latex_delimiters=LATEX,
        avatar_images=(ASSETS / "person.svg", ASSETS / "model.svg"),
        placeholder=(ASSETS / "welcome.md").read_text(),
        feedback_options=("Like", "Dislike"),
        elem_id="chatbot",
    )
    with gr.Row(visible=False, elem_id="alternatives") as alternatives:
        previous = gr.Button("‹ Previous", size="sm", scale=0, min_width=110, elem_id="previous")
        position = gr.HTML(elem_id="position")
        following = gr.Button("Next ›", size="sm", scale=0, min_width=110, elem_id="next")
    status = gr.HTML(elem_id="status")
    panel = build_panel()
    notice = gr.HTML(elem_id="notice")
    put_back = gr.Button("Put back", size="sm", visible=False, elem_id="put-back")
    prompt = gr.Textbox(
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
    address = gr.HTML(visible="hidden", elem_id="address", js_on_load=(ASSETS / "address.js").read_text())
    on = Components(
        drawn=gr.State(Rendered(most=shown_messages)),
        chatbot=chatbot,
        prompt=prompt,
        notice=notice,
        status=status,
        earlier=earlier,
        alternatives=alternatives,
        previous=previous,
        position=position,
        following=following,
        put_back=put_back,
        undone=gr.State(""),
        address=address,
        listed=listed,
    )
    screen = Screen(service, on)
    chat = ChatHandlers(service, screen, on, who, Pages(), shown_messages)
    feedback = FeedbackHandlers(service, screen, chat, on, panel, reasons)
    _wire_chat(blocks, chat, on, model, new, sidebar)
    _wire_feedback(feedback, on, panel)


def _wire_chat(
    blocks: gr.Blocks,
    chat: ChatHandlers,
    on: Components,
    model: gr.Dropdown,
    new: gr.Button,
    sidebar: gr.Sidebar,
) -> None:
    screen = [getattr(on, name) for name in Components.__slots__]

    def listen(event: Callable[..., Any], handler: Callable[..., Any], inputs: list[Any], **how: Any) -> None:
        event(handler, inputs, screen, show_progress="hidden", api_visibility="private", **how)

    draft = "() => [sessionStorage.getItem('chatfeedback:draft') || '']"
    listen(blocks.load, chat.load, [on.prompt], js=draft)
    wide = gr.Checkbox(visible=False)
    blocks.load(
        lambda is_wide: gr.Sidebar(open=is_wide),
        [wide],
        [sidebar],
        js="() => [window.innerWidth >= 1024]",
        show_progress="hidden",
        api_visibility="private",
    )
    blocks.unload(chat.unload)
    listen(on.prompt.submit, chat.send, [on.prompt, on.drawn, model])
    on.prompt.change(
        None, [on.prompt], None, js="(text) => { sessionStorage.setItem('chatfeedback:draft', text ?? '') }"
    )
    listen(on.prompt.stop, chat.stop, [on.drawn])
    listen(on.chatbot.retry, chat.retry, [on.drawn, model])
    listen(on.chatbot.undo, chat.undo, [on.prompt, on.drawn])
    listen(on.chatbot.edit, chat.edit, [on.drawn, model], trigger_mode="multiple")
    listen(on.chatbot.clear, chat.new, [on.drawn])
    listen(new.click, chat.new, [on.drawn])
    listen(on.listed.select, chat.open, [on.drawn], trigger_mode="multiple")
    listen(on.earlier.click, chat.earlier, [on.drawn])
    listen(on.previous.click, chat.choose_previous, [on.drawn])
    listen(on.following.click, chat.choose_following, [on.drawn])
    listen(on.put_back.click, chat.put_back, [on.undone])


def _wire_feedback(feedback: FeedbackHandlers, on: Components, panel: Panel) -> None:
    painted = [on.chatbot, on.notice, *(getattr(panel, name) for name in Panel.__slots__)]

    def listen(event: Callable[..., Any], handler: Callable[..., Any], inputs: list[Any], **how: Any) -> None:
        # Gradio drops an event while its listener still runs, and shows the click all the same; "multiple" does not.
        event(
            handler,
            inputs,
            painted,
            show_progress="hidden",
            api_visibility="private",
            trigger_mode="multiple",
            **how,
        )

    listen(on.chatbot.like, feedback.like, [on.drawn, panel.about])
    listen(on.chatbot.select, feedback.select, [on.drawn, panel.about])
    listen(panel.open_last.click, feedback.open_last, [on.drawn])
    listen(panel.reasons.input, feedback.choose_reasons, [on.drawn, panel.about, panel.reasons])
    listen(panel.comment.input, feedback.type_comment, [on.drawn, panel.about, panel.comment])
    listen(panel.comment.blur, feedback.leave_comment, [on.drawn, panel.about, panel.comment])
    listen(panel.close.click, feedback.close, [on.drawn, panel.about, panel.comment])
    listen(on.drawn.change, feedback.keep, [on.drawn, panel.about])

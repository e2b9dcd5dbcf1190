"""The page: two tabs, which handler answers to which event, and how a FastAPI application mounts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.requests import Request

from chatfeedback.analytics.dashboard import DashboardQueries
from chatfeedback.domain.roles import Open
from chatfeedback.services.assignments import Assignments
from chatfeedback.services.chat import ChatService
from chatfeedback.ui.account import AccountComponents, AccountHandlers, SignIn
from chatfeedback.ui.actions import Action, action
from chatfeedback.ui.analytics.handlers import build_analytics
from chatfeedback.ui.assets import ASSETS
from chatfeedback.ui.chat.feedback_panel import FeedbackHandlers
from chatfeedback.ui.chat.handlers import ChatHandlers
from chatfeedback.ui.chat.layout import Controls, lay_out_chat
from chatfeedback.ui.chat.panel import Panel, Reason
from chatfeedback.ui.chat.tab_state import TabStates
from chatfeedback.ui.chat.view import ChatView, Components
from chatfeedback.ui.event_defaults import CALLED
from chatfeedback.ui.gradio_internals import ActionBlocks, actions_in, files_in, katex_element
from chatfeedback.ui.shapes import FLAG

SCRIPTS = (
    "transport.js",
    "outage.js",
    "session.js",
    "unsaved.js",
    "messages.js",
    "page.js",
    "scroll.js",
    "following.js",
)
STYLES = ("chat.css", "messages.css", "analytics.css")
MAX_CONCURRENT_EVENTS = 300
"""Gradio runs at most 40 unless it is told otherwise before the queue is made."""
KEEP_DRAFT = "(text) => { chatfeedback.draft.keep(text) }"
TYPED = "(about, comment) => [about, comment ?? '', chatfeedback.stamp()]"
CLICKED = "(drawn, about) => [drawn, about, chatfeedback.messages.clicked()]"
LEFT = "(about, comment) => [about, chatfeedback.unsaved.isTyped() ? comment : null, chatfeedback.stamp()]"
NOTE_SENT = (
    "(text, drawn, model) => { const sent = chatfeedback.draft.send(text); return [sent.text, drawn, model, sent.id] }"
)
IS_WIDE = "() => [window.innerWidth >= 1024]"


def theme() -> gr.themes.Base:
    """The look: system fonts, so that nothing is fetched from elsewhere."""
    return gr.themes.Soft(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        font=("ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=("ui-monospace", "Consolas", "monospace"),
    ).set(
        # The theme's own grey stays below the contrast of 4.5 to 1 that small text needs (WCAG 2.2, 1.4.3).
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_300",
        color_accent="*primary_600",
        button_primary_background_fill="*primary_600",
        checkbox_label_background_fill_selected="*primary_600",
        checkbox_label_background_fill_hover_dark="*neutral_700",  # that of Soft looks like a chosen one
        button_primary_background_fill_hover="*primary_700",
    )


@dataclass(frozen=True, slots=True)
class Page:
    """The page, and what an application around it needs to know to guard it."""

    blocks: gr.Blocks
    actions: Mapping[int, Action]
    """Of Gradio's function table, by index."""
    files: frozenset[str]
    """Paths of the files that the page shows."""
    scripts: tuple[str, ...]
    """Inline scripts of its head."""

    def mount(self, app: FastAPI, username: Callable[[Request], str | None]) -> FastAPI:
        """Return `app` with the page at its root.

        A middleware of `app` sets the person of each request (`chatfeedback.auth.current_user.set_person`); a request
        without one is refused. `username`: the name under which Gradio knows the person of a request; None refuses it.
        """
        mounted: FastAPI = gr.mount_gradio_app(
            app,
            self.blocks,
            path="",
            theme=theme(),
            css_paths=[ASSETS / name for name in STYLES],
            head=katex_element() + "".join(f"<script>{script}</script>" for script in self.scripts),
            auth_dependency=username,
            run_history=False,
            footer_links=[],
            ssr_mode=False,
            show_error=False,
        )
        return mounted


def build_page(
    service: ChatService,
    analytics: DashboardQueries,
    assignments: Assignments,
    sign_in: SignIn,
    refused: Callable[[str, str], None],
    *,
    title: str,
    models: Sequence[str],
    reasons: Sequence[Reason],
    shown_messages: int,
) -> Page:
    """Build the page.

    Args:
        models: Names for the picker; the first is the default.
        refused: Called with an annotator's id and the code of a refusal.

    Raises:
        AssertionError: A handler declares no action.
    """
    with ActionBlocks(title=title, fill_height=True, analytics_enabled=False) as blocks:
        # What somebody may not use is not to be seen for a moment either: where that may be, the page waits to be told.
        account = gr.HTML(
            elem_id="account",
            elem_classes="cf-awaited" if sign_in.several else None,
            js_on_load=(ASSETS / "account.js").read_text(),
        )
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Chat", id="chat", elem_id="chat-tab") as chat_tab:
                on, panel, controls = lay_out_chat(title, models, shown_messages)
                view = ChatView(service, on)
                chat = ChatHandlers(service, view, on, TabStates(), assignments, shown_messages)
                _wire_chat(blocks, chat, on, controls)
                _wire_feedback(FeedbackHandlers(service, chat, on, panel, reasons), on, panel)
            with gr.Tab("Analytics", id="analytics", elem_id="analytics-tab") as tab:
                build_analytics(tab, analytics, {reason.code: reason.label for reason in reasons}, refused)
        _wire_account(blocks, AccountComponents(tabs, chat_tab, account), sign_in)
    blocks.max_threads = MAX_CONCURRENT_EVENTS
    blocks.queue(default_concurrency_limit=None)
    scripts = tuple((ASSETS / name).read_text() for name in SCRIPTS)
    return Page(blocks, actions_in(blocks), frozenset(files_in(blocks.config)), scripts)


def _wire_account(blocks: gr.Blocks, on: AccountComponents, sign_in: SignIn) -> None:
    handlers = AccountHandlers(on, sign_in)
    blocks.load(handlers.load, [], on.account, **CALLED)
    # An event of its own, for those who need it: a container that an event may change is copied with all that it holds,
    # at each answer to the page from then on.
    on.account.click(handlers.begin_with_figures, [], [on.tabs, on.chat], **CALLED)


@action(Open.PAGE, FLAG)
def open_sidebar(wide: bool) -> gr.Sidebar:
    """The list of conversations is open where there is room for it."""
    return gr.Sidebar(open=wide)


@action(Open.PAGE)
def wake() -> None:
    """Does nothing, which has the page fetch the answers that wait for it."""


def _wire_chat(blocks: gr.Blocks, chat: ChatHandlers, on: Components, controls: Controls) -> None:
    screen = _components(on)

    def listen(event: Callable[..., Any], handler: Callable[..., Any], inputs: list[Any], **how: Any) -> None:
        event(handler, inputs, screen, **CALLED, **how)

    listen(blocks.load, chat.load, [])
    blocks.load(
        open_sidebar,
        [controls.wide],
        [controls.sidebar],
        js=IS_WIDE,
        **CALLED,
    )
    blocks.unload(chat.unload)
    controls.wake.click(wake, trigger_mode="multiple", **CALLED)
    # "multiple": a page draws the end of a reply some time before it takes the event for over, and would drop a prompt.
    sent = [on.prompt, on.view, on.model, controls.prompt_id]
    listen(on.prompt.submit, chat.send, sent, js=NOTE_SENT, trigger_mode="multiple")
    on.prompt.change(None, [on.prompt], None, js=KEEP_DRAFT)
    listen(on.prompt.stop, chat.stop, [on.view])
    listen(on.chatbot.retry, chat.retry, [on.view, on.model])
    listen(on.chatbot.undo, chat.undo, [on.prompt, on.view])
    listen(on.chatbot.edit, chat.edit, [on.view, on.model], trigger_mode="multiple")
    listen(on.chatbot.clear, chat.new, [on.view])
    listen(controls.new.click, chat.new, [on.view])
    listen(on.listed.select, chat.open, [on.view], trigger_mode="multiple")
    # "multiple", for the same reason: a click on one that is still being answered would be dropped.
    listen(on.earlier.click, chat.earlier, [on.view], trigger_mode="multiple")
    listen(on.previous.click, chat.view_previous, [on.view], trigger_mode="multiple")
    listen(on.following.click, chat.view_following, [on.view], trigger_mode="multiple")
    listen(on.keep.click, chat.keep, [on.view])
    listen(on.put_back.click, chat.put_back, [on.prompt, on.undone])


def _components(of: Components | Panel) -> list[Any]:
    return [getattr(of, name) for name in of.__slots__]


def _wire_feedback(feedback: FeedbackHandlers, on: Components, panel: Panel) -> None:
    painted = [on.chatbot, on.notice, on.version, *_components(panel)]
    # Gradio drops an event while its listener still runs, and shows the click all the same; "multiple" does not.
    called = {"trigger_mode": "multiple", **CALLED}

    def listen(event: Callable[..., Any], handler: Callable[..., Any], inputs: list[Any], **how: Any) -> None:
        event(handler, inputs, painted, **called, **how)

    listen(on.chatbot.like, feedback.like, [on.view, panel.about, panel.clicked], js=CLICKED)
    panel.refused.change(feedback.take_back, [on.view], _components(on), **called)
    listen(on.chatbot.select, feedback.select, [on.view, panel.about, panel.clicked], js=CLICKED)
    listen(panel.open_last.click, feedback.open_last, [on.view])
    listen(panel.reasons.select, feedback.choose_reason, [panel.about])
    listen(panel.typed.click, feedback.type_comment, [panel.about, panel.comment, panel.stamp], js=TYPED)
    listen(panel.comment.blur, feedback.leave_comment, [panel.about, panel.comment, panel.stamp], js=LEFT)
    listen(panel.close.click, feedback.close, [panel.about, panel.comment, panel.stamp], js=LEFT)
    listen(on.view.change, feedback.keep, [on.view, panel.about])
    followed = [*_components(on), *_components(panel)]
    on.version.select(feedback.follow, [on.view, panel.about], followed, **CALLED)
    again = [*painted, on.put_back, on.undone]
    panel.unsaved.select(feedback.send_again, [on.view, panel.about], again, **called)

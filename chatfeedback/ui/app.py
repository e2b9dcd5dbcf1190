"""The page: two tabs, the wiring of events to handlers, and mounting in a FastAPI application."""

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
from chatfeedback.ui.chat.bridge import on_message
from chatfeedback.ui.chat.feedback_panel import FeedbackHandlers
from chatfeedback.ui.chat.handlers import ChatHandlers
from chatfeedback.ui.chat.layout import Controls, lay_out_chat
from chatfeedback.ui.chat.panel import Panel, Reason
from chatfeedback.ui.chat.tab_state import TabStates
from chatfeedback.ui.chat.view import ChatView, Components
from chatfeedback.ui.event_defaults import EVENT_DEFAULTS
from chatfeedback.ui.gradio_internals import ActionBlocks, actions_in, drop_session, files_in, katex_element
from chatfeedback.ui.shapes import FLAG, MESSAGE

SCRIPTS = (
    "transport.js",
    "bridge.js",
    "storage.js",
    "navigation.js",
    "outage.js",
    "session.js",
    "clipboard.js",
    "limits.js",
    "unsaved.js",
    "messages.js",
    "page.js",
    "scroll.js",
    "following.js",
)
STYLES = ("chat.css", "messages.css", "analytics.css")
MAX_CONCURRENT_EVENTS = 300
"""Gradio runs at most 40 unless this is set before the queue is created."""
KEEP_DRAFT_JS = "(text) => { chatfeedback.draft.keep(text) }"
COMMENT_TYPED_JS = "(about, comment) => [about, comment ?? '', chatfeedback.stamp()]"
MESSAGE_CLICKED_JS = "(drawn, about) => [drawn, about, chatfeedback.messages.clicked()]"
COMMENT_LEFT_JS = "(about, comment) => [about, chatfeedback.unsaved.isTyped() ? comment : null, chatfeedback.stamp()]"
PROMPT_SENT_JS = (
    "(text, drawn, model) => { const sent = chatfeedback.draft.send(text); return [sent.text, drawn, model, sent.id] }"
)
UNDO_JS = "(text, view) => [text.trim().slice(0, 1), view]"
"""The handler needs to know only whether the box holds a text, which may be too long to be sent."""
NOTICE_JS = "() => chatfeedback.limits.notice()"
IS_WIDE_JS = "() => [window.innerWidth >= 1024]"


def theme() -> gr.themes.Base:
    """Return the theme: system fonts, so that the page fetches nothing from other servers."""
    return gr.themes.Soft(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        font=("ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=("ui-monospace", "Consolas", "monospace"),
    ).set(
        # The theme's own grey is below the contrast of 4.5 to 1 that small text needs (WCAG 2.2, 1.4.3).
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_300",
        color_accent="*primary_600",
        button_primary_background_fill="*primary_600",
        checkbox_label_background_fill_selected="*primary_600",
        checkbox_label_background_fill_hover_dark="*neutral_700",  # the colour of Soft looks like a selected one
        button_primary_background_fill_hover="*primary_700",
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that the page checks before it sends a text (assets/limits.js)."""

    message_chars: int
    """Longest prompt, edit and comment, in Unicode code points."""
    request_bytes: int
    """Largest body of a request."""

    def element(self) -> str:
        """Return the `<meta>` element that tells the page."""
        return f'<meta name="chatfeedback-limits" content="{self.message_chars} {self.request_bytes}">'


@dataclass(frozen=True, slots=True)
class Page:
    """The page, and the facts that an application needs to protect it."""

    blocks: gr.Blocks
    actions: Mapping[int, Action]
    """Action of each function, by its index in Gradio's function table."""
    files: frozenset[str]
    """Paths of the files that the page shows."""
    scripts: tuple[str, ...]
    """Inline scripts of the page's head."""
    limits: Limits
    tabs: TabStates

    def forget(self, annotator_id: str, session_hash: str) -> None:
        """Drop the state of an open page; at its next call it goes on as after a restart of the server."""
        self.tabs.remove(annotator_id, session_hash)
        drop_session(self.blocks, session_hash)

    def mount(self, app: FastAPI, username: Callable[[Request], str | None]) -> FastAPI:
        """Return `app` with the page at its root.

        Args:
            app: A middleware of it sets the person of each request (`chatfeedback.auth.current_user.set_person`); a
                request without a person is refused.
            username: Returns Gradio's user name for a request; None refuses the request.
        """
        mounted: FastAPI = gr.mount_gradio_app(
            app,
            self.blocks,
            path="",
            theme=theme(),
            css_paths=[ASSETS / name for name in STYLES],
            head="".join(
                [self.limits.element(), katex_element(), *(f"<script>{script}</script>" for script in self.scripts)]
            ),
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
    on_refused: Callable[[str, str], None],
    *,
    title: str,
    models: Sequence[str],
    reasons: Sequence[Reason],
    shown_messages: int,
    limits: Limits,
) -> Page:
    """Build the page.

    Args:
        service: Service that the chat and feedback handlers call.
        analytics: Queries of the Analytics tab.
        assignments: Reads the study assignment of a new conversation from the URL.
        sign_in: Sign-in method of the server.
        models: Model names for the dropdown; the first is the default.
        on_refused: Called with an annotator's id and the code of a refusal.
        title: Title of the page.
        reasons: Reasons that annotators can select.
        shown_messages: Newest messages that a page shows at first.
        limits: Limits on texts and requests.

    Raises:
        AssertionError: A handler declares no action.
    """
    tab_states = TabStates()
    with ActionBlocks(title=title, fill_height=True, analytics_enabled=False) as blocks:
        # A person must not see a tab that they may not use, not even for a moment: the page waits for the account bar.
        account = gr.HTML(
            elem_id="account",
            elem_classes="cf-awaited" if sign_in.multi_user else None,
            js_on_load=(ASSETS / "account.js").read_text(),
        )
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Chat", id="chat", elem_id="chat-tab") as chat_tab:
                components, panel, controls = lay_out_chat(title, models, shown_messages)
                view = ChatView(service, components)
                chat = ChatHandlers(service, view, components, tab_states, assignments, shown_messages)
                _wire_chat(blocks, chat, components, controls)
                _wire_feedback(FeedbackHandlers(service, chat, components, panel, reasons), components, panel)
            with gr.Tab("Analytics", id="analytics", elem_id="analytics-tab") as tab:
                build_analytics(tab, analytics, {reason.code: reason.label for reason in reasons}, on_refused)
        _wire_account(blocks, AccountComponents(tabs, chat_tab, account), sign_in)
    blocks.max_threads = MAX_CONCURRENT_EVENTS
    blocks.queue(default_concurrency_limit=None)
    scripts = tuple((ASSETS / name).read_text() for name in SCRIPTS)
    return Page(blocks, actions_in(blocks), frozenset(files_in(blocks.config)), scripts, limits, tab_states)


def _wire_account(blocks: gr.Blocks, components: AccountComponents, sign_in: SignIn) -> None:
    handlers = AccountHandlers(components, sign_in)
    blocks.load(handlers.load, [], components.account, **EVENT_DEFAULTS)
    # A separate event, only for people who need it: Gradio copies a container that an event may change, with all its
    # content, at each response to the page from then on.
    components.account.click(handlers.begin_with_figures, [], [components.tabs, components.chat], **EVENT_DEFAULTS)


@action(Open.PAGE, FLAG)
def open_sidebar(is_wide: bool) -> gr.Sidebar:
    """Open the list of conversations if the window is wide enough."""
    return gr.Sidebar(open=is_wide)


@action(Open.PAGE, event=MESSAGE)
def wake() -> None:
    """Do nothing; the call makes the page fetch the responses that are queued for it."""


def _wire_chat(blocks: gr.Blocks, chat: ChatHandlers, components: Components, controls: Controls) -> None:
    outputs = _field_values(components)

    def listen(event: Callable[..., Any], handler: Callable[..., Any], inputs: list[Any], **kwargs: Any) -> None:
        event(handler, inputs, outputs, **EVENT_DEFAULTS, **kwargs)

    listen(blocks.load, chat.load, [])
    blocks.load(
        open_sidebar,
        [components.bridge],
        [controls.sidebar],
        js=IS_WIDE_JS,
        **EVENT_DEFAULTS,
    )
    blocks.unload(chat.unload)
    on_message(components.bridge, "wake")(wake, trigger_mode="multiple", **EVENT_DEFAULTS)
    # "multiple": a page shows the end of a reply some time before it considers the event finished, and would drop a
    # prompt in between.
    send_inputs = [components.prompt, components.view, components.model, components.bridge]
    listen(components.prompt.submit, chat.send, send_inputs, js=PROMPT_SENT_JS, trigger_mode="multiple")
    components.prompt.change(None, [components.prompt], None, js=KEEP_DRAFT_JS)
    listen(components.prompt.stop, chat.stop, [components.view])
    listen(components.chatbot.retry, chat.retry, [components.view, components.model])
    listen(components.chatbot.undo, chat.undo, [components.prompt, components.view], js=UNDO_JS)
    listen(components.chatbot.edit, chat.edit, [components.view, components.model], trigger_mode="multiple")
    listen(components.chatbot.clear, chat.new, [components.view])
    listen(controls.new.click, chat.new, [components.view])
    listen(components.conversation_list.select, chat.open, [components.view], trigger_mode="multiple")
    # "multiple" for the same reason: a click while the one before is being answered would be dropped.
    listen(on_message(components.bridge, "visit"), chat.visit, [components.view], trigger_mode="multiple")
    on_message(components.bridge, "notice")(
        None, [], [components.notice], js=NOTICE_JS, trigger_mode="multiple", **EVENT_DEFAULTS
    )
    listen(components.earlier.click, chat.earlier, [components.view], trigger_mode="multiple")
    listen(components.previous.click, chat.view_previous, [components.view], trigger_mode="multiple")
    listen(components.following.click, chat.view_next, [components.view], trigger_mode="multiple")
    listen(components.keep.click, chat.keep, [components.view])
    listen(components.put_back.click, chat.put_back, [components.prompt, components.undone])


def _field_values(container: Components | Panel) -> list[Any]:
    return [getattr(container, name) for name in container.__slots__]


def _wire_feedback(feedback: FeedbackHandlers, components: Components, panel: Panel) -> None:
    bridge = components.bridge
    outputs = [components.chatbot, components.notice, bridge, *_field_values(panel)]
    # Gradio drops an event while its listener runs, yet shows the click; "multiple" does not drop it.
    event_defaults = {"trigger_mode": "multiple", **EVENT_DEFAULTS}

    def listen(event: Callable[..., Any], handler: Callable[..., Any], inputs: list[Any], **kwargs: Any) -> None:
        event(handler, inputs, outputs, **event_defaults, **kwargs)

    view_and_target = [components.view, panel.target]
    click_inputs = [*view_and_target, bridge]
    comment_inputs = [panel.target, panel.comment, bridge]
    listen(components.chatbot.like, feedback.like, click_inputs, js=MESSAGE_CLICKED_JS)
    on_message(bridge, "click_refused")(
        feedback.take_back, [components.view], _field_values(components), **event_defaults
    )
    listen(components.chatbot.select, feedback.select, click_inputs, js=MESSAGE_CLICKED_JS)
    listen(panel.open_last.click, feedback.open_last, [components.view])
    listen(panel.reasons.select, feedback.choose_reason, [panel.target])
    listen(on_message(bridge, "comment_typed"), feedback.type_comment, comment_inputs, js=COMMENT_TYPED_JS)
    listen(panel.comment.blur, feedback.leave_comment, comment_inputs, js=COMMENT_LEFT_JS)
    listen(panel.close.click, feedback.close, comment_inputs, js=COMMENT_LEFT_JS)
    listen(components.view.change, feedback.keep, view_and_target)
    follow_outputs = [*_field_values(components), *_field_values(panel)]
    on_message(bridge, "newer_version")(feedback.follow, view_and_target, follow_outputs, **EVENT_DEFAULTS)
    resend_outputs = [*outputs, components.put_back, components.undone]
    on_message(bridge, "unsaved_feedback")(feedback.send_again, view_and_target, resend_outputs, **event_defaults)

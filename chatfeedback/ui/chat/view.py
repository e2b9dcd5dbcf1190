"""Components of the Chat tab, and `ChatView`, which renders a conversation on them.

Every handler ends in `ChatView.render`: the whole tab is derived from the conversation in the store and from nothing
else. While a reply is generated, `ChatView.render_and_stream` updates only the messages.
"""

from __future__ import annotations

import contextlib
import html
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.types import new_id
from chatfeedback.errors import ChatFeedbackError
from chatfeedback.services.chat import ChatService
from chatfeedback.ui.chat import rendering
from chatfeedback.ui.chat.live_conversation import LiveConversation
from chatfeedback.ui.chat.rendering import ViewState
from chatfeedback.ui.chat.rendering_cache import RenderingCache
from chatfeedback.ui.chat.tab_state import RenderTurn, TabState, until_cancelled

Update = dict[Any, Any]
"""New value or properties, by component."""
Updates = AsyncGenerator[Update, None]


@dataclass(frozen=True, slots=True)
class Components:
    """Components of the Chat tab that a conversation changes."""

    view: gr.State
    """A `ViewState`; only handlers that load or stream a conversation write it."""
    chatbot: gr.Chatbot
    messages: gr.HTML
    """HTML of the chatbot's messages (`ui/chat/messages.py`)."""
    prompt: gr.Textbox
    model: gr.Dropdown
    """Model for the next reply."""
    bridge: gr.HTML
    """Tells the scripts of the page (`TabState.tell`).

    `address`: the id of the conversation, or "". `version`: `TabState.rendered_version`. `accepted`: the page's id of
    the prompt that was stored last; the page removes it from its box. `refusal`: changes when a click was refused.
    `opened`: a new id for each click that opens a conversation or begins a new one, a blank, and the id of the
    conversation or "". `visited`: likewise, the number of the last step of Back and Forward (assets/navigation.js).
    """
    notice: gr.HTML
    status: gr.HTML
    earlier: gr.Button
    alternatives: gr.Row
    previous: gr.Button
    position: gr.HTML
    following: gr.Button
    keep: gr.Button
    """Chooses the alternative on view."""
    put_back: gr.Button
    undone: gr.State
    """Prompt that Undo removed and could not put into the box, which held a text."""
    conversation_list: gr.HTML


def alert(sentence: str) -> str:
    """Return a sentence as an HTML alert; "" hides the notice."""
    return f'<div class="cf-notice" role="alert" {unique_attribute()}>{html.escape(sentence)}</div>' if sentence else ""


def unique_attribute() -> str:
    """Return an HTML attribute with a unique value, so that a page renders and announces a repeated sentence again."""
    return f'data-said="{new_id()}"'


def _status_html(sentence: str) -> str:
    return f'<span role="status">{html.escape(sentence)}</span>' if sentence else ""


class ChatView:
    """Renders conversations on the components of one Chat tab."""

    def __init__(self, service: ChatService, components: Components) -> None:
        self._service = service
        self._components = components
        self._rendering_cache = RenderingCache()

    def chatbot_update(
        self, tab: TabState, annotator_id: str, conversation: Conversation, view: ViewState, text: str
    ) -> Update:
        """Return the update of the messages and their thumbs."""
        bubbles = rendering.bubbles(conversation, view, text)
        return {
            self._components.chatbot: gr.Chatbot(
                value=rendering.stored_texts(bubbles),  # type: ignore[arg-type]
                feedback_value=rendering.feedback_values(conversation, view, annotator_id, tab.pending_votes),
            ),
            self._components.messages: rendering.rendered_texts(bubbles, self._rendering_cache),
        }

    def render(
        self,
        tab: TabState,
        annotator_id: str,
        conversation: Conversation,
        limit: int,
        text: str = "",
        *,
        viewed_id: str | None = None,
    ) -> Update:
        """Return the update of the whole tab. `viewed_id`: the alternative of the last reply to show."""
        components = self._components
        view = rendering.view_state(conversation, limit, tab.view, viewed_id)
        is_writing = conversation.writing_id is not None
        tab.set_view(view, version=conversation.version, is_writing=is_writing)
        alternatives, position = rendering.alternatives_of_last(conversation, view.viewed_id)
        hidden_count = rendering.earlier_count(conversation, view)
        return {
            components.view: view,
            **self.chatbot_update(tab, annotator_id, conversation, view, text),
            components.prompt: gr.Textbox(submit_btn=not is_writing, stop_btn=is_writing),
            components.notice: "",
            components.status: _status_html(rendering.status_line(conversation, view.viewed_id)),
            components.earlier: gr.Button(f"Show earlier messages ({hidden_count} more)", visible=hidden_count > 0),
            components.alternatives: gr.Row(visible=len(alternatives) > 1),
            components.position: f"Reply {position + 1} of {len(alternatives)}",
            components.previous: gr.Button(interactive=position > 0),
            components.following: gr.Button(interactive=position + 1 < len(alternatives)),
            components.keep: gr.Button(visible=view.viewed_id is not None),
            components.put_back: gr.Button(visible=False),
            components.bridge: tab.tell(address=conversation.conversation_id, version=tab.rendered_version),
        }

    def render_new(self, tab: TabState, limit: int) -> Update:
        """Return the update of the whole tab for a new conversation."""
        components = self._components
        view = ViewState(limit=limit)
        tab.set_view(view)
        return {
            components.view: view,
            components.chatbot: gr.Chatbot(value=[], feedback_value=[]),
            components.messages: [],
            components.prompt: gr.Textbox(submit_btn=True, stop_btn=False),
            components.notice: "",
            components.status: "",
            components.earlier: gr.Button(visible=False),
            components.alternatives: gr.Row(visible=False),
            components.put_back: gr.Button(visible=False),
            components.bridge: tab.tell(address="", version=tab.rendered_version),
        }

    async def render_and_stream(
        self,
        tab: TabState,
        turn: RenderTurn,
        annotator_id: str,
        conversation: Conversation,
        limit: int,
        *,
        viewed_id: str | None = None,
        **extra: Any,
    ) -> Updates:
        """Render the conversation; while a reply is generated, stream updates until its end.

        Args:
            tab: State of the page.
            turn: The render turn; the stream ends when it is cancelled.
            annotator_id: The annotator of the page.
            conversation: The conversation to render.
            limit: Number of messages to show.
            viewed_id: See `render`.
            extra: Values of components for the first update, by field name of `Components`.
        """
        extra_update = {getattr(self._components, name): value for name, value in extra.items()}
        list_update = await self.conversation_list_update(tab, annotator_id)
        full_update = self.render(tab, annotator_id, conversation, limit, viewed_id=viewed_id)
        yield {**full_update, **extra_update, **list_update}
        if conversation.writing_id is not None:
            # Gradio sends the difference from the last update, and a busy page deletes missing properties from an
            # update that it has not rendered yet. So every update repeats them.
            repeated = {component: update for component, update in full_update.items() if isinstance(update, Block)}
            stream = self._stream(tab, turn, annotator_id, conversation, limit)
            async with contextlib.aclosing(stream) as updates:
                async for update in updates:
                    repeated |= {component: new for component, new in update.items() if isinstance(new, Block)}
                    yield {**update, **repeated}

    async def _stream(
        self, tab: TabState, turn: RenderTurn, annotator_id: str, conversation: Conversation, limit: int
    ) -> Updates:
        """Update the messages until the reply has ended; show an error as a notice, and remove it after recovery.

        The notice from the start of the reply stays.
        """
        assert conversation.writing_id is not None  # noqa: S101 - the callers have checked it
        view, components, notice = rendering.view_state(conversation, limit, tab.view), self._components, ""
        live_conversation = LiveConversation(self._service, annotator_id, conversation)
        progress_stream = self._service.watch(conversation.conversation_id, conversation.writing_id)
        try:
            async with (
                contextlib.aclosing(progress_stream) as all_progress,
                contextlib.aclosing(until_cancelled(turn.cancelled, all_progress)) as updates,
            ):
                async for progress in updates:
                    if progress.conversation is not None:
                        final_update = self.render(tab, annotator_id, progress.conversation, limit)
                        if not notice and not tab.warned_to_wait:
                            del final_update[components.notice]
                        tab.warned_to_wait = False
                        yield final_update
                        return
                    notice_update, conversation = {}, await live_conversation.refresh()
                    if turn.cancelled.is_set():
                        return
                    new_notice = rendering.without_urls(progress.notice or "") or live_conversation.notice
                    if new_notice != notice:
                        notice, notice_update = new_notice, {components.notice: alert(new_notice)}
                    messages_update = self.chatbot_update(tab, annotator_id, conversation, view, progress.text)
                    yield {**messages_update, **notice_update}
        except ChatFeedbackError as error:
            yield {components.notice: alert(str(error)), components.prompt: gr.Textbox(submit_btn=True, stop_btn=False)}
        finally:
            tab.is_writing = False

    async def conversation_list_update(self, tab: TabState, annotator_id: str) -> Update:
        """Return the update of the conversation list: newest first, at most `tab.list_limit`."""
        try:
            conversations = await self._service.conversations(annotator_id, tab.list_limit + 1)
        except ChatFeedbackError as error:
            return {self._components.conversation_list: alert(str(error))}
        items = "".join(
            f'<li><button type="button" class="cf-open" data-conversation="{html.escape(listed.conversation_id)}">'
            f'<span class="cf-title">{html.escape(listed.title)}</span>'
            f'<time datetime="{listed.updated_at:%Y-%m-%dT%H:%M:%SZ}">{listed.updated_at:%d %b %Y, %H:%M} UTC</time>'
            "</button></li>"
            for listed in conversations[: tab.list_limit]
        )
        if len(conversations) > tab.list_limit:
            items += (
                '<li><button type="button" class="cf-open cf-more" data-more>Show older conversations</button></li>'
            )
        empty = '<p class="cf-empty">Nothing here yet. Send a message to begin.</p>'
        return {self._components.conversation_list: f'<ul class="cf-list">{items}</ul>' if items else empty}

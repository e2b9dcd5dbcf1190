"""The Chat tab's components, and how a conversation is painted on them.

Whatever a handler does, it ends in `ChatView.render`: the whole tab follows from the conversation in the store and from
nothing else. While a reply is written, `ChatView.follow` repaints the messages alone.
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
from chatfeedback.ui.chat.drawings import Drawings
from chatfeedback.ui.chat.live_conversation import LiveConversation
from chatfeedback.ui.chat.rendering import ViewState
from chatfeedback.ui.chat.tab_state import RenderTurn, TabState, until

Update = dict[Any, Any]
"""Component -> its new value or properties."""
Updates = AsyncGenerator[Update, None]


@dataclass(frozen=True, slots=True)
class Components:
    """Everything on the Chat tab that a conversation changes."""

    view: gr.State
    """A `ViewState`; written only by handlers that load or stream a conversation."""
    chatbot: gr.Chatbot
    messages: gr.HTML
    """The HTML of the chatbot's messages (chatfeedback.ui.chat.messages)."""
    prompt: gr.Textbox
    model: gr.Dropdown
    """The model to be asked next."""
    accepted: gr.HTML
    """Changes when a prompt was accepted, which the page then takes out of its box."""
    notice: gr.HTML
    status: gr.HTML
    earlier: gr.Button
    alternatives: gr.Row
    previous: gr.Button
    position: gr.HTML
    following: gr.Button
    keep: gr.Button
    """Makes the alternative that is looked at the one that is stored."""
    put_back: gr.Button
    undone: gr.State
    """The prompt that Undo took off the screen and could not put into the box."""
    address: gr.HTML
    version: gr.HTML
    """`TabState.rendered_version`. It tells when the page has heard of a newer one (assets/following.js)."""
    listed: gr.HTML


def alert(sentence: str) -> str:
    """A sentence that wants to be read, as HTML; "" hides it."""
    return f'<div class="cf-notice" role="alert" {once()}>{html.escape(sentence)}</div>' if sentence else ""


def once() -> str:
    """An attribute that no other element has: a page that is told the same again draws, and announces, it again."""
    return f'data-said="{new_id()}"'


def _status(sentence: str) -> str:
    return f'<span role="status">{html.escape(sentence)}</span>' if sentence else ""


class ChatView:
    """Paints conversations on the components of one Chat tab."""

    def __init__(self, service: ChatService, components: Components) -> None:
        self._service = service
        self._components = components
        self._drawings = Drawings()

    def chatbot_update(
        self, tab: TabState, annotator_id: str, conversation: Conversation, view: ViewState, text: str
    ) -> Update:
        """The update of the messages, thumbs included."""
        shown = rendering.bubbles(conversation, view, text)
        return {
            self._components.chatbot: gr.Chatbot(
                value=rendering.stored_texts(shown),  # type: ignore[arg-type]
                feedback_value=rendering.feedback_values(conversation, view, annotator_id, tab.votes),
            ),
            self._components.messages: rendering.drawn_texts(shown, self._drawings),
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
        """The whole tab for this conversation; `viewed_id`: the alternative of its last reply to be looked at."""
        components = self._components
        view = rendering.view_state(conversation, limit, tab.view, viewed_id)
        writing = conversation.writing_id is not None
        tab.shows(view, version=conversation.version, writing=writing)
        alternatives, shown = rendering.alternatives_of_last(conversation, view.viewed_id)
        hidden = rendering.earlier_count(conversation, view)
        return {
            components.view: view,
            **self.chatbot_update(tab, annotator_id, conversation, view, text),
            components.prompt: gr.Textbox(submit_btn=not writing, stop_btn=writing),
            components.notice: "",
            components.status: _status(rendering.status_line(conversation, view.viewed_id)),
            components.earlier: gr.Button(f"Show earlier messages ({hidden} more)", visible=hidden > 0),
            components.alternatives: gr.Row(visible=len(alternatives) > 1),
            components.position: f"Reply {shown + 1} of {len(alternatives)}",
            components.previous: gr.Button(interactive=shown > 0),
            components.following: gr.Button(interactive=shown + 1 < len(alternatives)),
            components.keep: gr.Button(visible=view.viewed_id is not None),
            components.put_back: gr.Button(visible=False),
            components.address: conversation.conversation_id,
            components.version: tab.rendered_version,
        }

    def render_new(self, tab: TabState, limit: int) -> Update:
        """The whole tab for a conversation in which nothing has happened."""
        components = self._components
        view = ViewState(limit=limit)
        tab.shows(view)
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
            components.address: "",
            components.version: tab.rendered_version,
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
        """Draws the conversation and, while a reply is written, follows it to its end.

        `viewed_id`: see `render`. `extra`: values for components, by their names in `Components`, of the first drawing.
        """
        first = {getattr(self._components, name): value for name, value in extra.items()}
        view = self.render(tab, annotator_id, conversation, limit, viewed_id=viewed_id)
        yield {**view, **first, **await self.listing(tab, annotator_id)}
        if conversation.writing_id is not None:
            # Gradio sends what has changed since the last update, and a busy page takes properties that are not
            # there any more out of the last update, which it may not have drawn yet. So they stay in all of them.
            lasting = {component: update for component, update in view.items() if isinstance(update, Block)}
            following = self._stream(tab, turn, annotator_id, conversation, limit)
            async with contextlib.aclosing(following) as updates:
                async for update in updates:
                    lasting |= {component: new for component, new in update.items() if isinstance(new, Block)}
                    yield {**update, **lasting}

    async def _stream(
        self, tab: TabState, turn: RenderTurn, annotator_id: str, conversation: Conversation, limit: int
    ) -> Updates:
        """Repaints the messages until the reply has ended; trouble on the way is said, and taken back when it is over.

        What was said when the reply began stays.
        """
        assert conversation.writing_id is not None  # noqa: S101 - the callers have asked
        view, components, trouble = rendering.view_state(conversation, limit, tab.view), self._components, ""
        newest = LiveConversation(self._service, annotator_id, conversation)
        watching = self._service.watch(conversation.conversation_id, conversation.writing_id)
        try:
            async with (
                contextlib.aclosing(watching) as progress,
                contextlib.aclosing(until(turn.cancelled, progress)) as seen,
            ):
                async for now in seen:
                    if now.conversation is not None:
                        last = self.render(tab, annotator_id, now.conversation, limit)
                        if not trouble and not tab.warned_to_wait:
                            del last[components.notice]
                        tab.warned_to_wait = False
                        yield last
                        return
                    update, conversation = {}, await newest.refresh()
                    if turn.cancelled.is_set():
                        return
                    if (said := rendering.without_addresses(now.notice or "") or newest.trouble) != trouble:
                        trouble, update = said, {components.notice: alert(said)}
                    yield {**self.chatbot_update(tab, annotator_id, conversation, view, now.text), **update}
        except ChatFeedbackError as error:
            yield {components.notice: alert(str(error)), components.prompt: gr.Textbox(submit_btn=True, stop_btn=False)}
        finally:
            tab.writing = False

    async def listing(self, tab: TabState, annotator_id: str) -> Update:
        """The list of conversations, newest first, as long as this page has asked for."""
        try:
            found = await self._service.conversations(annotator_id, tab.listed + 1)
        except ChatFeedbackError as error:
            return {self._components.listed: alert(str(error))}
        lines = (
            f'<li><button type="button" class="cf-open" data-conversation="{html.escape(one.conversation_id)}">'
            f'<span class="cf-title">{html.escape(one.title)}</span>'
            f'<time datetime="{one.updated_at:%Y-%m-%dT%H:%M:%SZ}">{one.updated_at:%d %b %Y, %H:%M} UTC</time>'
            "</button></li>"
            for one in found[: tab.listed]
        )
        listed = "".join(lines)
        if len(found) > tab.listed:
            listed += (
                '<li><button type="button" class="cf-open cf-more" data-more>Show older conversations</button></li>'
            )
        empty = '<p class="cf-empty">Nothing here yet. Send a message to begin.</p>'
        return {self._components.listed: f'<ul class="cf-list">{listed}</ul>' if listed else empty}

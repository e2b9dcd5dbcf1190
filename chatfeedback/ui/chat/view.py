"""The Chat tab's components, and how a conversation is painted on them.

Whatever a handler does, it ends in `Screen.draw`: the whole tab follows from the conversation in the store and from
nothing else. While a reply is written, `Screen.follow` repaints the messages alone.
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
from chatfeedback.ui.chat.live_conversation import Newest
from chatfeedback.ui.chat.rendering import Rendered
from chatfeedback.ui.chat.tab_state import Page, Painting, until

Update = dict[Any, Any]
"""Component -> its new value or properties."""
Updates = AsyncGenerator[Update, None]


@dataclass(frozen=True, slots=True)
class Components:
    """Everything on the Chat tab that a conversation changes."""

    drawn: gr.State
    """A `Rendered`; written only by handlers that load or stream a conversation."""
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
    """`Page.painted`. It tells when the page has heard of a newer one (assets/following.js)."""
    listed: gr.HTML


def alert(sentence: str) -> str:
    """A sentence that wants to be read, as HTML; "" hides it."""
    return f'<div class="cf-notice" role="alert" {once()}>{html.escape(sentence)}</div>' if sentence else ""


def once() -> str:
    """An attribute that no other element has: a page that is told the same again draws, and announces, it again."""
    return f'data-said="{new_id()}"'


def _status(sentence: str) -> str:
    return f'<span role="status">{html.escape(sentence)}</span>' if sentence else ""


class Screen:
    """Paints conversations on the components of one Chat tab."""

    def __init__(self, service: ChatService, on: Components) -> None:
        self._service = service
        self._on = on
        self._drawings = Drawings()

    def messages(self, page: Page, annotator_id: str, conversation: Conversation, drawn: Rendered, text: str) -> Update:
        """The update of the messages, thumbs included."""
        shown = rendering.bubbles(conversation, drawn, text)
        return {
            self._on.chatbot: gr.Chatbot(
                value=rendering.stored_texts(shown),  # type: ignore[arg-type]
                feedback_value=rendering.feedback_values(conversation, drawn, annotator_id, page.votes),
            ),
            self._on.messages: rendering.drawn_texts(shown, self._drawings),
        }

    def draw(
        self,
        page: Page,
        annotator_id: str,
        conversation: Conversation,
        most: int,
        text: str = "",
        *,
        viewed_id: str | None = None,
    ) -> Update:
        """The whole tab for this conversation; `viewed_id`: the alternative of its last reply to be looked at."""
        on = self._on
        drawn = rendering.rendered(conversation, most, page.drawn, viewed_id)
        writing = conversation.writing_id is not None
        page.shows(drawn, version=conversation.version, writing=writing)
        alternatives, shown = rendering.alternatives_of_last(conversation, drawn.viewed_id)
        hidden = rendering.earlier_count(conversation, drawn)
        return {
            on.drawn: drawn,
            **self.messages(page, annotator_id, conversation, drawn, text),
            on.prompt: gr.Textbox(submit_btn=not writing, stop_btn=writing),
            on.notice: "",
            on.status: _status(rendering.status_line(conversation, drawn.viewed_id)),
            on.earlier: gr.Button(f"Show earlier messages ({hidden} more)", visible=hidden > 0),
            on.alternatives: gr.Row(visible=len(alternatives) > 1),
            on.position: f"Reply {shown + 1} of {len(alternatives)}",
            on.previous: gr.Button(interactive=shown > 0),
            on.following: gr.Button(interactive=shown + 1 < len(alternatives)),
            on.keep: gr.Button(visible=drawn.viewed_id is not None),
            on.put_back: gr.Button(visible=False),
            on.address: conversation.conversation_id,
            on.version: page.painted,
        }

    def draw_new(self, page: Page, most: int) -> Update:
        """The whole tab for a conversation in which nothing has happened."""
        on = self._on
        drawn = Rendered(most=most)
        page.shows(drawn)
        return {
            on.drawn: drawn,
            on.chatbot: gr.Chatbot(value=[], feedback_value=[]),
            on.messages: [],
            on.prompt: gr.Textbox(submit_btn=True, stop_btn=False),
            on.notice: "",
            on.status: "",
            on.earlier: gr.Button(visible=False),
            on.alternatives: gr.Row(visible=False),
            on.put_back: gr.Button(visible=False),
            on.address: "",
            on.version: page.painted,
        }

    async def show(
        self,
        page: Page,
        painting: Painting,
        annotator_id: str,
        conversation: Conversation,
        most: int,
        *,
        viewed_id: str | None = None,
        **extra: Any,
    ) -> Updates:
        """Draws the conversation and, while a reply is written, follows it to its end.

        `viewed_id`: see `draw`. `extra`: values for components, by their names in `Components`, that go with the first
        drawing.
        """
        first = {getattr(self._on, name): value for name, value in extra.items()}
        drawn = self.draw(page, annotator_id, conversation, most, viewed_id=viewed_id)
        yield {**drawn, **first, **await self.listing(page, annotator_id)}
        if conversation.writing_id is not None:
            # Gradio sends what has changed since the last update, and a busy page takes properties that are not
            # there any more out of the last update, which it may not have drawn yet. So they stay in all of them.
            lasting = {component: update for component, update in drawn.items() if isinstance(update, Block)}
            following = self._follow(page, painting, annotator_id, conversation, most)
            async with contextlib.aclosing(following) as updates:
                async for update in updates:
                    lasting |= {component: new for component, new in update.items() if isinstance(new, Block)}
                    yield {**update, **lasting}

    async def _follow(
        self, page: Page, painting: Painting, annotator_id: str, conversation: Conversation, most: int
    ) -> Updates:
        """Repaints the messages until the reply has ended; trouble on the way is said, and taken back when it is over.

        What was said when the reply began stays.
        """
        assert conversation.writing_id is not None  # noqa: S101 - the callers have asked
        drawn, on, trouble = rendering.rendered(conversation, most, page.drawn), self._on, ""
        newest = Newest(self._service, annotator_id, conversation)
        watching = self._service.watch(conversation.conversation_id, conversation.writing_id)
        try:
            async with (
                contextlib.aclosing(watching) as progress,
                contextlib.aclosing(until(painting.over, progress)) as seen,
            ):
                async for now in seen:
                    if now.conversation is not None:
                        last = self.draw(page, annotator_id, now.conversation, most)
                        if not trouble and not page.hurried:
                            del last[on.notice]
                        page.hurried = False
                        yield last
                        return
                    update, conversation = {}, await newest.look()
                    if painting.over.is_set():
                        return
                    if (said := rendering.without_addresses(now.notice or "") or newest.trouble) != trouble:
                        trouble, update = said, {on.notice: alert(said)}
                    yield {**self.messages(page, annotator_id, conversation, drawn, now.text), **update}
        except ChatFeedbackError as error:
            yield {on.notice: alert(str(error)), on.prompt: gr.Textbox(submit_btn=True, stop_btn=False)}
        finally:
            page.writing = False

    async def listing(self, page: Page, annotator_id: str) -> Update:
        """The list of conversations, newest first, as long as this page has asked for."""
        try:
            found = await self._service.conversations(annotator_id, page.listed + 1)
        except ChatFeedbackError as error:
            return {self._on.listed: alert(str(error))}
        lines = (
            f'<li><button type="button" class="cf-open" data-conversation="{html.escape(one.conversation_id)}">'
            f'<span class="cf-title">{html.escape(one.title)}</span>'
            f'<time datetime="{one.updated_at:%Y-%m-%dT%H:%M:%SZ}">{one.updated_at:%d %b %Y, %H:%M} UTC</time>'
            "</button></li>"
            for one in found[: page.listed]
        )
        listed = "".join(lines)
        if len(found) > page.listed:
            listed += (
                '<li><button type="button" class="cf-open cf-more" data-more>Show older conversations</button></li>'
            )
        empty = '<p class="cf-empty">Nothing here yet. Send a message to begin.</p>'
        return {self._on.listed: f'<ul class="cf-list">{listed}</ul>' if listed else empty}

"""Thumbs, and the panel for reasons and a comment on one reply.

Nothing waits for a Save button: a click on a thumb or a reason is stored at once, a comment when the typing pauses
or the box is left. Handlers set what is wanted and never toggle, so whatever comes twice changes nothing. Which
reply a comment belongs to travels with the comment itself: the page sends both from the same moment.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import gradio as gr

from chatfeedback.domain.conversation.state import Conversation, Rating
from chatfeedback.domain.roles import Permission
from chatfeedback.domain.text import sanitize
from chatfeedback.domain.types import new_id
from chatfeedback.errors import ChatFeedbackError, Conflict, NotRateable
from chatfeedback.services.chat import ChatService
from chatfeedback.ui.actions import action
from chatfeedback.ui.chat import panel as panels
from chatfeedback.ui.chat import rendering
from chatfeedback.ui.chat.handlers import ChatHandlers
from chatfeedback.ui.chat.panel import Panel, Reason
from chatfeedback.ui.chat.rendering import ViewState
from chatfeedback.ui.chat.tab_state import TabState
from chatfeedback.ui.chat.view import Components, Update, Updates, alert
from chatfeedback.ui.shapes import (
    NUMBER,
    STATE,
    TEXT,
    LikeEvent,
    MessageSelected,
    NewerVersion,
    ReasonSelected,
    Shape,
    UnsavedFeedback,
)

TYPING_PAUSE_SECONDS = 0.8
QUIET_SECONDS = 0.25
"""Without another click on a thumb, before the thumbs are painted."""
PATIENCE_SECONDS = 5.0
"""For which a click waits for the edit of the message that it is about."""
OUTDATED_SECONDS = 60.0
"""The age from which on feedback that is sent again gives way to what was given elsewhere since."""
EDIT_NOT_SAVED = "Your edit was not saved, because your session had ended. Its text is under “Put back”."


class FeedbackHandlers:
    """What happens when a thumb or the panel is used."""

    def __init__(
        self, service: ChatService, chat: ChatHandlers, components: Components, panel: Panel, reasons: Sequence[Reason]
    ) -> None:
        self._service = service
        self._chat = chat
        self._components = components
        self._panel = panel
        self._reasons = tuple(reasons)

    @action(Permission.CHAT, STATE, TEXT, TEXT, event=Shape(LikeEvent))
    async def like(
        self, view: ViewState, about: str, clicked: str | None, data: gr.LikeData, request: gr.Request
    ) -> Update:
        """A click on a thumb: stored, then painted as the store has it, and the panel opens for its reply.

        The page shows a click by itself, at once. Only the last one of a burst is painted, and after a moment: a
        further click may be on its way here, and the painting would take it back.
        """
        tab, annotator_id = self._chat.tab(request)
        view = self._chat.found(view, request)
        said: Update = {self._components.notice: ""}
        tab.clicks = mine = tab.clicks + 1
        try:
            value = rendering.wanted_value(data.liked)
            offered = await self._chat.offered(annotator_id, view, data.index)
            tab.votes[clicked or offered] = value
            tab.votes_in_flight += 1
            try:
                async with tab.voting:
                    view, message_id = await self._clicked(
                        tab, annotator_id, view, data.index, _said(data.value), clicked or ""
                    )
                    conversation = await self._rate(
                        tab, annotator_id, view.conversation_id or "", message_id, value=value
                    )
            finally:
                tab.votes_in_flight -= 1
                if not tab.votes_in_flight:
                    tab.votes.clear()
        except ChatFeedbackError as error:
            return self._refusal(error)
        await asyncio.sleep(QUIET_SECONDS)
        if tab.clicks != mine or tab.moved_on(view):
            return {self._components.notice: gr.skip()}
        said[self._components.chatbot] = self._thumbs(tab, annotator_id, conversation, view)
        said[self._components.version] = tab.rendered_version
        is_open = about == _about(conversation, message_id)
        if message_id in view.ids and (is_open or conversation.ratings.get((message_id, annotator_id))):
            said.update(self._open(tab, conversation, annotator_id, message_id, keep_comment=is_open))
        return said

    def _thumbs(self, tab: TabState, annotator_id: str, conversation: Conversation, view: ViewState) -> gr.Chatbot:
        return gr.Chatbot(feedback_value=rendering.feedback_values(conversation, view, annotator_id, tab.votes))

    async def _clicked(
        self, tab: TabState, annotator_id: str, view: ViewState, index: object, said: str, clicked: str
    ) -> tuple[ViewState, str]:
        """Return the message that was clicked, by its id and its text on the page, and what was drawn then.

        Something else may have been drawn since, such as the reply that Retry has begun: then it is what the page
        showed. The page shows an edit before it is stored and drawn, and its click may be dealt with before the edit:
        then the click waits for it. Raises Conflict when no message is meant.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    another = tab.next_render
                    for candidate in (view, tab.view or view):
                        conversation = await self._service.conversation(annotator_id, candidate.conversation_id or "")
                        message_id = candidate.message_id(index)
                        if _is_meant(conversation, message_id, said, clicked):
                            return candidate, message_id
                    if not tab.acting and _is_meant(conversation, clicked, said, clicked):
                        return view, clicked
                    await another.wait()
        raise Conflict("This reply is another one by now; click again.")

    def _refusal(self, error: ChatFeedbackError, sentence: str = "") -> Update:
        """Why a click was refused; the page then asks for what is to be seen instead (`take_back`)."""
        return {self._components.notice: alert(sentence or str(error)), self._panel.refused: new_id()}

    @action(Permission.CHAT, STATE)
    async def take_back(self, view: ViewState, request: gr.Request) -> Updates:
        """Paints the thumbs as they are stored, after a click that was not; all that is stored, where nothing is known.

        The page shows a click without having been told to, and would take the thumbs that it was told of last for no
        news: they are painted without any first.
        """
        tab, annotator_id = self._chat.tab(request)
        view = self._chat.found(view, request)
        try:
            conversation = await self._service.conversation(annotator_id, view.conversation_id or "")
        except ChatFeedbackError:
            yield {self._components.notice: gr.skip()}  # the refusal is said already
            return
        yield {self._components.chatbot: gr.Chatbot(feedback_value=[])}
        if not view.lost:
            yield {self._components.chatbot: self._thumbs(tab, annotator_id, conversation, view)}
            return
        async for update in self._chat.show_again(tab, annotator_id, conversation, view.limit):
            yield update

    @action(Permission.CHAT, STATE, TEXT, TEXT, event=Shape(MessageSelected))
    async def select(
        self, view: ViewState, about: str, clicked: str | None, data: gr.SelectData, request: gr.Request
    ) -> Update:
        """A click on a message: the panel opens for it if it is a reply."""
        tab, annotator_id = self._chat.tab(request)
        view = self._chat.found(view, request)
        index = data.index[0] if isinstance(data.index, (list, tuple)) else data.index
        try:
            await self._chat.offered(annotator_id, view, index)
            view, message_id = await self._clicked(tab, annotator_id, view, index, _said(data.value), clicked or "")
            conversation = await self._service.conversation(annotator_id, view.conversation_id or "")
        except ChatFeedbackError as error:
            return self._refusal(error)
        if about == _about(conversation, message_id) or not _rateable(conversation, message_id):
            return {self._components.notice: gr.skip()}
        return self._open(tab, conversation, annotator_id, message_id)

    @action(Permission.CHAT, STATE)
    async def open_last(self, view: ViewState, request: gr.Request) -> Update:
        """Opens the panel for the last reply."""
        tab, annotator_id = self._chat.tab(request)
        view = self._chat.found(view, request)
        try:
            self._chat.require_known(view)
            conversation = await self._service.conversation(annotator_id, view.conversation_id or "")
            if not view.ids or not _rateable(conversation, view.ids[-1]):
                raise NotRateable("There is no reply to comment on yet.")
        except ChatFeedbackError as error:
            return self._refusal(error)
        return self._open(tab, conversation, annotator_id, view.ids[-1])

    @action(Permission.CHAT, TEXT, event=Shape(ReasonSelected))
    async def choose_reason(self, about: str, data: gr.SelectData, request: gr.Request) -> Update:
        """Store a click on a reason at once, and show the reasons that are stored if the page does not know them all.

        They are not painted otherwise: that could take back a click that is on its way.
        """
        tab, annotator_id = self._chat.tab(request)
        clicks = tab.clicks
        if tab.reasons is not None and tab.panel_of == about:
            tab.reasons = tab.reasons | {data.value} if data.selected else tab.reasons - {data.value}
        known = tab.reasons
        said, conversation = await self._save(about, request, reasons={data.value: data.selected})
        has_gone_on = tab.reasons is not known or tab.panel_of != about or tab.clicks != clicks
        if conversation is None or known is None or has_gone_on:
            return said
        rating = conversation.ratings.get((about.rpartition(" ")[2], annotator_id))
        stored = set(rating.reasons) if rating else set()
        if stored != known:
            tab.reasons = stored
            said[self._panel.reasons] = panels.offered(self._reasons, rating)
        return said

    @action(Permission.CHAT, TEXT, TEXT, NUMBER)
    async def type_comment(self, about: str, comment: str, stamp: float, request: gr.Request) -> Update:
        """The comment changed: stored when nothing more was typed for a moment."""
        tab, _annotator_id = self._chat.tab(request)
        tab.typed = max(tab.typed, stamp)
        await asyncio.sleep(TYPING_PAUSE_SECONDS)
        if tab.typed != stamp:
            return {self._panel.saved: gr.skip()}
        return (await self._save(about, request, comment=comment))[0]

    @action(Permission.CHAT, TEXT, TEXT, NUMBER)
    async def leave_comment(self, about: str, comment: str | None, stamp: float, request: gr.Request) -> Update:
        """Store what was typed into the box that is left. None if nothing was: then it may hold an old comment."""
        if comment is None:
            return {self._panel.saved: gr.skip()}
        tab, _annotator_id = self._chat.tab(request)
        tab.typed = max(tab.typed, stamp)
        return (await self._save(about, request, comment=comment))[0]

    @action(Permission.CHAT, TEXT, TEXT, NUMBER)
    async def close(self, about: str, comment: str | None, stamp: float, request: gr.Request) -> Update:
        """Closes the panel, its comment stored."""
        tab, _annotator_id = self._chat.tab(request)
        said = await self.leave_comment(about, comment, stamp, request)
        failed = self._components.notice in said
        return said if failed else {**said, **self._closed(tab)}

    @action(Permission.CHAT, STATE, TEXT, event=Shape(UnsavedFeedback))
    async def send_again(self, view: ViewState, about: str, data: gr.EventData, request: gr.Request) -> Update:
        """Store what an earlier page of this tab sent in vain, and show it; what cannot be stored is given back.

        The page sends the parts of the rating of one message that were not answered, and their age in seconds, or the
        text of an edit. What is older than a rating that was given elsewhere does not replace it.
        """
        tab, annotator_id = self._chat.tab(request)
        view = self._chat.found(view, request)
        parts = {name: getattr(data, name, None) for name in ("value", "reasons", "comment")}
        target, edited = str(getattr(data, "about", "")), getattr(data, "edit", None)
        conversation_id, _, message_id = target.partition(" ")
        said: Update = {}
        if edited:
            said = {self._components.notice: alert(EDIT_NOT_SAVED), **self._chat.offer(edited)}
        if all(part is None for part in parts.values()):
            return said or {self._components.notice: gr.skip()}
        try:
            before = await self._service.conversation(annotator_id, conversation_id)
            rating = before.ratings.get((message_id, annotator_id))
            if rating is not None and _is_outdated(rating, getattr(data, "age", 0), **parts):
                raise Conflict("You have changed it elsewhere since.")
            conversation = await self._rate(tab, annotator_id, conversation_id, message_id, **parts)
        except ChatFeedbackError as error:
            text = f" Your comment was: “{parts['comment']}”" if parts["comment"] else ""
            if tab.panel_of == target:
                said[self._panel.saved] = panels.unsaved(target, error, comment=bool(text))
            return {**said, **self._refusal(error, f"Your feedback was not saved. {error}{text}")}
        if view.conversation_id != conversation_id or message_id not in view.ids or tab.moved_on(view):
            return said or {self._components.notice: gr.skip()}
        said[self._components.chatbot] = self._thumbs(tab, annotator_id, conversation, view)
        said[self._components.version] = tab.rendered_version
        said |= self._open(tab, conversation, annotator_id, message_id, keep_comment=tab.panel_of == target)
        return said

    @action(Permission.CHAT, STATE, TEXT, event=Shape(NewerVersion))
    async def follow(self, view: ViewState, about: str, data: gr.EventData, request: gr.Request) -> Updates:
        """Repaint what another page has changed: thumbs and the open panel, or everything if messages changed too.

        Not while this page does something itself, and not when it has gone on meanwhile: it asks again.
        """
        tab, annotator_id = self._chat.tab(request)
        view, clicks, chosen = tab.view or self._chat.found(view, request), tab.clicks, tab.reasons
        skip: Update = {self._components.notice: gr.skip()}
        if tab.busy:
            yield skip
            return
        try:
            conversation = await self._service.conversation(annotator_id, view.conversation_id or "")
        except ChatFeedbackError:
            yield skip
            return
        if tab.busy or tab.moved_on(view) or (tab.clicks, tab.reasons) != (clicks, chosen):
            yield skip
            return
        panel = self._followed(tab, conversation, annotator_id, view, about)
        if view.tree_version == conversation.tree_version:
            tab.version = conversation.version
            thumbs = self._thumbs(tab, annotator_id, conversation, view)
            yield {self._components.chatbot: thumbs, self._components.version: tab.rendered_version, **panel}
            return
        is_first = True
        async for update in self._chat.show_again(tab, annotator_id, conversation, view.limit):
            if is_first:
                tab.follows()  # the rest is a reply, which is seen to grow
                update, is_first = {**panel, **update}, False
            yield update

    def _followed(
        self, tab: TabState, conversation: Conversation, annotator_id: str, view: ViewState, about: str
    ) -> Update:
        """Return what is new in the open panel; the page itself decides whether the comment is put into its box."""
        message_id = about.rpartition(" ")[2]
        is_open = message_id in view.ids and about == _about(conversation, message_id)
        if not is_open or tab.panel_of not in ("", about):
            return {}
        rating = conversation.ratings.get((message_id, annotator_id))
        update = self._open(tab, conversation, annotator_id, message_id, keep_comment=True)
        del update[self._panel.box], update[self._panel.about]
        return {**update, self._panel.saved: panels.saved(about, rating, with_comment=True)}

    @action(Permission.CHAT, STATE, TEXT)
    def keep(self, view: ViewState, about: str, request: gr.Request) -> Update:
        """Close the panel when its reply is not on the screen any more, or a prompt was sent since it was opened.

        Offers it for the last reply.
        """
        tab, _annotator_id = self._chat.tab(request)
        offer = {self._panel.open_last: gr.Button(visible=view.rateable)}
        # A panel that is open for nothing is closed, or is just being opened by a click that came before this.
        stays = not about or (about.rpartition(" ")[2] in view.ids and not tab.prompted)
        return offer if stays else {**offer, **self._closed(tab)}

    def _closed(self, tab: TabState) -> Update:
        tab.panel_of = ""
        return {self._panel.box: gr.Column(visible=False), self._panel.about: ""}

    async def _save(self, about: str, request: gr.Request, **change: Any) -> tuple[Update, Conversation | None]:
        """Store a part of a rating. Return what the panel says of it, and the conversation if it is stored."""
        tab, annotator_id = self._chat.tab(request)
        conversation_id, _, message_id = about.partition(" ")
        if not message_id:
            return {self._panel.saved: ""}, None
        try:
            conversation = await self._rate(tab, annotator_id, conversation_id, message_id, **change)
        except ChatFeedbackError as error:
            refused = panels.unsaved(about, error, comment="comment" in change)
            return {self._components.notice: alert(str(error)), self._panel.saved: refused}, None
        rating = conversation.ratings.get((message_id, annotator_id))
        return {
            self._panel.saved: panels.saved(about, rating),
            self._components.version: tab.rendered_version,
        }, conversation

    async def _rate(
        self, tab: TabState, annotator_id: str, conversation_id: str, message_id: str, **change: Any
    ) -> Conversation:
        """Rate a reply, and note that the page has done so itself and need not follow it."""
        before: list[int] = []
        conversation = await self._service.feedback.rate(
            annotator_id, conversation_id, message_id, decided_at=before.append, **change
        )
        if before:
            tab.rated(conversation_id, before[-1], conversation.version)
        return conversation

    def _open(
        self,
        tab: TabState,
        conversation: Conversation,
        annotator_id: str,
        message_id: str,
        keep_comment: bool = False,
    ) -> Update:
        tab.prompted = False
        tab.panel_of = about = _about(conversation, message_id)
        rating = conversation.ratings.get((message_id, annotator_id))
        tab.reasons = set(rating.reasons) if rating else set()
        panel = self._panel
        update: Update = {
            panel.box: gr.Column(visible=True),
            panel.about: about,
            panel.quote: panels.quote(conversation.messages[message_id].text, rating.value if rating else None),
            panel.reasons: panels.offered(self._reasons, rating),
            panel.saved: panels.saved(about, rating),
        }
        if not keep_comment:
            update[panel.comment] = (rating.comment if rating else None) or ""
        return update


def _said(value: object) -> str:
    """Return the text of a message on the page, which Gradio sends whole or in its parts."""
    return "".join(map(str, value)) if isinstance(value, list) else str(value)


def _is_outdated(
    rating: Rating, age: float, *, value: str | None, reasons: dict[str, bool] | None, comment: str | None
) -> bool:
    """Return whether a rating was given after what is sent again, `age` seconds old, and says something else.

    A page that stays sends again within a moment: then it is its own later click that came first.
    """
    if age < OUTDATED_SECONDS or rating.updated_at <= datetime.now(UTC) - timedelta(seconds=age):
        return False
    others = any((code in rating.reasons) != is_chosen for code, is_chosen in (reasons or {}).items())
    return others or value not in (None, rating.value or "") or comment not in (None, rating.comment or "")


def _about(conversation: Conversation, message_id: str) -> str:
    return f"{conversation.conversation_id} {message_id}"


def _is_meant(conversation: Conversation, message_id: str, said: str, clicked: str) -> bool:
    """Return whether a click on the message `clicked`, whose text was `said`, is one on this message.

    It may be the edit of the one that was clicked. Of a reply that is written, the page has the beginning.
    """
    message = conversation.messages.get(message_id)
    if message is None:
        return False
    text, seen = message.text.strip(), sanitize(said)[0].strip()
    if message.author_id is not None and message.replaces_id == clicked:
        return text == seen
    return clicked in ("", message_id) and (text or seen).startswith(seen)


def _rateable(conversation: Conversation, message_id: str) -> bool:
    message = conversation.messages[message_id]
    return message.role == "assistant" and bool(message.text)

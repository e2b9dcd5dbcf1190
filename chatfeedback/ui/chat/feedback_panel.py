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
from chatfeedback.domain.text import storable
from chatfeedback.domain.types import new_id
from chatfeedback.errors import ChatFeedbackError, Conflict, NotRateable
from chatfeedback.services.chat import ChatService
from chatfeedback.ui.chat import panel as panels
from chatfeedback.ui.chat import rendering
from chatfeedback.ui.chat.handlers import ChatHandlers
from chatfeedback.ui.chat.panel import Panel, Reason
from chatfeedback.ui.chat.rendering import Rendered
from chatfeedback.ui.chat.tab_state import Page
from chatfeedback.ui.chat.view import Components, Update, Updates, alert

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
        self, service: ChatService, chat: ChatHandlers, on: Components, panel: Panel, reasons: Sequence[Reason]
    ) -> None:
        self._service = service
        self._chat = chat
        self._on = on
        self._panel = panel
        self._reasons = tuple(reasons)

    async def like(
        self, drawn: Rendered, about: str, clicked: str | None, data: gr.LikeData, request: gr.Request
    ) -> Update:
        """A click on a thumb: stored, then painted as the store has it, and the panel opens for its reply.

        The page shows a click by itself, at once. Only the last one of a burst is painted, and after a moment: a
        further click may be on its way here, and the painting would take it back.
        """
        page, annotator_id = self._chat.page(request)
        drawn = self._chat.found(drawn, request)
        said: Update = {self._on.notice: ""}
        page.clicks = mine = page.clicks + 1
        try:
            value = rendering.wanted_value(data.liked)
            offered = await self._chat.offered(annotator_id, drawn, data.index)
            page.votes[clicked or offered] = value
            page.votes_in_flight += 1
            try:
                async with page.voting:
                    drawn, message_id = await self._clicked(
                        page, annotator_id, drawn, data.index, _said(data.value), clicked or ""
                    )
                    conversation = await self._rate(
                        page, annotator_id, drawn.conversation_id or "", message_id, value=value
                    )
            finally:
                page.votes_in_flight -= 1
                if not page.votes_in_flight:
                    page.votes.clear()
        except ChatFeedbackError as error:
            return self._refusal(error)
        await asyncio.sleep(QUIET_SECONDS)
        if page.clicks != mine or page.moved_on(drawn):
            return {self._on.notice: gr.skip()}
        said[self._on.chatbot] = self._thumbs(page, annotator_id, conversation, drawn)
        said[self._on.version] = page.painted
        is_open = about == _about(conversation, message_id)
        if message_id in drawn.ids and (is_open or conversation.ratings.get((message_id, annotator_id))):
            said.update(self._open(page, conversation, annotator_id, message_id, keep_comment=is_open))
        return said

    def _thumbs(self, page: Page, annotator_id: str, conversation: Conversation, drawn: Rendered) -> gr.Chatbot:
        return gr.Chatbot(feedback_value=rendering.feedback_values(conversation, drawn, annotator_id, page.votes))

    async def _clicked(
        self, page: Page, annotator_id: str, drawn: Rendered, index: object, said: str, clicked: str
    ) -> tuple[Rendered, str]:
        """Return the message that was clicked, by its id and its text on the page, and what was drawn then.

        Something else may have been drawn since, such as the reply that Retry has begun: then it is what the page
        showed. The page shows an edit before it is stored and drawn, and its click may be dealt with before the edit:
        then the click waits for it. Raises Conflict when no message is meant.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    another = page.next_painting
                    for candidate in (drawn, page.drawn or drawn):
                        conversation = await self._service.conversation(annotator_id, candidate.conversation_id or "")
                        message_id = candidate.message_id(index)
                        if _is_meant(conversation, message_id, said, clicked):
                            return candidate, message_id
                    if not page.acting and _is_meant(conversation, clicked, said, clicked):
                        return drawn, clicked
                    await another.wait()
        raise Conflict("This reply is another one by now; click again.")

    def _refusal(self, error: ChatFeedbackError, sentence: str = "") -> Update:
        """Why a click was refused; the page then asks for what is to be seen instead (`take_back`)."""
        return {self._on.notice: alert(sentence or str(error)), self._panel.refused: new_id()}

    async def take_back(self, drawn: Rendered, request: gr.Request) -> Updates:
        """Paints the thumbs as they are stored, after a click that was not; all that is stored, where nothing is known.

        The page shows a click without having been told to, and would take the thumbs that it was told of last for no
        news: they are painted without any first.
        """
        page, annotator_id = self._chat.page(request)
        drawn = self._chat.found(drawn, request)
        try:
            conversation = await self._service.conversation(annotator_id, drawn.conversation_id or "")
        except ChatFeedbackError:
            yield {self._on.notice: gr.skip()}  # the refusal is said already
            return
        yield {self._on.chatbot: gr.Chatbot(feedback_value=[])}
        if not drawn.lost:
            yield {self._on.chatbot: self._thumbs(page, annotator_id, conversation, drawn)}
            return
        async for update in self._chat.show_again(page, annotator_id, conversation, drawn.most):
            yield update

    async def select(
        self, drawn: Rendered, about: str, clicked: str | None, data: gr.SelectData, request: gr.Request
    ) -> Update:
        """A click on a message: the panel opens for it if it is a reply."""
        page, annotator_id = self._chat.page(request)
        drawn = self._chat.found(drawn, request)
        index = data.index[0] if isinstance(data.index, (list, tuple)) else data.index
        try:
            await self._chat.offered(annotator_id, drawn, index)
            drawn, message_id = await self._clicked(page, annotator_id, drawn, index, _said(data.value), clicked or "")
            conversation = await self._service.conversation(annotator_id, drawn.conversation_id or "")
        except ChatFeedbackError as error:
            return self._refusal(error)
        if about == _about(conversation, message_id) or not _rateable(conversation, message_id):
            return {self._on.notice: gr.skip()}
        return self._open(page, conversation, annotator_id, message_id)

    async def open_last(self, drawn: Rendered, request: gr.Request) -> Update:
        """Opens the panel for the last reply."""
        page, annotator_id = self._chat.page(request)
        drawn = self._chat.found(drawn, request)
        try:
            self._chat.must_know(drawn)
            conversation = await self._service.conversation(annotator_id, drawn.conversation_id or "")
            if not drawn.ids or not _rateable(conversation, drawn.ids[-1]):
                raise NotRateable("There is no reply to comment on yet.")
        except ChatFeedbackError as error:
            return self._refusal(error)
        return self._open(page, conversation, annotator_id, drawn.ids[-1])

    async def choose_reason(self, about: str, data: gr.SelectData, request: gr.Request) -> Update:
        """Store a click on a reason at once, and show the reasons that are stored if the page does not know them all.

        They are not painted otherwise: that could take back a click that is on its way.
        """
        page, annotator_id = self._chat.page(request)
        clicks = page.clicks
        if page.reasons is not None and page.panel_of == about:
            page.reasons = page.reasons | {data.value} if data.selected else page.reasons - {data.value}
        known = page.reasons
        said, conversation = await self._save(about, request, reasons={data.value: data.selected})
        has_gone_on = page.reasons is not known or page.panel_of != about or page.clicks != clicks
        if conversation is None or known is None or has_gone_on:
            return said
        rating = conversation.ratings.get((about.rpartition(" ")[2], annotator_id))
        stored = set(rating.reasons) if rating else set()
        if stored != known:
            page.reasons = stored
            said[self._panel.reasons] = panels.offered(self._reasons, rating)
        return said

    async def type_comment(self, about: str, comment: str, stamp: float, request: gr.Request) -> Update:
        """The comment changed: stored when nothing more was typed for a moment."""
        page, _annotator_id = self._chat.page(request)
        page.typed = max(page.typed, stamp)
        await asyncio.sleep(TYPING_PAUSE_SECONDS)
        if page.typed != stamp:
            return {self._panel.saved: gr.skip()}
        return (await self._save(about, request, comment=comment))[0]

    async def leave_comment(self, about: str, comment: str | None, stamp: float, request: gr.Request) -> Update:
        """Store what was typed into the box that is left. None if nothing was: then it may hold an old comment."""
        if comment is None:
            return {self._panel.saved: gr.skip()}
        page, _annotator_id = self._chat.page(request)
        page.typed = max(page.typed, stamp)
        return (await self._save(about, request, comment=comment))[0]

    async def close(self, about: str, comment: str | None, stamp: float, request: gr.Request) -> Update:
        """Closes the panel, its comment stored."""
        page, _annotator_id = self._chat.page(request)
        said = await self.leave_comment(about, comment, stamp, request)
        failed = self._on.notice in said
        return said if failed else {**said, **self._closed(page)}

    async def send_again(self, drawn: Rendered, about: str, data: gr.EventData, request: gr.Request) -> Update:
        """Store what an earlier page of this tab sent in vain, and show it; what cannot be stored is given back.

        The page sends the parts of the rating of one message that were not answered, and their age in seconds, or the
        text of an edit. What is older than a rating that was given elsewhere does not replace it.
        """
        page, annotator_id = self._chat.page(request)
        drawn = self._chat.found(drawn, request)
        parts = {name: getattr(data, name, None) for name in ("value", "reasons", "comment")}
        target, edited = str(getattr(data, "about", "")), getattr(data, "edit", None)
        conversation_id, _, message_id = target.partition(" ")
        said: Update = {}
        if edited:
            said = {self._on.notice: alert(EDIT_NOT_SAVED), **self._chat.offer(edited)}
        if all(part is None for part in parts.values()):
            return said or {self._on.notice: gr.skip()}
        try:
            before = await self._service.conversation(annotator_id, conversation_id)
            rating = before.ratings.get((message_id, annotator_id))
            if rating is not None and _is_outdated(rating, getattr(data, "age", 0), **parts):
                raise Conflict("You have changed it elsewhere since.")
            conversation = await self._rate(page, annotator_id, conversation_id, message_id, **parts)
        except ChatFeedbackError as error:
            text = f" Your comment was: “{parts['comment']}”" if parts["comment"] else ""
            if page.panel_of == target:
                said[self._panel.saved] = panels.unsaved(target, error, comment=bool(text))
            return {**said, **self._refusal(error, f"Your feedback was not saved. {error}{text}")}
        if drawn.conversation_id != conversation_id or message_id not in drawn.ids or page.moved_on(drawn):
            return said or {self._on.notice: gr.skip()}
        said[self._on.chatbot] = self._thumbs(page, annotator_id, conversation, drawn)
        said[self._on.version] = page.painted
        said |= self._open(page, conversation, annotator_id, message_id, keep_comment=page.panel_of == target)
        return said

    async def follow(self, drawn: Rendered, about: str, data: gr.EventData, request: gr.Request) -> Updates:
        """Repaint what another page has changed: thumbs and the open panel, or everything if messages changed too.

        Not while this page does something itself, and not when it has gone on meanwhile: it asks again.
        """
        page, annotator_id = self._chat.page(request)
        drawn, clicks, chosen = page.drawn or self._chat.found(drawn, request), page.clicks, page.reasons
        skip: Update = {self._on.notice: gr.skip()}
        if page.busy:
            yield skip
            return
        try:
            conversation = await self._service.conversation(annotator_id, drawn.conversation_id or "")
        except ChatFeedbackError:
            yield skip
            return
        if page.busy or page.moved_on(drawn) or (page.clicks, page.reasons) != (clicks, chosen):
            yield skip
            return
        panel = self._followed(page, conversation, annotator_id, drawn, about)
        if drawn.tree_version == conversation.tree_version:
            page.version = conversation.version
            thumbs = self._thumbs(page, annotator_id, conversation, drawn)
            yield {self._on.chatbot: thumbs, self._on.version: page.painted, **panel}
            return
        is_first = True
        async for update in self._chat.show_again(page, annotator_id, conversation, drawn.most):
            if is_first:
                page.follows()  # the rest is a reply, which is seen to grow
                update, is_first = {**panel, **update}, False
            yield update

    def _followed(
        self, page: Page, conversation: Conversation, annotator_id: str, drawn: Rendered, about: str
    ) -> Update:
        """Return what is new in the open panel; the page itself decides whether the comment is put into its box."""
        message_id = about.rpartition(" ")[2]
        is_open = message_id in drawn.ids and about == _about(conversation, message_id)
        if not is_open or page.panel_of not in ("", about):
            return {}
        rating = conversation.ratings.get((message_id, annotator_id))
        update = self._open(page, conversation, annotator_id, message_id, keep_comment=True)
        del update[self._panel.box], update[self._panel.about]
        return {**update, self._panel.saved: panels.saved(about, rating, with_comment=True)}

    def keep(self, drawn: Rendered, about: str, request: gr.Request) -> Update:
        """Close the panel when its reply is not on the screen any more, or a prompt was sent since it was opened.

        Offers it for the last reply.
        """
        page, _annotator_id = self._chat.page(request)
        offer = {self._panel.open_last: gr.Button(visible=drawn.rateable)}
        # A panel that is open for nothing is closed, or is just being opened by a click that came before this.
        stays = not about or (about.rpartition(" ")[2] in drawn.ids and not page.prompted)
        return offer if stays else {**offer, **self._closed(page)}

    def _closed(self, page: Page) -> Update:
        page.panel_of = ""
        return {self._panel.box: gr.Column(visible=False), self._panel.about: ""}

    async def _save(self, about: str, request: gr.Request, **change: Any) -> tuple[Update, Conversation | None]:
        """Store a part of a rating. Return what the panel says of it, and the conversation if it is stored."""
        page, annotator_id = self._chat.page(request)
        conversation_id, _, message_id = about.partition(" ")
        if not message_id:
            return {self._panel.saved: ""}, None
        try:
            conversation = await self._rate(page, annotator_id, conversation_id, message_id, **change)
        except ChatFeedbackError as error:
            refused = panels.unsaved(about, error, comment="comment" in change)
            return {self._on.notice: alert(str(error)), self._panel.saved: refused}, None
        rating = conversation.ratings.get((message_id, annotator_id))
        return {self._panel.saved: panels.saved(about, rating), self._on.version: page.painted}, conversation

    async def _rate(
        self, page: Page, annotator_id: str, conversation_id: str, message_id: str, **change: Any
    ) -> Conversation:
        """Rate a reply, and note that the page has done so itself and need not follow it."""
        before: list[int] = []
        conversation = await self._service.rate(
            annotator_id, conversation_id, message_id, decided_at=before.append, **change
        )
        if before:
            page.rated(conversation_id, before[-1], conversation.version)
        return conversation

    def _open(
        self,
        page: Page,
        conversation: Conversation,
        annotator_id: str,
        message_id: str,
        keep_comment: bool = False,
    ) -> Update:
        page.prompted = False
        page.panel_of = about = _about(conversation, message_id)
        rating = conversation.ratings.get((message_id, annotator_id))
        page.reasons = set(rating.reasons) if rating else set()
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
    text, seen = message.text.strip(), storable(said)[0].strip()
    if message.author_id is not None and message.replaces_id == clicked:
        return text == seen
    return clicked in ("", message_id) and (text or seen).startswith(seen)


def _rateable(conversation: Conversation, message_id: str) -> bool:
    message = conversation.messages[message_id]
    return message.role == "assistant" and bool(message.text)

"""Thumbs, and the panel for reasons and a comment on one reply.

Nothing waits for a Save button: a click on a thumb or a reason is stored at once, a comment when the typing pauses
or the box is left. Handlers set what is wanted and never toggle, so whatever comes twice changes nothing. Which
reply a comment belongs to travels with the comment itself: the page sends both from the same moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from chatfeedback.domain.conversation import Conversation, Rating
from chatfeedback.domain.decisions import storable
from chatfeedback.domain.events import new_id
from chatfeedback.errors import ChatFeedbackError, Conflict, NotRateable
from chatfeedback.service import ChatService
from chatfeedback.web import present
from chatfeedback.web.chat import ChatHandlers
from chatfeedback.web.pages import Page
from chatfeedback.web.present import Rendered
from chatfeedback.web.screen import Components, Update, Updates, alert, once

TYPING_PAUSE_SECONDS = 0.8
QUIET_SECONDS = 0.25
"""Without another click on a thumb, before the thumbs are painted."""
PATIENCE_SECONDS = 5.0
"""For which a click waits for the edit of the message that it is about."""
EDIT_NOT_SAVED = "Your edit was not saved, because your session had ended. Its text is under “Put back”."


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
    """Lays the panel out, closed."""
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
    stamp, typed = gr.Number(visible=False), gr.Button(visible="hidden", elem_id="feedback-typed")
    refused = gr.Textbox("", visible="hidden", container=False)
    tell = 'chatfeedback.unsaved.ready((said) => trigger("select", said));'
    unsaved = gr.HTML(visible="hidden", elem_id="feedback-unsaved", js_on_load=tell)
    return Panel(box, about, quote, reasons, comment, stamp, saved, refused, unsaved, typed, close, open_last)


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

    async def like(self, drawn: Rendered, about: str, data: gr.LikeData, request: gr.Request) -> Update:
        """A click on a thumb: stored, then painted as the store has it, and the panel opens for its reply.

        The page shows a click by itself, at once. Only the last one of a burst is painted, and after a moment: a
        further click may be on its way here, and the painting would take it back.
        """
        page, annotator_id = self._chat.page(request)
        drawn = self._chat.found(drawn, request)
        said: Update = {self._on.notice: ""}
        page.clicks = mine = page.clicks + 1
        try:
            value = present.wanted_value(data.liked)
            page.votes[await self._chat.offered(annotator_id, drawn, data.index)] = value
            page.votes_in_flight += 1
            try:
                async with page.voting:
                    drawn, message_id = await self._clicked(page, annotator_id, drawn, data.index, _said(data.value))
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
        if is_open or conversation.ratings.get((message_id, annotator_id)):
            said.update(self._open(page, conversation, annotator_id, message_id, keep_comment=is_open))
        return said

    def _thumbs(self, page: Page, annotator_id: str, conversation: Conversation, drawn: Rendered) -> gr.Chatbot:
        return gr.Chatbot(feedback_value=present.feedback_values(conversation, drawn, annotator_id, page.votes))

    async def _clicked(
        self, page: Page, annotator_id: str, drawn: Rendered, index: object, said: str
    ) -> tuple[Rendered, str]:
        """Return the message that was clicked, by its text on the page, and what was drawn then.

        The page shows an edit before it is stored and drawn, and its click may be dealt with before the edit: then the
        click waits for it. Raises Conflict when nothing that is drawn has this text.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    another = page.next_painting
                    for candidate in (drawn, page.drawn or drawn):
                        if (message_id := await self._with_text(annotator_id, candidate, index, said)) is not None:
                            return candidate, message_id
                    await another.wait()
        raise Conflict("This reply is another one by now; click again.")

    async def _with_text(self, annotator_id: str, drawn: Rendered, index: object, said: str) -> str | None:
        """Return the message at this index if it has this text; of one that is written, the page has the beginning."""
        conversation = await self._service.conversation(annotator_id, drawn.conversation_id or "")
        message_id = drawn.message_id(index)
        text = conversation.messages[message_id].text.strip()
        seen = storable(said)[0].strip()
        return message_id if (text or seen).startswith(seen) else None

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

    async def select(self, drawn: Rendered, about: str, data: gr.SelectData, request: gr.Request) -> Update:
        """A click on a message: the panel opens for it if it is a reply."""
        page, annotator_id = self._chat.page(request)
        drawn = self._chat.found(drawn, request)
        index = data.index[0] if isinstance(data.index, (list, tuple)) else data.index
        try:
            await self._chat.offered(annotator_id, drawn, index)
            drawn, message_id = await self._clicked(page, annotator_id, drawn, index, _said(data.value))
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
        """Store a click on a reason at once. The others are as they are stored: the page may not know of all."""
        return await self._save(about, request, reasons={data.value: data.selected})

    async def type_comment(self, about: str, comment: str, stamp: float, request: gr.Request) -> Update:
        """The comment changed: stored when nothing more was typed for a moment."""
        page, _annotator_id = self._chat.page(request)
        page.typed = max(page.typed, stamp)
        await asyncio.sleep(TYPING_PAUSE_SECONDS)
        if page.typed != stamp:
            return {self._panel.saved: gr.skip()}
        return await self._save(about, request, comment=comment)

    async def leave_comment(self, about: str, comment: str | None, stamp: float, request: gr.Request) -> Update:
        """Store what was typed into the box that is left. None if nothing was: then it may hold an old comment."""
        if comment is None:
            return {self._panel.saved: gr.skip()}
        page, _annotator_id = self._chat.page(request)
        page.typed = max(page.typed, stamp)
        return await self._save(about, request, comment=comment)

    async def close(self, about: str, comment: str | None, stamp: float, request: gr.Request) -> Update:
        """Closes the panel, its comment stored."""
        said = await self.leave_comment(about, comment, stamp, request)
        failed = self._on.notice in said
        return said if failed else {**said, **self._closed()}

    async def send_again(self, drawn: Rendered, about: str, data: gr.EventData, request: gr.Request) -> Update:
        """Store what an earlier page of this tab sent in vain, and show it; what cannot be stored is given back.

        The page sends the parts of the rating of one message that were not answered, or the text of an edit.
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
            conversation = await self._rate(page, annotator_id, conversation_id, message_id, **parts)
        except ChatFeedbackError as error:
            text = f" Your comment was: “{parts['comment']}”" if parts["comment"] else ""
            return {**said, **self._refusal(error, f"Your feedback was not saved. {error}{text}")}
        if drawn.conversation_id != conversation_id or message_id not in drawn.ids or page.moved_on(drawn):
            return said or {self._on.notice: gr.skip()}
        said[self._on.chatbot] = self._thumbs(page, annotator_id, conversation, drawn)
        said[self._on.version] = page.painted
        said |= self._open(page, conversation, annotator_id, message_id, keep_comment=about == target)
        return said

    async def follow(self, drawn: Rendered, about: str, data: gr.EventData, request: gr.Request) -> Updates:
        """Repaint what another page has changed: thumbs and the open panel, or everything if messages changed too.

        Not while this page does something itself: it asks again.
        """
        page, annotator_id = self._chat.page(request)
        drawn = page.drawn or self._chat.found(drawn, request)
        skip: Update = {self._on.notice: gr.skip()}
        if page.acting or page.writing or page.sending is not None or page.votes_in_flight:
            yield skip
            return
        try:
            conversation = await self._service.conversation(annotator_id, drawn.conversation_id or "")
        except ChatFeedbackError:
            yield skip
            return
        panel: Update = {}
        message_id = about.rpartition(" ")[2]
        if message_id in drawn.ids and about == _about(conversation, message_id):
            panel = self._open(page, conversation, annotator_id, message_id, bool(getattr(data, "keep_comment", True)))
            del panel[self._panel.box], panel[self._panel.about]
        if drawn.tree_version == conversation.tree_version:
            page.version = conversation.version
            thumbs = self._thumbs(page, annotator_id, conversation, drawn)
            yield {self._on.chatbot: thumbs, self._on.version: page.painted, **panel}
            return
        async for update in self._chat.show_again(page, annotator_id, conversation, drawn.most):
            yield {**panel, **update}
            panel = {}

    def keep(self, drawn: Rendered, about: str, request: gr.Request) -> Update:
        """Close the panel when its reply is not on the screen any more, or a prompt was sent since it was opened.

        Offers it for the last reply.
        """
        page, _annotator_id = self._chat.page(request)
        offer = {self._panel.open_last: gr.Button(visible=drawn.rateable)}
        # A panel that is open for nothing is closed, or is just being opened by a click that came before this.
        stays = not about or (about.rpartition(" ")[2] in drawn.ids and not page.prompted)
        return offer if stays else {**offer, **self._closed()}

    def _closed(self) -> Update:
        return {self._panel.box: gr.Column(visible=False), self._panel.about: ""}

    async def _save(self, about: str, request: gr.Request, **change: Any) -> Update:
        page, annotator_id = self._chat.page(request)
        conversation_id, _, message_id = about.partition(" ")
        if not message_id:
            return {self._panel.saved: ""}
        try:
            conversation = await self._rate(page, annotator_id, conversation_id, message_id, **change)
        except ChatFeedbackError as error:
            return {self._on.notice: alert(str(error)), self._panel.saved: _unsaved(about, error)}
        rating = conversation.ratings.get((message_id, annotator_id))
        return {self._panel.saved: _saved(about, rating), self._on.version: page.painted}

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
        rating = conversation.ratings.get((message_id, annotator_id))
        value = rating.value if rating else None
        panel = self._panel
        offered = [
            (reason.label, reason.code)
            for reason in self._reasons
            if value is None or reason.polarity in ("any", value)
        ]
        # Codes that the settings do not know any more stay until somebody takes them away.
        known = {reason.code for reason in self._reasons}
        offered += [(code, code) for code in (rating.reasons if rating else ()) if code not in known]
        chosen = [code for _label, code in offered if rating and code in rating.reasons]
        update: Update = {
            panel.box: gr.Column(visible=True),
            panel.about: _about(conversation, message_id),
            panel.quote: _quote(conversation.messages[message_id].text, value),
            panel.reasons: gr.CheckboxGroup(choices=offered, value=chosen, visible=bool(offered)),
            panel.saved: _saved(_about(conversation, message_id), rating),
        }
        if not keep_comment:
            update[panel.comment] = (rating.comment if rating else None) or ""
        return update


def _said(value: object) -> str:
    """Return the text of a message on the page, which Gradio sends whole or in its parts."""
    return "".join(map(str, value)) if isinstance(value, list) else str(value)


def _about(conversation: Conversation, message_id: str) -> str:
    return f"{conversation.conversation_id} {message_id}"


def _rateable(conversation: Conversation, message_id: str) -> bool:
    message = conversation.messages[message_id]
    return message.role == "assistant" and bool(message.text)


def _quote(text: str, value: str | None) -> str:
    said = {"like": "You like", "dislike": "You dislike", None: "Feedback on"}[value]
    quoted = f"<q>{html.escape(present.quoted(text))}</q>" if text.strip() else "the reply that is being written"
    return f"<strong>{said}</strong> {quoted}"


def _saved(about: str, rating: Rating | None) -> str:
    """Return what the panel says of a reply; the page says "Saving…" in the same place (assets/unsaved.js)."""
    return _line("status", about, "✓ Saved" if rating else "")


def _unsaved(about: str, error: ChatFeedbackError) -> str:
    return _line("alert", about, f"Not saved. {error}")


def _line(role: str, about: str, text: str) -> str:
    return f'<span role="{role}" data-about="{html.escape(about)}" {once()}>{html.escape(text)}</span>'

"""Handlers of the thumbs and of the feedback panel for reasons and a comment on one reply.

There is no Save button: a click on a thumb or a reason is stored at once, a comment when the typing pauses or the box
loses the focus. Handlers are idempotent: they set a value and never toggle. The page sends a comment together with its
target, both from the same moment.
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
    MESSAGE,
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
"""Time without typing before a comment is stored (debounce)."""
QUIET_SECONDS = 0.25
"""Time without another click on a thumb before the thumbs are rendered (debounce)."""
CLICK_TIMEOUT_SECONDS = 5.0
"""Longest wait of a click for the edit that it is about."""
OUTDATED_SECONDS = 60.0
"""Age from which feedback that is sent again does not replace newer feedback from elsewhere."""
EDIT_NOT_SAVED = "Your edit was not saved, because your session had ended. Its text is under “Put back”."


async def typing_pause() -> None:
    """Wait for the time in which a person may go on typing."""
    await asyncio.sleep(TYPING_PAUSE_SECONDS)


class FeedbackHandlers:
    """Handlers of the thumbs and the feedback panel."""

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
        self, view: ViewState, target: str, clicked_id: str | None, data: gr.LikeData, request: gr.Request
    ) -> Update:
        """Store a click on a thumb, render the thumbs as stored, and open the panel for the reply.

        The page itself shows a click at once. Only the last click of a burst is rendered, after a moment: another click
        may be on its way, and the update would take it back.
        """
        tab, annotator_id = self._chat.current_tab(request)
        view = self._chat.resolve_view(view, request)
        update: Update = {self._components.notice: ""}
        tab.vote_clicks = click_number = tab.vote_clicks + 1
        try:
            value = rendering.rating_value(data.liked)
            indexed_id = await self._chat.message_at(annotator_id, view, data.index)
            tab.pending_votes[clicked_id or indexed_id] = value
            tab.votes_in_flight += 1
            try:
                async with tab.vote_lock:
                    view, message_id = await self._resolve_click(
                        tab, annotator_id, view, data.index, _message_text(data.value), clicked_id or ""
                    )
                    conversation = await self._rate(
                        tab, annotator_id, view.conversation_id or "", message_id, value=value
                    )
            finally:
                tab.votes_in_flight -= 1
                if not tab.votes_in_flight:
                    tab.pending_votes.clear()
        except ChatFeedbackError as error:
            return self._refusal(tab, error)
        await asyncio.sleep(QUIET_SECONDS)
        if tab.vote_clicks != click_number or tab.has_moved_on(view):
            return {self._components.notice: gr.skip()}
        update[self._components.chatbot] = self._thumbs(tab, annotator_id, conversation, view)
        update[self._components.bridge] = tab.tell(version=tab.rendered_version)
        is_open = target == _target_of(conversation, message_id)
        if message_id in view.ids and (is_open or conversation.ratings.get((message_id, annotator_id))):
            update.update(self._open_panel(tab, conversation, annotator_id, message_id, keep_comment=is_open))
        return update

    def _thumbs(self, tab: TabState, annotator_id: str, conversation: Conversation, view: ViewState) -> gr.Chatbot:
        return gr.Chatbot(feedback_value=rendering.feedback_values(conversation, view, annotator_id, tab.pending_votes))

    async def _resolve_click(
        self, tab: TabState, annotator_id: str, view: ViewState, index: object, text: str, clicked_id: str
    ) -> tuple[ViewState, str]:
        """Return the view that was rendered at the time of a click, and the id of the clicked message.

        The id and the text on the page identify the message. Another message may have been rendered at the index since,
        such as a new reply after Retry: then the message that the page showed counts. The page shows an edit before it
        is stored and rendered, so a click may be handled before its edit: then it waits. Raises Conflict if no message
        matches.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLICK_TIMEOUT_SECONDS):
                while True:
                    next_render = tab.next_render
                    for candidate in (view, tab.view or view):
                        conversation = await self._service.conversation(annotator_id, candidate.conversation_id or "")
                        message_id = candidate.message_id(index)
                        if _matches_click(conversation, message_id, text, clicked_id):
                            return candidate, message_id
                    if not tab.is_acting and _matches_click(conversation, clicked_id, text, clicked_id):
                        return view, clicked_id
                    await next_render.wait()
        raise Conflict("This reply has been replaced; click again.")

    def _refusal(self, tab: TabState, error: ChatFeedbackError, sentence: str = "") -> Update:
        """Return the notice about a refused click; the page then calls `take_back`."""
        return {
            self._components.notice: alert(sentence or str(error)),
            self._components.bridge: tab.tell(refusal=new_id()),
        }

    @action(Permission.CHAT, STATE, event=MESSAGE)
    async def take_back(self, view: ViewState, request: gr.Request) -> Updates:
        """Render the stored thumbs and texts after a refused click; the whole conversation if the view is lost.

        The page shows a click or an edit before the server answers, and ignores an update with the thumbs that it
        received last. So the thumbs are first rendered empty.
        """
        tab, annotator_id = self._chat.current_tab(request)
        view = self._chat.resolve_view(view, request)
        try:
            conversation = await self._service.conversation(annotator_id, view.conversation_id or "")
        except ChatFeedbackError:
            yield {self._components.notice: gr.skip()}  # the refusal is already on the page
            return
        yield {self._components.chatbot: gr.Chatbot(feedback_value=[])}
        if view.is_lost:
            async for update in self._chat.rerender(tab, annotator_id, conversation, view.limit):
                yield update
        elif tab.is_writing:  # the stream of the reply renders the texts
            yield {self._components.chatbot: self._thumbs(tab, annotator_id, conversation, view)}
        else:
            yield self._chat.messages_update(tab, annotator_id, conversation, view)

    @action(Permission.CHAT, STATE, TEXT, TEXT, event=Shape(MessageSelected))
    async def select(
        self, view: ViewState, target: str, clicked_id: str | None, data: gr.SelectData, request: gr.Request
    ) -> Update:
        """Open the panel for a clicked message if it is a reply."""
        tab, annotator_id = self._chat.current_tab(request)
        view = self._chat.resolve_view(view, request)
        index = data.index[0] if isinstance(data.index, (list, tuple)) else data.index
        try:
            await self._chat.message_at(annotator_id, view, index)
            text = _message_text(data.value)
            view, message_id = await self._resolve_click(tab, annotator_id, view, index, text, clicked_id or "")
            conversation = await self._service.conversation(annotator_id, view.conversation_id or "")
        except ChatFeedbackError as error:
            return self._refusal(tab, error)
        if target == _target_of(conversation, message_id) or not _is_rateable(conversation, message_id):
            return {self._components.notice: gr.skip()}
        return self._open_panel(tab, conversation, annotator_id, message_id)

    @action(Permission.CHAT, STATE)
    async def open_last(self, view: ViewState, request: gr.Request) -> Update:
        """Open the panel for the last reply."""
        tab, annotator_id = self._chat.current_tab(request)
        view = self._chat.resolve_view(view, request)
        try:
            self._chat.require_known_view(view)
            conversation = await self._service.conversation(annotator_id, view.conversation_id or "")
            if not view.ids or not _is_rateable(conversation, view.ids[-1]):
                raise NotRateable("There is no reply to comment on yet.")
        except ChatFeedbackError as error:
            return self._refusal(tab, error)
        return self._open_panel(tab, conversation, annotator_id, view.ids[-1])

    @action(Permission.CHAT, TEXT, event=Shape(ReasonSelected))
    async def choose_reason(self, target: str, data: gr.SelectData, request: gr.Request) -> Update:
        """Store a click on a reason at once; render the stored reasons only if they differ from those on the page.

        Otherwise an update could take back a click that is on its way.
        """
        tab, annotator_id = self._chat.current_tab(request)
        vote_clicks = tab.vote_clicks
        if tab.reasons is not None and tab.panel_target == target:
            tab.reasons = tab.reasons | {data.value} if data.selected else tab.reasons - {data.value}
        shown = tab.reasons
        update, conversation = await self._save(target, request, reasons={data.value: data.selected})
        has_gone_on = tab.reasons is not shown or tab.panel_target != target or tab.vote_clicks != vote_clicks
        if conversation is None or shown is None or has_gone_on:
            return update
        rating = conversation.ratings.get((target.rpartition(" ")[2], annotator_id))
        stored = set(rating.reasons) if rating else set()
        if stored != shown:
            tab.reasons = stored
            update[self._panel.reasons] = panels.reason_choices(self._reasons, rating)
        return update

    @action(Permission.CHAT, TEXT, TEXT, NUMBER, event=MESSAGE)
    async def type_comment(self, target: str, comment: str, stamp: float, request: gr.Request) -> Update:
        """Store a comment if nothing more is typed for a moment (debounce)."""
        tab, _annotator_id = self._chat.current_tab(request)
        tab.comment_stamp = max(tab.comment_stamp, stamp)
        await typing_pause()
        if tab.comment_stamp != stamp:
            return {self._panel.saved: gr.skip()}
        return (await self._save(target, request, comment=comment))[0]

    @action(Permission.CHAT, TEXT, TEXT, NUMBER)
    async def leave_comment(self, target: str, comment: str | None, stamp: float, request: gr.Request) -> Update:
        """Store the comment when its box loses the focus; None if nothing was typed, as the box may hold an old one."""
        if comment is None:
            return {self._panel.saved: gr.skip()}
        tab, _annotator_id = self._chat.current_tab(request)
        tab.comment_stamp = max(tab.comment_stamp, stamp)
        return (await self._save(target, request, comment=comment))[0]

    @action(Permission.CHAT, TEXT, TEXT, NUMBER)
    async def close(self, target: str, comment: str | None, stamp: float, request: gr.Request) -> Update:
        """Store the comment and close the panel; it stays open if the comment is refused."""
        tab, _annotator_id = self._chat.current_tab(request)
        update = await self.leave_comment(target, comment, stamp, request)
        is_refused = self._components.notice in update
        return update if is_refused else {**update, **self._close_panel(tab)}

    @action(Permission.CHAT, STATE, TEXT, event=Shape(UnsavedFeedback))
    async def send_again(self, view: ViewState, panel_target: str, data: gr.EventData, request: gr.Request) -> Update:
        """Store and render feedback that the page sent earlier without an answer; return refused text to the person.

        The page sends the unanswered parts of the rating of one message and their age in seconds, or the text of an
        edit. Parts that are older than a rating from elsewhere do not replace it.
        """
        tab, annotator_id = self._chat.current_tab(request)
        view = self._chat.resolve_view(view, request)
        parts = {name: getattr(data, name, None) for name in ("value", "reasons", "comment")}
        target, edited = str(getattr(data, "about", "")), getattr(data, "edit", None)
        conversation_id, _, message_id = target.partition(" ")
        update: Update = {}
        if edited:
            update = {self._components.notice: alert(EDIT_NOT_SAVED), **self._chat.offer(edited)}
        if all(part is None for part in parts.values()):
            return update or {self._components.notice: gr.skip()}
        try:
            before = await self._service.conversation(annotator_id, conversation_id)
            rating = before.ratings.get((message_id, annotator_id))
            if rating is not None and _is_outdated(rating, getattr(data, "age", 0), **parts):
                raise Conflict("You have changed it elsewhere since.")
            conversation = await self._rate(tab, annotator_id, conversation_id, message_id, **parts)
        except ChatFeedbackError as error:
            text = f" Your comment was: “{parts['comment']}”" if parts["comment"] else ""
            if tab.panel_target == target:
                update[self._panel.saved] = panels.unsaved_line(target, error, is_comment=bool(text))
            return {**update, **self._refusal(tab, error, f"Your feedback was not saved. {error}{text}")}
        if view.conversation_id != conversation_id or message_id not in view.ids or tab.has_moved_on(view):
            return update or {self._components.notice: gr.skip()}
        update[self._components.chatbot] = self._thumbs(tab, annotator_id, conversation, view)
        update[self._components.bridge] = tab.tell(version=tab.rendered_version)
        is_open = tab.panel_target == target
        update |= self._open_panel(tab, conversation, annotator_id, message_id, keep_comment=is_open)
        return update

    @action(Permission.CHAT, STATE, TEXT, event=Shape(NewerVersion))
    async def follow(self, view: ViewState, target: str, data: gr.EventData, request: gr.Request) -> Updates:
        """Render the changes by another page: thumbs and the open panel, or everything if messages changed too.

        Nothing is rendered while a handler of this page runs, or if the page has moved on meanwhile: it asks again.
        """
        tab, annotator_id = self._chat.current_tab(request)
        view = tab.view or self._chat.resolve_view(view, request)
        vote_clicks, reasons = tab.vote_clicks, tab.reasons
        no_change: Update = {self._components.notice: gr.skip()}
        if tab.busy:
            yield no_change
            return
        try:
            conversation = await self._service.conversation(annotator_id, view.conversation_id or "")
        except ChatFeedbackError:
            yield no_change
            return
        if tab.busy or tab.has_moved_on(view) or (tab.vote_clicks, tab.reasons) != (vote_clicks, reasons):
            yield no_change
            return
        panel_update = self._followed_panel(tab, conversation, annotator_id, view, target)
        if view.tree_version == conversation.tree_version:
            tab.version = conversation.version
            thumbs = self._thumbs(tab, annotator_id, conversation, view)
            bridge_value = tab.tell(version=tab.rendered_version)
            yield {self._components.chatbot: thumbs, self._components.bridge: bridge_value, **panel_update}
            return
        is_first = True
        async for update in self._chat.rerender(tab, annotator_id, conversation, view.limit):
            if is_first:
                tab.mark_followed()  # later updates are only a growing reply
                update, is_first = {**panel_update, **update}, False
            yield update

    def _followed_panel(
        self, tab: TabState, conversation: Conversation, annotator_id: str, view: ViewState, target: str
    ) -> Update:
        """Return the changes of the open panel; the page itself decides about putting the comment into its box."""
        message_id = target.rpartition(" ")[2]
        is_open = message_id in view.ids and target == _target_of(conversation, message_id)
        if not is_open or tab.panel_target not in ("", target):
            return {}
        rating = conversation.ratings.get((message_id, annotator_id))
        update = self._open_panel(tab, conversation, annotator_id, message_id, keep_comment=True)
        del update[self._panel.column], update[self._panel.target]
        return {**update, self._panel.saved: panels.saved_line(target, rating, with_comment=True)}

    @action(Permission.CHAT, STATE, TEXT)
    def keep(self, view: ViewState, target: str, request: gr.Request) -> Update:
        """Close the panel if its reply left the screen or a prompt was sent since; offer it for the last reply."""
        tab, _annotator_id = self._chat.current_tab(request)
        update = {self._panel.open_last: gr.Button(visible=view.rateable)}
        # Without a target the panel is closed, or a click before this call is about to open it.
        stays = not target or (target.rpartition(" ")[2] in view.ids and not tab.prompted_since_panel)
        return update if stays else {**update, **self._close_panel(tab)}

    def _close_panel(self, tab: TabState) -> Update:
        tab.panel_target = ""
        return {self._panel.column: gr.Column(visible=False), self._panel.target: ""}

    async def _save(self, target: str, request: gr.Request, **change: Any) -> tuple[Update, Conversation | None]:
        """Store a part of a rating. Return the line for the panel, and the conversation if the part is stored."""
        tab, annotator_id = self._chat.current_tab(request)
        conversation_id, _, message_id = target.partition(" ")
        if not message_id:
            return {self._panel.saved: ""}, None
        try:
            conversation = await self._rate(tab, annotator_id, conversation_id, message_id, **change)
        except ChatFeedbackError as error:
            line = panels.unsaved_line(target, error, is_comment="comment" in change)
            return {self._components.notice: alert(str(error)), self._panel.saved: line}, None
        rating = conversation.ratings.get((message_id, annotator_id))
        return {
            self._panel.saved: panels.saved_line(target, rating),
            self._components.bridge: tab.tell(version=tab.rendered_version),
        }, conversation

    async def _rate(
        self, tab: TabState, annotator_id: str, conversation_id: str, message_id: str, **change: Any
    ) -> Conversation:
        """Rate a reply; advance the tab's version, so that the page does not follow its own rating."""
        versions_before: list[int] = []
        conversation = await self._service.feedback.rate(
            annotator_id, conversation_id, message_id, on_decide=versions_before.append, **change
        )
        if versions_before:
            tab.advance_version(conversation_id, versions_before[-1], conversation.version)
        return conversation

    def _open_panel(
        self,
        tab: TabState,
        conversation: Conversation,
        annotator_id: str,
        message_id: str,
        keep_comment: bool = False,
    ) -> Update:
        tab.prompted_since_panel = False
        tab.panel_target = target = _target_of(conversation, message_id)
        rating = conversation.ratings.get((message_id, annotator_id))
        tab.reasons = set(rating.reasons) if rating else set()
        panel = self._panel
        update: Update = {
            panel.column: gr.Column(visible=True),
            panel.target: target,
            panel.quote: panels.quote_line(conversation.messages[message_id].text, rating.value if rating else None),
            panel.reasons: panels.reason_choices(self._reasons, rating),
            panel.saved: panels.saved_line(target, rating),
        }
        if not keep_comment:
            update[panel.comment] = (rating.comment if rating else None) or ""
        return update


def _message_text(value: object) -> str:
    """Return the text of a message on the page, which Gradio sends whole or in parts."""
    return "".join(map(str, value)) if isinstance(value, list) else str(value)


def _is_outdated(
    rating: Rating, age: float, *, value: str | None, reasons: dict[str, bool] | None, comment: str | None
) -> bool:
    """Return True if a stored rating is newer than feedback that is sent again, and differs from it.

    `age`: of the feedback, in seconds. A page that is still open sends again within a moment: then the stored rating is
    a later click of its own, which arrived first.
    """
    if age < OUTDATED_SECONDS or rating.updated_at <= datetime.now(UTC) - timedelta(seconds=age):
        return False
    has_other_reasons = any((code in rating.reasons) != is_selected for code, is_selected in (reasons or {}).items())
    return has_other_reasons or value not in (None, rating.value or "") or comment not in (None, rating.comment or "")


def _target_of(conversation: Conversation, message_id: str) -> str:
    return f"{conversation.conversation_id} {message_id}"


def _matches_click(conversation: Conversation, message_id: str, clicked_text: str, clicked_id: str) -> bool:
    """Return True if a click on the message `clicked_id`, shown as `clicked_text`, is about `message_id`.

    It may be the edit of the clicked message. Of a running reply, the page has the beginning.
    """
    message = conversation.messages.get(message_id)
    if message is None:
        return False
    text, shown_text = message.text.strip(), sanitize(clicked_text)[0].strip()
    if message.author_id is not None and message.replaces_id == clicked_id:
        return text == shown_text
    return clicked_id in ("", message_id) and (text or shown_text).startswith(shown_text)


def _is_rateable(conversation: Conversation, message_id: str) -> bool:
    message = conversation.messages[message_id]
    return message.role == "assistant" and bool(message.text)

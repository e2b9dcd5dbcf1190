"""The Chat tab: its layout, and one handler for each thing that a person can do.

A handler finds out who asks, takes what was drawn from `gr.State`, calls the service, and lets `Screen` paint what
the store says. The chatbot's own value is never an input. A refusal is one sentence above the prompt, and nothing
that was typed is lost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import gradio as gr

from chatfeedback.domain import prompts
from chatfeedback.domain.conversation.decide import CHANGED_ELSEWHERE
from chatfeedback.domain.conversation.events import UNASSIGNED
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.roles import Permission
from chatfeedback.errors import ChatFeedbackError, Conflict, InputError, NotAllowed, NotFound, NotOffered, ReplyRunning
from chatfeedback.services.assignments import Assignments
from chatfeedback.services.chat import NEW_CONVERSATION, NOT_OFFERED, ChatService
from chatfeedback.ui.account import who
from chatfeedback.ui.chat import rendering
from chatfeedback.ui.chat.rendering import Rendered
from chatfeedback.ui.chat.tab_state import LISTED_STEP, Page, Pages, Painting
from chatfeedback.ui.chat.view import Components, Screen, Update, Updates, alert

Act = Callable[[str, Rendered], Awaitable[Conversation]]
EARLIER_STEP = 50


class ChatHandlers:
    """What happens when something on the Chat tab is used."""

    def __init__(
        self,
        service: ChatService,
        screen: Screen,
        on: Components,
        pages: Pages,
        assignments: Assignments,
        most: int,
    ) -> None:
        self._service = service
        self._assignments = assignments
        self._screen = screen
        self._on = on
        self._pages = pages
        self._most = most

    def page(self, request: gr.Request) -> tuple[Page, str]:
        """The page that a request came from, and its annotator. Raises NotAllowed for somebody who may not chat."""
        person = who(request)
        if not person.may(Permission.CHAT):
            raise NotAllowed("Your role does not allow this.")
        return self._pages.of(person.annotator_id, str(request.session_hash)), person.annotator_id

    @staticmethod
    def found(drawn: Rendered, request: gr.Request) -> Rendered:
        """What is drawn on the page; `gr.State` is empty after a restart of the server, the address is not."""
        return drawn.found(request.query_params.get("conversation"))

    @staticmethod
    def must_know(drawn: Rendered) -> None:
        """Raises Conflict for a page of which only the address is known."""
        if drawn.lost:
            raise Conflict("The server was started again since this page was drawn; here is the newest state.")

    async def offered(self, annotator_id: str, drawn: Rendered, index: object) -> str:
        """The message at an index that a page sent.

        Raises Conflict (`must_know`), and NotOffered, which is noted, when nothing was drawn there.
        """
        self.must_know(drawn)
        try:
            return drawn.message_id(index)
        except NotOffered:
            await self._service.refuse(annotator_id, NOT_OFFERED)
            raise

    async def load(self, request: gr.Request) -> Updates:
        """Draws the conversation that the address names; nothing for somebody who may not chat.

        Who is quick can send a prompt before the page asks what to draw: then the prompt stays.
        """
        if not who(request).may(Permission.CHAT):
            yield {self._on.notice: gr.skip()}
            return
        page, annotator_id = self.page(request)
        is_first, page.loaded = not page.loaded, True
        if is_first and (page.acting or page.sending is not None or page.drawn is not None):
            yield await self._screen.listing(page, annotator_id)
            return
        wanted = request.query_params.get("conversation")
        async with page.painting() as painting:
            if not wanted:
                new = self._screen.draw_new(page, self._most)
                with self._refusals() as refused:
                    self._assignments.of(request.query_params)
                    refused.clear()
                yield {**new, **refused, **await self._screen.listing(page, annotator_id)}
                return
            try:
                conversation = await self._service.conversation(annotator_id, wanted)
            except ChatFeedbackError as error:
                yield {
                    **self._screen.draw_new(page, self._most),
                    self._on.notice: alert(str(error)),
                    **await self._screen.listing(page, annotator_id),
                }
                return
            async for update in self._show_anew(page, painting, annotator_id, conversation):
                yield update

    async def unload(self, request: gr.Request) -> None:
        """The page was closed."""
        self._pages.forget(who(request).annotator_id, str(request.session_hash))

    async def send(
        self, text: str, drawn: Rendered, model: str | None, prompt_id: str | None, request: gr.Request
    ) -> Updates:
        """Sends the prompt and streams the reply; of a prompt that was sent before, what came of it.

        Another prompt is refused while the page follows a reply. `prompt_id`: made by the page (assets/page.js).
        Without a valid one, a prompt is never a repeat.
        """
        page, annotator_id = self.page(request)
        sent_id = prompts.page_id(prompt_id) or prompts.new_page_id()
        if not await self._may_send(page, annotator_id, page.drawn or self.found(drawn, request), sent_id):
            page.hurried = True
            yield {self._on.notice: alert(str(ReplyRunning()))}
            return
        page.sending = sent_id
        consent_version = who(request).consent_version

        async def act(annotator_id: str, drawn: Rendered) -> Conversation:
            is_new = drawn.conversation_id is None
            try:
                return await self._service.send(
                    annotator_id,
                    drawn.conversation_id,
                    text,
                    model=model,
                    seen=NEW_CONVERSATION if is_new else drawn.tree_version,
                    consent_version=consent_version,
                    assignment=self._assignments.of(request.query_params) if is_new else UNASSIGNED,
                    prompt_id=sent_id,
                    viewed_id=drawn.viewed_id,
                )
            except Conflict:
                self.must_know(drawn)
                raise

        try:
            async for update in self._act(act, drawn, request, sent=text):
                yield update
        finally:
            page.sending = None

    async def _may_send(self, page: Page, annotator_id: str, drawn: Rendered, prompt_id: str) -> bool:
        """Return False for another prompt than the one that is on its way or being answered."""
        if page.sending is not None:
            return page.sending == prompt_id
        if not page.writing:
            return True
        try:
            repeated = await self._service.first_result(annotator_id, drawn.conversation_id, prompt_id)
        except ChatFeedbackError:
            return True  # whatever is wrong, it is said when the prompt is sent
        return repeated is not None or not page.writing

    async def retry(self, drawn: Rendered, model: str | None, request: gr.Request) -> Updates:
        """Streams another reply beside the last one."""

        async def act(annotator_id: str, drawn: Rendered) -> Conversation:
            last = drawn.message_id(len(drawn.ids) - 1)
            return await self._service.retry(
                annotator_id, _open(drawn), last, model=model, viewed_id=drawn.viewed_id, seen=drawn.tree_version
            )

        async for update in self._act(act, drawn, request, note=rendering.about_retry):
            yield update

    async def edit(self, drawn: Rendered, model: str | None, data: gr.EditData, request: gr.Request) -> Updates:
        """Stores a new version of a prompt or a reply."""

        async def act(annotator_id: str, drawn: Rendered) -> Conversation:
            return await self._service.edit(
                annotator_id,
                _open(drawn),
                await self.offered(annotator_id, drawn, data.index),
                str(data.value),
                model=model,
                viewed_id=drawn.viewed_id,
                seen=drawn.tree_version,
            )

        async for update in self._act(act, drawn, request, text=str(data.value)):
            yield update

    async def undo(self, text: str, drawn: Rendered, request: gr.Request) -> Updates:
        """Takes the last exchange off the screen; its prompt goes into the box, or is offered."""
        undone = ""

        async def act(annotator_id: str, drawn: Rendered) -> Conversation:
            nonlocal undone
            conversation, undone = await self._service.undo(
                annotator_id, _open(drawn), viewed_id=drawn.viewed_id, seen=drawn.tree_version
            )
            return conversation

        first = True
        async for update in self._act(act, drawn, request):
            if first and undone:
                if text.strip():
                    update.update(self.offer(undone))
                else:
                    update[self._on.prompt] = gr.Textbox(value=undone, submit_btn=True, stop_btn=False)
            first = False
            yield update

    def put_back(self, text: str, undone: str) -> Update:
        """Exchanges what is in the box for the prompt that was undone, and offers that in turn."""
        return {self._on.prompt: undone, **self.offer(text)}

    def offer(self, undone: str) -> Update:
        """The button that puts a text into the box, where there is one."""
        button = gr.Button(f"Put back: “{rendering.quoted(undone, 60)}”", visible=bool(undone.strip()))
        return {self._on.put_back: button, self._on.undone: undone}

    async def view_previous(self, drawn: Rendered, request: gr.Request) -> Updates:
        """Shows the alternative before the one on view. To look is not to choose: nothing is stored."""
        async for update in self._view(-1, drawn, request):
            yield update

    async def view_following(self, drawn: Rendered, request: gr.Request) -> Updates:
        """Shows the alternative after the one on view."""
        async for update in self._view(+1, drawn, request):
            yield update

    async def _view(self, step: int, drawn: Rendered, request: gr.Request) -> Updates:
        page, _annotator_id = self.page(request)
        drawn = page.drawn or drawn  # a second click may come before the page has heard of the first

        def view(conversation: Conversation) -> str | None:
            viewed_id = (page.drawn or drawn).viewed_id  # after all clicks before this one
            alternatives, shown = rendering.alternatives_of_last(conversation, viewed_id)
            wanted = shown + step
            return alternatives[wanted].message_id if 0 <= wanted < len(alternatives) else viewed_id

        async for update in self._act(self._look, drawn, request, view=view):
            yield update

    async def _look(self, annotator_id: str, drawn: Rendered) -> Conversation:
        return await self._service.conversation(annotator_id, _open(drawn))

    async def keep(self, drawn: Rendered, request: gr.Request) -> Updates:
        """Makes the alternative on view the one to go on from."""

        async def act(annotator_id: str, drawn: Rendered) -> Conversation:
            viewed_id = drawn.viewed_id or drawn.message_id(len(drawn.ids) - 1)
            return await self._service.choose(annotator_id, _open(drawn), viewed_id, seen=drawn.tree_version)

        async for update in self._act(act, drawn, request):
            yield update

    async def stop(self, drawn: Rendered, request: gr.Request) -> Update:
        """Stops the reply that is being written; whoever follows it paints the end."""
        _page, annotator_id = self.page(request)
        with self._refusals() as said:
            await self._service.stop(annotator_id, _open(self.found(drawn, request)))
        return said

    async def new(self, drawn: Rendered, request: gr.Request) -> Updates:
        """Starts a new conversation; the one on the screen is kept."""
        page, annotator_id = self.page(request)
        drawn = self.found(drawn, request)
        async with page.painting() as painting:
            try:
                if drawn.conversation_id is not None:
                    await self._service.clear(annotator_id, drawn.conversation_id)
            except ChatFeedbackError as error:
                # Clear has emptied the page already: what the store still has goes back on it.
                async for update in self._as_stored(page, painting, annotator_id, drawn, str(error)):
                    yield update
                return
            yield {**self._screen.draw_new(page, self._most), **await self._screen.listing(page, annotator_id)}

    async def open(self, data: gr.EventData, drawn: Rendered, request: gr.Request) -> Updates:
        """Opens a conversation from the list, or shows more of the list."""
        page, annotator_id = self.page(request)
        if getattr(data, "more", None) is True:
            page.listed += LISTED_STEP
            yield await self._screen.listing(page, annotator_id)
            return
        async with page.painting() as painting:
            try:
                chosen = str(getattr(data, "conversation", ""))
                conversation = await self._service.conversation(annotator_id, chosen)
            except ChatFeedbackError as error:
                yield {self._on.notice: alert(str(error))}
                return
            async for update in self._show_anew(page, painting, annotator_id, conversation):
                yield update

    async def earlier(self, drawn: Rendered, request: gr.Request) -> Updates:
        """Shows a longer stretch of the conversation."""

        def view(_conversation: Conversation) -> str | None:
            return drawn.viewed_id

        async for update in self._act(self._look, drawn, request, most=drawn.most + EARLIER_STEP, view=view):
            yield update

    async def _act(
        self,
        act: Act,
        drawn: Rendered,
        request: gr.Request,
        *,
        sent: str | None = None,
        note: Callable[[Conversation], str] | None = None,
        most: int | None = None,
        text: str = "",
        view: Callable[[Conversation], str | None] | None = None,
    ) -> Updates:
        """Does it, and paints what came of it; after a refusal, what the store has, and the refusal.

        `sent`: the prompt, as it stands in the box. `note`: what is to be said about what was done. `text`: what was
        typed for it elsewhere than in the box, into which it is offered after a refusal. `view`: which alternative of
        the last reply is to be looked at afterwards; the stored one without it.
        """
        page, annotator_id = self.page(request)
        drawn = self.found(drawn, request)
        async with page.painting() as painting:
            extra: dict[str, Any] = {}
            if sent is not None and page.drawn is not None:
                drawn = page.drawn  # it goes on from whatever was asked for before, such as a new conversation
            try:
                if sent is None:
                    self.must_know(drawn)  # a prompt may be a repeat, for which it need not be known
                if view is None and page.just_followed:
                    raise Conflict(CHANGED_ELSEWHERE)
                conversation = await act(annotator_id, drawn)
            except ChatFeedbackError as error:
                async for update in self._as_stored(page, painting, annotator_id, drawn, str(error), most):
                    yield {**update, **self.offer(text)} if text else update
                return
            if note and (said := note(conversation)):
                extra["notice"] = alert(said)
            if sent is not None:
                page.prompted = True
                extra["accepted"] = rendering.accepted(conversation, sent)
            if view is not None:
                extra["viewed_id"] = view(conversation)
            async for update in self._show(page, painting, annotator_id, conversation, most or drawn.most, **extra):
                yield update

    async def _as_stored(
        self, page: Page, painting: Painting, annotator_id: str, drawn: Rendered, sentence: str, most: int | None = None
    ) -> Updates:
        """After a refusal: what the store has, if it can be read, and why."""
        try:
            if drawn.conversation_id is None:
                raise NotFound("Nothing is stored yet.")
            conversation = await self._service.conversation(annotator_id, drawn.conversation_id)
        except ChatFeedbackError:
            yield {self._on.notice: alert(sentence)}  # what can be said has been said
            return
        async for update in self._show(
            page, painting, annotator_id, conversation, most or drawn.most, notice=alert(sentence)
        ):
            yield update

    async def show_again(self, page: Page, annotator_id: str, conversation: Conversation, most: int) -> Updates:
        """Draws what the store has; what was said above the prompt stays."""
        async with page.painting() as painting:
            async for update in self._show(page, painting, annotator_id, conversation, most, notice=gr.skip()):
                yield update

    async def _show_anew(
        self, page: Page, painting: Painting, annotator_id: str, conversation: Conversation
    ) -> Updates:
        """Shows a conversation that is opened, with the model that wrote in it last as the one to go on with."""
        last = rendering.last_model(conversation)
        extra = {"model": last} if last in self._service.model_names else {}
        async for update in self._show(page, painting, annotator_id, conversation, self._most, **extra):
            yield update

    async def _show(self, *args: Any, **extra: Any) -> Updates:
        async with contextlib.aclosing(self._screen.show(*args, **extra)) as updates:
            async for update in updates:
                yield update

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[Update]:
        """Collects a refusal as an update of the notice."""
        said: Update = {self._on.notice: gr.skip()}
        try:
            yield said
        except ChatFeedbackError as error:
            said[self._on.notice] = alert(str(error))


def _open(drawn: Rendered) -> str:
    if drawn.conversation_id is None:
        raise InputError("Send a message first.")
    return drawn.conversation_id

"""The Chat tab: its layout, and one handler for each thing that a person can do.

A handler finds out who asks, takes what was drawn from `gr.State`, calls the service, and lets `ChatView` paint what
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
from chatfeedback.domain.roles import Open, Permission
from chatfeedback.errors import ChatFeedbackError, Conflict, InputError, NotAllowed, NotFound, NotOffered, ReplyRunning
from chatfeedback.services.assignments import Assignments
from chatfeedback.services.chat import NEW_CONVERSATION, ChatService
from chatfeedback.services.commands import NOT_OFFERED
from chatfeedback.ui.account import who
from chatfeedback.ui.actions import action
from chatfeedback.ui.chat import rendering
from chatfeedback.ui.chat.rendering import ViewState
from chatfeedback.ui.chat.tab_state import LISTED_STEP, RenderTurn, TabState, TabStates
from chatfeedback.ui.chat.view import ChatView, Components, Update, Updates, alert
from chatfeedback.ui.shapes import CLICK, STATE, TEXT, ConversationSelected, EditEvent, MoreRequested, Shape

Act = Callable[[str, ViewState], Awaitable[Conversation]]
EARLIER_STEP = 50


class ChatHandlers:
    """What happens when something on the Chat tab is used."""

    def __init__(
        self,
        service: ChatService,
        chat_view: ChatView,
        components: Components,
        tabs: TabStates,
        assignments: Assignments,
        limit: int,
    ) -> None:
        self._service = service
        self._assignments = assignments
        self._chat_view = chat_view
        self._components = components
        self._tabs = tabs
        self._limit = limit

    def tab(self, request: gr.Request) -> tuple[TabState, str]:
        """The page that a request came from, and its annotator. Raises NotAllowed for somebody who may not chat."""
        person = who(request)
        if not person.may(Permission.CHAT):
            raise NotAllowed("Your role does not allow this.")
        return self._tabs.of(person.annotator_id, str(request.session_hash)), person.annotator_id

    @staticmethod
    def found(view: ViewState, request: gr.Request) -> ViewState:
        """What is drawn on the page; `gr.State` is empty after a restart of the server, the address is not."""
        return view.found(request.query_params.get("conversation"))

    @staticmethod
    def require_known(view: ViewState) -> None:
        """Raises Conflict for a page of which only the address is known."""
        if view.lost:
            raise Conflict("The server was started again since this page was drawn; here is the newest state.")

    async def offered(self, annotator_id: str, view: ViewState, index: object) -> str:
        """The message at an index that a page sent.

        Raises Conflict (`require_known`), and NotOffered, which is noted, when nothing was drawn there.
        """
        self.require_known(view)
        try:
            return view.message_id(index)
        except NotOffered:
            await self._service.refuse(annotator_id, NOT_OFFERED)
            raise

    @action(Open.PAGE)
    async def load(self, request: gr.Request) -> Updates:
        """Draws the conversation that the address names; nothing for somebody who may not chat.

        Who is quick can send a prompt before the page asks what to draw: then the prompt stays.
        """
        if not who(request).may(Permission.CHAT):
            yield {self._components.notice: gr.skip()}
            return
        tab, annotator_id = self.tab(request)
        is_first, tab.loaded = not tab.loaded, True
        if is_first and (tab.acting or tab.sending is not None or tab.view is not None):
            yield await self._chat_view.listing(tab, annotator_id)
            return
        wanted = request.query_params.get("conversation")
        async with tab.render_turn() as turn:
            if not wanted:
                new = self._chat_view.render_new(tab, self._limit)
                with self._refusals() as refused:
                    self._assignments.from_query(request.query_params)
                    refused.clear()
                yield {**new, **refused, **await self._chat_view.listing(tab, annotator_id)}
                return
            try:
                conversation = await self._service.conversation(annotator_id, wanted)
            except ChatFeedbackError as error:
                yield {
                    **self._chat_view.render_new(tab, self._limit),
                    self._components.notice: alert(str(error)),
                    **await self._chat_view.listing(tab, annotator_id),
                }
                return
            async for update in self._render_anew(tab, turn, annotator_id, conversation):
                yield update

    @action(Open.PAGE)
    async def unload(self, request: gr.Request) -> None:
        """The page was closed."""
        self._tabs.forget(who(request).annotator_id, str(request.session_hash))

    @action(Permission.CHAT, TEXT, STATE, TEXT, TEXT)
    async def send(
        self, text: str, view: ViewState, model: str | None, prompt_id: str | None, request: gr.Request
    ) -> Updates:
        """Sends the prompt and streams the reply; of a prompt that was sent before, what came of it.

        Another prompt is refused while the page follows a reply. `prompt_id`: made by the page (assets/page.js).
        Without a valid one, a prompt is never a repeat.
        """
        tab, annotator_id = self.tab(request)
        sent_id = prompts.page_id(prompt_id) or prompts.new_page_id()
        if not await self._may_send(tab, annotator_id, tab.view or self.found(view, request), sent_id):
            tab.warned_to_wait = True
            yield {self._components.notice: alert(str(ReplyRunning()))}
            return
        tab.sending = sent_id
        consent_version = who(request).consent_version

        async def act(annotator_id: str, view: ViewState) -> Conversation:
            is_new = view.conversation_id is None
            try:
                return await self._service.send(
                    annotator_id,
                    view.conversation_id,
                    text,
                    model=model,
                    seen=NEW_CONVERSATION if is_new else view.tree_version,
                    consent_version=consent_version,
                    assignment=self._assignments.from_query(request.query_params) if is_new else UNASSIGNED,
                    prompt_id=sent_id,
                    viewed_id=view.viewed_id,
                )
            except Conflict:
                self.require_known(view)
                raise

        try:
            async for update in self._act(act, view, request, sent=text):
                yield update
        finally:
            tab.sending = None

    async def _may_send(self, tab: TabState, annotator_id: str, view: ViewState, prompt_id: str) -> bool:
        """Return False for another prompt than the one that is on its way or being answered."""
        if tab.sending is not None:
            return tab.sending == prompt_id
        if not tab.writing:
            return True
        try:
            repeated = await self._service.first_result(annotator_id, view.conversation_id, prompt_id)
        except ChatFeedbackError:
            return True  # whatever is wrong, it is said when the prompt is sent
        return repeated is not None or not tab.writing

    @action(Permission.CHAT, STATE, TEXT, event=CLICK)
    async def retry(self, view: ViewState, model: str | None, request: gr.Request) -> Updates:
        """Streams another reply beside the last one."""

        async def act(annotator_id: str, view: ViewState) -> Conversation:
            last = view.message_id(len(view.ids) - 1)
            return await self._service.retry(
                annotator_id, _open(view), last, model=model, viewed_id=view.viewed_id, seen=view.tree_version
            )

        async for update in self._act(act, view, request, note=rendering.about_retry):
            yield update

    @action(Permission.CHAT, STATE, TEXT, event=Shape(EditEvent))
    async def edit(self, view: ViewState, model: str | None, data: gr.EditData, request: gr.Request) -> Updates:
        """Stores a new version of a prompt or a reply."""

        async def act(annotator_id: str, view: ViewState) -> Conversation:
            return await self._service.edit(
                annotator_id,
                _open(view),
                await self.offered(annotator_id, view, data.index),
                str(data.value),
                model=model,
                viewed_id=view.viewed_id,
                seen=view.tree_version,
            )

        async for update in self._act(act, view, request, text=str(data.value)):
            yield update

    @action(Permission.CHAT, TEXT, STATE, event=CLICK)
    async def undo(self, text: str, view: ViewState, request: gr.Request) -> Updates:
        """Takes the last exchange off the screen; its prompt goes into the box, or is offered."""
        undone = ""

        async def act(annotator_id: str, view: ViewState) -> Conversation:
            nonlocal undone
            conversation, undone = await self._service.undo(
                annotator_id, _open(view), viewed_id=view.viewed_id, seen=view.tree_version
            )
            return conversation

        first = True
        async for update in self._act(act, view, request):
            if first and undone:
                if text.strip():
                    update.update(self.offer(undone))
                else:
                    update[self._components.prompt] = gr.Textbox(value=undone, submit_btn=True, stop_btn=False)
            first = False
            yield update

    @action(Permission.CHAT, TEXT, STATE)
    def put_back(self, text: str, undone: str) -> Update:
        """Exchanges what is in the box for the prompt that was undone, and offers that in turn."""
        return {self._components.prompt: undone, **self.offer(text)}

    def offer(self, undone: str) -> Update:
        """The button that puts a text into the box, where there is one."""
        button = gr.Button(f"Put back: “{rendering.quoted(undone, 60)}”", visible=bool(undone.strip()))
        return {self._components.put_back: button, self._components.undone: undone}

    @action(Permission.CHAT, STATE)
    async def view_previous(self, view: ViewState, request: gr.Request) -> Updates:
        """Shows the alternative before the one on view. To look is not to choose: nothing is stored."""
        async for update in self._view(-1, view, request):
            yield update

    @action(Permission.CHAT, STATE)
    async def view_following(self, view: ViewState, request: gr.Request) -> Updates:
        """Shows the alternative after the one on view."""
        async for update in self._view(+1, view, request):
            yield update

    async def _view(self, step: int, view: ViewState, request: gr.Request) -> Updates:
        tab, _annotator_id = self.tab(request)
        view = tab.view or view  # a second click may come before the page has heard of the first

        def viewed(conversation: Conversation) -> str | None:
            viewed_id = (tab.view or view).viewed_id  # after all clicks before this one
            alternatives, shown = rendering.alternatives_of_last(conversation, viewed_id)
            wanted = shown + step
            return alternatives[wanted].message_id if 0 <= wanted < len(alternatives) else viewed_id

        async for update in self._act(self._look, view, request, viewed=viewed):
            yield update

    async def _look(self, annotator_id: str, view: ViewState) -> Conversation:
        return await self._service.conversation(annotator_id, _open(view))

    @action(Permission.CHAT, STATE)
    async def keep(self, view: ViewState, request: gr.Request) -> Updates:
        """Makes the alternative on view the one to go on from."""

        async def act(annotator_id: str, view: ViewState) -> Conversation:
            viewed_id = view.viewed_id or view.message_id(len(view.ids) - 1)
            return await self._service.choose(annotator_id, _open(view), viewed_id, seen=view.tree_version)

        async for update in self._act(act, view, request):
            yield update

    @action(Permission.CHAT, STATE)
    async def stop(self, view: ViewState, request: gr.Request) -> Update:
        """Stops the reply that is being written; whoever follows it paints the end."""
        _page, annotator_id = self.tab(request)
        with self._refusals() as said:
            await self._service.stop(annotator_id, _open(self.found(view, request)))
        return said

    @action(Permission.CHAT, STATE)
    async def new(self, view: ViewState, request: gr.Request) -> Updates:
        """Starts a new conversation; the one on the screen is kept."""
        tab, annotator_id = self.tab(request)
        view = self.found(view, request)
        async with tab.render_turn() as turn:
            try:
                if view.conversation_id is not None:
                    await self._service.clear(annotator_id, view.conversation_id)
            except ChatFeedbackError as error:
                # Clear has emptied the page already: what the store still has goes back on it.
                async for update in self._as_stored(tab, turn, annotator_id, view, str(error)):
                    yield update
                return
            yield {**self._chat_view.render_new(tab, self._limit), **await self._chat_view.listing(tab, annotator_id)}

    @action(Permission.CHAT, STATE, event=Shape(ConversationSelected | MoreRequested))
    async def open(self, data: gr.EventData, view: ViewState, request: gr.Request) -> Updates:
        """Opens a conversation from the list, or shows more of the list."""
        tab, annotator_id = self.tab(request)
        if getattr(data, "more", None) is True:
            tab.listed += LISTED_STEP
            yield await self._chat_view.listing(tab, annotator_id)
            return
        async with tab.render_turn() as turn:
            try:
                chosen = str(getattr(data, "conversation", ""))
                conversation = await self._service.conversation(annotator_id, chosen)
            except ChatFeedbackError as error:
                yield {self._components.notice: alert(str(error))}
                return
            async for update in self._render_anew(tab, turn, annotator_id, conversation):
                yield update

    @action(Permission.CHAT, STATE)
    async def earlier(self, view: ViewState, request: gr.Request) -> Updates:
        """Shows a longer stretch of the conversation."""

        def viewed(_conversation: Conversation) -> str | None:
            return view.viewed_id

        async for update in self._act(self._look, view, request, limit=view.limit + EARLIER_STEP, viewed=viewed):
            yield update

    async def _act(
        self,
        act: Act,
        view: ViewState,
        request: gr.Request,
        *,
        sent: str | None = None,
        note: Callable[[Conversation], str] | None = None,
        limit: int | None = None,
        text: str = "",
        viewed: Callable[[Conversation], str | None] | None = None,
    ) -> Updates:
        """Does it, and paints what came of it; after a refusal, what the store has, and the refusal.

        `sent`: the prompt, as it stands in the box. `note`: what is to be said about what was done. `text`: what was
        typed for it elsewhere than in the box, into which it is offered after a refusal. `viewed`: which alternative of
        the last reply is to be looked at afterwards; the stored one without it.
        """
        tab, annotator_id = self.tab(request)
        view = self.found(view, request)
        async with tab.render_turn() as turn:
            extra: dict[str, Any] = {}
            if sent is not None and tab.view is not None:
                view = tab.view  # it goes on from whatever was asked for before, such as a new conversation
            try:
                if sent is None:
                    self.require_known(view)  # a prompt may be a repeat, for which it need not be known
                if viewed is None and tab.just_followed:
                    raise Conflict(CHANGED_ELSEWHERE)
                conversation = await act(annotator_id, view)
            except ChatFeedbackError as error:
                async for update in self._as_stored(tab, turn, annotator_id, view, str(error), limit):
                    yield {**update, **self.offer(text)} if text else update
                return
            if note and (said := note(conversation)):
                extra["notice"] = alert(said)
            if sent is not None:
                tab.prompted = True
                extra["accepted"] = rendering.accepted(conversation, sent)
            if viewed is not None:
                extra["viewed_id"] = viewed(conversation)
            async for update in self._show(tab, turn, annotator_id, conversation, limit or view.limit, **extra):
                yield update

    async def _as_stored(
        self,
        tab: TabState,
        turn: RenderTurn,
        annotator_id: str,
        view: ViewState,
        sentence: str,
        limit: int | None = None,
    ) -> Updates:
        """After a refusal: what the store has, if it can be read, and why."""
        try:
            if view.conversation_id is None:
                raise NotFound("Nothing is stored yet.")
            conversation = await self._service.conversation(annotator_id, view.conversation_id)
        except ChatFeedbackError:
            yield {self._components.notice: alert(sentence)}  # what can be said has been said
            return
        async for update in self._show(
            tab, turn, annotator_id, conversation, limit or view.limit, notice=alert(sentence)
        ):
            yield update

    async def show_again(self, tab: TabState, annotator_id: str, conversation: Conversation, limit: int) -> Updates:
        """Draws what the store has; what was said above the prompt stays."""
        async with tab.render_turn() as turn:
            async for update in self._show(tab, turn, annotator_id, conversation, limit, notice=gr.skip()):
                yield update

    async def _render_anew(
        self, tab: TabState, turn: RenderTurn, annotator_id: str, conversation: Conversation
    ) -> Updates:
        """Shows a conversation that is opened, with the model that wrote in it last as the one to go on with."""
        last = rendering.last_model(conversation)
        extra = {"model": last} if last in self._service.model_names else {}
        async for update in self._show(tab, turn, annotator_id, conversation, self._limit, **extra):
            yield update

    async def _show(self, *args: Any, **extra: Any) -> Updates:
        async with contextlib.aclosing(self._chat_view.render_and_stream(*args, **extra)) as updates:
            async for update in updates:
                yield update

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[Update]:
        """Collects a refusal as an update of the notice."""
        said: Update = {self._components.notice: gr.skip()}
        try:
            yield said
        except ChatFeedbackError as error:
            said[self._components.notice] = alert(str(error))


def _open(view: ViewState) -> str:
    if view.conversation_id is None:
        raise InputError("Send a message first.")
    return view.conversation_id

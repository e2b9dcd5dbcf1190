"""Handlers of the Chat tab, one for each action of a person.

A handler identifies the person, reads the `ViewState` from `gr.State`, calls the service, and lets `ChatView` render
the stored conversation. The chatbot's own value is never an input. A refusal is one sentence above the prompt, and no
typed text is lost.
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
from chatfeedback.domain.query_string import single_values
from chatfeedback.domain.roles import Open, Permission
from chatfeedback.domain.types import new_id
from chatfeedback.errors import ChatFeedbackError, Conflict, InputError, NotAllowed, NotFound, NotOffered, ReplyRunning
from chatfeedback.services.assignments import Assignments
from chatfeedback.services.chat import NEW_CONVERSATION, ChatService
from chatfeedback.services.commands import NOT_OFFERED
from chatfeedback.ui.account import current_person
from chatfeedback.ui.actions import action
from chatfeedback.ui.chat import rendering
from chatfeedback.ui.chat.rendering import ViewState
from chatfeedback.ui.chat.tab_state import LISTED_STEP, RenderTurn, TabState, TabStates
from chatfeedback.ui.chat.view import ChatView, Components, Update, Updates, alert
from chatfeedback.ui.shapes import CLICK, STATE, TEXT, ConversationSelected, EditEvent, MoreRequested, Shape, Visit

Operation = Callable[[str, ViewState], Awaitable[Conversation]]
"""Service call of a handler: annotator id and view -> the conversation afterwards."""
EARLIER_STEP = 50
"""Earlier messages that are shown at once."""


class ChatHandlers:
    """Handlers of the Chat tab."""

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

    def current_tab(self, request: gr.Request) -> tuple[TabState, str]:
        """Return the state of the page that sent a request, and its annotator's id.

        Raises NotAllowed for a person who may not chat.
        """
        person = current_person(request)
        if not person.may(Permission.CHAT):
            raise NotAllowed("Your role does not allow this.")
        return self._tabs.get_or_create(person.annotator_id, str(request.session_hash)), person.annotator_id

    @staticmethod
    def resolve_view(view: ViewState, request: gr.Request) -> ViewState:
        """Return the view; if it has no conversation, as after a server restart, use the one in the page's URL."""
        return view.with_default_conversation(request.query_params.get("conversation"))

    @staticmethod
    def require_known_view(view: ViewState) -> None:
        """Raise Conflict for a view that an earlier server process rendered, or one that was forgotten since."""
        if view.is_lost:
            raise Conflict(
                "The server has forgotten this page, because it was restarted or you opened many others; check the "
                "newest state and try again."
            )

    async def message_at(self, annotator_id: str, view: ViewState, index: object) -> str:
        """Return the id of the message at an index from the page.

        Raises Conflict (`require_known_view`), and NotOffered, which is recorded as a refusal, if no message was
        rendered there.
        """
        self.require_known_view(view)
        try:
            return view.message_id(index)
        except NotOffered:
            await self._service.refuse(annotator_id, NOT_OFFERED)
            raise

    @action(Open.PAGE)
    async def load(self, request: gr.Request) -> Updates:
        """Render the conversation in the URL; nothing for a person who may not chat.

        If they have acted on the page before this call, keep what is rendered and update only the list.
        """
        if not current_person(request).may(Permission.CHAT):
            yield {self._components.notice: gr.skip()}
            return
        tab, annotator_id = self.current_tab(request)
        is_first, tab.loaded = not tab.loaded, True
        if is_first and (tab.is_acting or tab.sending_id is not None or tab.view is not None):
            yield await self._chat_view.conversation_list_update(tab, annotator_id)
            return
        async with tab.render_turn() as turn:
            conversation = None
            with self._collect_refusal() as refusal:
                query = _page_parameters(request)
                if conversation_id := query.get("conversation"):
                    conversation = await self._service.conversation(annotator_id, conversation_id)
                else:
                    self._assignments.from_query(query)
                refusal.clear()
            if conversation is None:
                list_update = await self._chat_view.conversation_list_update(tab, annotator_id)
                yield {**self._chat_view.render_new(tab, self._limit), **refusal, **list_update}
                return
            async for update in self._render_opened(tab, turn, annotator_id, conversation):
                yield update

    @action(Open.PAGE)
    async def unload(self, request: gr.Request) -> None:
        """Remove the state of a page that was closed."""
        self._tabs.remove(current_person(request).annotator_id, str(request.session_hash))

    @action(Permission.CHAT, TEXT, STATE, TEXT, TEXT)
    async def send(
        self, text: str, view: ViewState, model: str | None, prompt_id: str | None, request: gr.Request
    ) -> Updates:
        """Send the prompt and stream the reply; idempotent by `prompt_id`: a repeat gets the first result.

        Another prompt is refused while the page follows a reply. `prompt_id`: generated by the page (assets/page.js).
        A prompt without a valid one is never a repeat.
        """
        tab, annotator_id = self.current_tab(request)
        valid_id = prompts.page_id(prompt_id) or prompts.new_page_id()
        if not await self._may_send(tab, annotator_id, tab.view or self.resolve_view(view, request), valid_id):
            tab.warned_to_wait = True
            yield {self._components.notice: alert(str(ReplyRunning()))}
            return
        tab.sending_id = valid_id
        consent_version = current_person(request).consent_version

        async def operation(annotator_id: str, view: ViewState) -> Conversation:
            is_new = view.conversation_id is None
            try:
                return await self._service.send(
                    annotator_id,
                    view.conversation_id,
                    text,
                    model=model,
                    expected_version=NEW_CONVERSATION if is_new else view.tree_version,
                    consent_version=consent_version,
                    assignment=self._assignments.from_query(_page_parameters(request)) if is_new else UNASSIGNED,
                    prompt_id=valid_id,
                    viewed_id=view.viewed_id,
                )
            except Conflict:
                self.require_known_view(view)
                raise

        try:
            async for update in self._run(operation, view, request, prompt_id=valid_id):
                yield update
        finally:
            tab.sending_id = None

    async def _may_send(self, tab: TabState, annotator_id: str, view: ViewState, prompt_id: str) -> bool:
        """Return False for another prompt than the one that is being stored or answered."""
        if tab.sending_id is not None:
            return tab.sending_id == prompt_id
        if not tab.is_writing:
            return True
        try:
            first_result = await self._service.first_result(annotator_id, view.conversation_id, prompt_id)
        except ChatFeedbackError:
            return True  # `send` reports the error
        return first_result is not None or not tab.is_writing

    @action(Permission.CHAT, STATE, TEXT, event=CLICK)
    async def retry(self, view: ViewState, model: str | None, request: gr.Request) -> Updates:
        """Retry: stream an alternative to the last reply."""

        async def operation(annotator_id: str, view: ViewState) -> Conversation:
            last = view.message_id(len(view.ids) - 1)
            return await self._service.retry(
                annotator_id,
                _require_conversation_id(view),
                last,
                model=model,
                viewed_id=view.viewed_id,
                expected_version=view.tree_version,
            )

        async for update in self._run(operation, view, request, notice_for=rendering.retry_notice):
            yield update

    @action(Permission.CHAT, STATE, TEXT, event=Shape(EditEvent))
    async def edit(self, view: ViewState, model: str | None, data: gr.EditData, request: gr.Request) -> Updates:
        """Edit: store a new version of a prompt or a reply."""

        async def operation(annotator_id: str, view: ViewState) -> Conversation:
            return await self._service.edit(
                annotator_id,
                _require_conversation_id(view),
                await self.message_at(annotator_id, view, data.index),
                str(data.value),
                model=model,
                viewed_id=view.viewed_id,
                expected_version=view.tree_version,
            )

        async for update in self._run(operation, view, request, typed=str(data.value)):
            yield update

    @action(Permission.CHAT, TEXT, STATE, event=CLICK)
    async def undo(self, text: str, view: ViewState, request: gr.Request) -> Updates:
        """Undo the last exchange; its prompt goes into the box, or is offered if the box holds a text."""
        undone = ""

        async def operation(annotator_id: str, view: ViewState) -> Conversation:
            nonlocal undone
            conversation, undone = await self._service.undo(
                annotator_id,
                _require_conversation_id(view),
                viewed_id=view.viewed_id,
                expected_version=view.tree_version,
            )
            return conversation

        is_first = True
        async for update in self._run(operation, view, request):
            if is_first and undone:
                if text.strip():
                    update.update(self.offer(undone))
                else:
                    update[self._components.prompt] = gr.Textbox(value=undone, submit_btn=True, stop_btn=False)
            is_first = False
            yield update

    @action(Permission.CHAT, TEXT, STATE)
    def put_back(self, text: str, undone: str) -> Update:
        """Swap the text in the box with the prompt that was undone, and offer that text in turn."""
        return {self._components.prompt: undone, **self.offer(text)}

    def offer(self, text: str) -> Update:
        """Return the update with a button that puts a text into the box; the button is hidden for a blank text."""
        button = gr.Button(f"Put back: “{rendering.excerpt(text, 60)}”", visible=bool(text.strip()))
        return {self._components.put_back: button, self._components.undone: text}

    @action(Permission.CHAT, STATE)
    async def view_previous(self, view: ViewState, request: gr.Request) -> Updates:
        """Show the previous alternative; nothing is stored, because viewing is not choosing."""
        async for update in self._view_alternative(-1, view, request):
            yield update

    @action(Permission.CHAT, STATE)
    async def view_next(self, view: ViewState, request: gr.Request) -> Updates:
        """Show the next alternative; nothing is stored."""
        async for update in self._view_alternative(+1, view, request):
            yield update

    async def _view_alternative(self, step: int, view: ViewState, request: gr.Request) -> Updates:
        tab, _annotator_id = self.current_tab(request)
        view = tab.view or view  # a second click may come before the page has rendered the first

        def next_viewed_id(conversation: Conversation) -> str | None:
            viewed_id = (tab.view or view).viewed_id  # after all clicks before this one
            alternatives, current = rendering.alternatives_of_last(conversation, viewed_id)
            position = current + step
            return alternatives[position].message_id if 0 <= position < len(alternatives) else viewed_id

        async for update in self._run(self._load, view, request, viewed_id_for=next_viewed_id):
            yield update

    async def _load(self, annotator_id: str, view: ViewState) -> Conversation:
        return await self._service.conversation(annotator_id, _require_conversation_id(view))

    @action(Permission.CHAT, STATE)
    async def keep(self, view: ViewState, request: gr.Request) -> Updates:
        """Choose the alternative on view: the conversation continues from it."""

        async def operation(annotator_id: str, view: ViewState) -> Conversation:
            viewed_id = view.viewed_id or view.message_id(len(view.ids) - 1)
            return await self._service.choose(
                annotator_id, _require_conversation_id(view), viewed_id, expected_version=view.tree_version
            )

        async for update in self._run(operation, view, request):
            yield update

    @action(Permission.CHAT, STATE)
    async def stop(self, view: ViewState, request: gr.Request) -> Update:
        """Stop the running reply; the handlers that stream it render its end."""
        _tab, annotator_id = self.current_tab(request)
        with self._collect_refusal() as refusal:
            await self._service.stop(annotator_id, _require_conversation_id(self.resolve_view(view, request)))
        return refusal

    @action(Permission.CHAT, STATE)
    async def new(self, view: ViewState, request: gr.Request) -> Updates:
        """Start a new conversation; the one on the screen stays in the store."""
        tab, annotator_id = self.current_tab(request)
        view = self.resolve_view(view, request)
        async with tab.render_turn() as turn:
            try:
                if view.conversation_id is not None:
                    await self._service.clear(annotator_id, view.conversation_id)
            except ChatFeedbackError as error:
                # Clear has emptied the page already: render the stored conversation again.
                async for update in self._render_refusal(tab, turn, annotator_id, view, str(error)):
                    yield update
                return
            list_update = await self._chat_view.conversation_list_update(tab, annotator_id)
            tab.tell(opened=f"{new_id()} ")
            yield {**self._chat_view.render_new(tab, self._limit), **list_update}

    @action(Permission.CHAT, STATE, event=Shape(ConversationSelected | MoreRequested))
    async def open(self, data: gr.EventData, view: ViewState, request: gr.Request) -> Updates:
        """Open a conversation from the list, or show more of the list."""
        tab, annotator_id = self.current_tab(request)
        if getattr(data, "more", None) is True:
            tab.list_limit += LISTED_STEP
            yield await self._chat_view.conversation_list_update(tab, annotator_id)
            return
        async with tab.render_turn() as turn:
            try:
                conversation_id = str(getattr(data, "conversation", ""))
                conversation = await self._service.conversation(annotator_id, conversation_id)
            except ChatFeedbackError as error:
                yield {self._components.notice: alert(str(error))}
                return
            tab.tell(opened=f"{new_id()} {conversation.conversation_id}")
            async for update in self._render_opened(tab, turn, annotator_id, conversation):
                yield update

    @action(Permission.CHAT, STATE, event=Shape(Visit))
    async def visit(self, view: ViewState, data: gr.EventData, request: gr.Request) -> Updates:
        """Show the conversation of a history entry, after Back or Forward of the browser; "" shows a new one.

        Nothing is stored, unlike at a click on New conversation. A conversation that cannot be shown is replaced by a
        new one and a notice, as when the page loads.
        """
        tab, annotator_id = self.current_tab(request)
        number, conversation_id = getattr(data, "number", 0), str(getattr(data, "conversation", ""))
        async with tab.render_turn() as turn:
            sentence = ""
            if conversation_id:
                try:
                    conversation = await self._service.conversation(annotator_id, conversation_id)
                except ChatFeedbackError as error:
                    sentence = str(error)
                else:
                    tab.tell(visited=f"{number} {conversation.conversation_id}")
                    async for update in self._render_opened(tab, turn, annotator_id, conversation):
                        yield update
                    return
            list_update = await self._chat_view.conversation_list_update(tab, annotator_id)
            tab.tell(visited=f"{number} ")
            new_update = self._chat_view.render_new(tab, self._limit)
            yield {**new_update, self._components.notice: alert(sentence), **list_update}

    @action(Permission.CHAT, STATE)
    async def earlier(self, view: ViewState, request: gr.Request) -> Updates:
        """Show earlier messages of the conversation."""

        def same_viewed_id(_conversation: Conversation) -> str | None:
            return view.viewed_id

        limit = view.limit + EARLIER_STEP
        async for update in self._run(self._load, view, request, limit=limit, viewed_id_for=same_viewed_id):
            yield update

    async def _run(
        self,
        operation: Operation,
        view: ViewState,
        request: gr.Request,
        *,
        prompt_id: str | None = None,
        notice_for: Callable[[Conversation], str] | None = None,
        limit: int | None = None,
        typed: str = "",
        viewed_id_for: Callable[[Conversation], str | None] | None = None,
    ) -> Updates:
        """Run an operation in a render turn; render its result, or the stored conversation after a refusal.

        Args:
            operation: The call of the service.
            view: The view that the page sent.
            request: The request of the page.
            prompt_id: Page's id of the prompt to send; None for every other operation.
            notice_for: Returns the notice about the result; "" for none.
            limit: Number of messages to show; that of the view by default.
            typed: Text that was typed outside the prompt box; after a refusal it is offered there.
            viewed_id_for: Returns the id of the alternative to show in place of the last reply; None for the chosen
                one.
        """
        tab, annotator_id = self.current_tab(request)
        view = self.resolve_view(view, request)
        async with tab.render_turn() as turn:
            extra: dict[str, Any] = {}
            if prompt_id is not None and tab.view is not None:
                view = tab.view  # a prompt continues from the action before, such as a new conversation
            try:
                if prompt_id is None:
                    self.require_known_view(view)  # a prompt may be a repeat, which needs no known view
                if viewed_id_for is None and tab.just_followed:
                    raise Conflict(CHANGED_ELSEWHERE)
                conversation = await operation(annotator_id, view)
            except ChatFeedbackError as error:
                async for update in self._render_refusal(tab, turn, annotator_id, view, str(error), limit):
                    yield {**update, **self.offer(typed)} if typed else update
                return
            if notice_for and (notice := notice_for(conversation)):
                extra["notice"] = alert(notice)
            if prompt_id is not None:
                tab.prompted_since_panel = True
                tab.tell(accepted=prompt_id)
            if viewed_id_for is not None:
                extra["viewed_id"] = viewed_id_for(conversation)
            async for update in self._stream(tab, turn, annotator_id, conversation, limit or view.limit, **extra):
                yield update

    async def _render_refusal(
        self,
        tab: TabState,
        turn: RenderTurn,
        annotator_id: str,
        view: ViewState,
        sentence: str,
        limit: int | None = None,
    ) -> Updates:
        """Render a refusal: the stored conversation, if it can be read, and the sentence as a notice."""
        try:
            if view.conversation_id is None:
                raise NotFound("Nothing is stored yet.")
            conversation = await self._service.conversation(annotator_id, view.conversation_id)
        except ChatFeedbackError:
            yield {self._components.notice: alert(sentence)}  # the first error is the one to report
            return
        async for update in self._stream(
            tab, turn, annotator_id, conversation, limit or view.limit, notice=alert(sentence)
        ):
            yield update

    def messages_update(self, tab: TabState, annotator_id: str, conversation: Conversation, view: ViewState) -> Update:
        """Return the update of the messages and thumbs on view, while no reply is being written."""
        return self._chat_view.chatbot_update(tab, annotator_id, conversation, view, "")

    async def rerender(self, tab: TabState, annotator_id: str, conversation: Conversation, limit: int) -> Updates:
        """Render the stored conversation; the notice above the prompt stays."""
        async with tab.render_turn() as turn:
            async for update in self._stream(tab, turn, annotator_id, conversation, limit, notice=gr.skip()):
                yield update

    async def _render_opened(
        self, tab: TabState, turn: RenderTurn, annotator_id: str, conversation: Conversation
    ) -> Updates:
        """Render a conversation that was opened, and select the model of its last reply."""
        model = rendering.last_model(conversation)
        extra = {"model": model} if model in self._service.model_names else {}
        async for update in self._stream(tab, turn, annotator_id, conversation, self._limit, **extra):
            yield update

    async def _stream(self, *args: Any, **extra: Any) -> Updates:
        async with contextlib.aclosing(self._chat_view.render_and_stream(*args, **extra)) as updates:
            async for update in updates:
                yield update

    @contextlib.contextmanager
    def _collect_refusal(self) -> Iterator[Update]:
        """Yield an update; a refusal in the block becomes its notice."""
        update: Update = {self._components.notice: gr.skip()}
        try:
            yield update
        except ChatFeedbackError as error:
            update[self._components.notice] = alert(str(error))


def _page_parameters(request: gr.Request) -> dict[str, str]:
    """Return the parameters of the page's address. Raises InputError for one that is given more than once."""
    return single_values(request.query_params.multi_items())


def _require_conversation_id(view: ViewState) -> str:
    if view.conversation_id is None:
        raise InputError("Send a message first.")
    return view.conversation_id

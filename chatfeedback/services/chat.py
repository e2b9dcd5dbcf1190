"""The use cases of the chat: what a person can do, each as one coroutine.

Nothing is appended but by `ChatService` and its `GenerationManager`. Every command checks who asks, decides on the
state in the store (never on what a page says), and returns after the commit. A prompt is stored before a
model is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from weakref import WeakValueDictionary

from chatfeedback.domain import prompts
from chatfeedback.domain.conversation import decide as decisions
from chatfeedback.domain.conversation.events import UNASSIGNED, Assignment, MessageSent
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Body
from chatfeedback.domain.feedback.decide import RatingChange, rate, set_aside
from chatfeedback.domain.text import sanitize, validate_prompt
from chatfeedback.domain.types import new_id
from chatfeedback.errors import MessageRejected, NotAllowed, NotFound, NotOffered, ServerEnding
from chatfeedback.generation.manager import GenerationManager
from chatfeedback.generation.running_reply import Progress
from chatfeedback.generation.shielded import await_commit, shielded
from chatfeedback.inference.chat_model import ChatModel
from chatfeedback.services.rate_limits import Limits
from chatfeedback.store.log.event_store import NO_CONVERSATION, Command, Decision, EventStore
from chatfeedback.store.projections import listing

NOT_YOURS = "This conversation belongs to another person."
Look = Callable[[], Awaitable[Conversation | None]]
OF_ANOTHER, NOT_OFFERED = "conversation_of_another", "not_offered"
"""What is noted of refusals."""
NEW_CONVERSATION = 0
"""The tree version of a conversation in which nothing has happened."""


class ChatService:
    """Conversations of annotators with models.

    `models`: by name, the first is the default. `reasons`: the configured codes and their polarity. `limits`: on what
    one person may ask for, none by default. `refused`: told, in a thread, who asked for what is not
    for her, and a code for that.
    """

    def __init__(
        self,
        store: EventStore,
        models: Mapping[str, ChatModel],
        reasons: Mapping[str, str],
        *,
        longest_message: int,
        longest_comment: int = 10_000,
        linger_seconds: float,
        limits: Limits | None = None,
        refused: Callable[[str, str], None] = lambda _annotator_id, _what: None,
    ) -> None:
        self._store = store
        self._models = models
        self._reasons = reasons
        self._longest_message = longest_message
        self._longest_comment = longest_comment
        self._limits = limits or Limits()
        self._refused = refused
        self._replies = GenerationManager(store, linger_seconds)
        self.ending = False
        """Whether this process is about to end, and asks no model any more."""
        self._sweeping: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[Conversation]] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def start(self) -> int:
        """Ends the replies that a process left behind when it died, now and from now on; returns how many now."""
        ended = await self._replies.orphans.sweep()
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._replies.orphans.run_sweeper())
        return ended

    @property
    def writing(self) -> int:
        """How many replies this process writes."""
        return len(self._replies.tasks)

    async def drain(self) -> None:
        """Asks no model any more, and returns when no reply is being written; cancel it to stop waiting."""
        self.ending = True
        while unfinished := [*self._under_way, *self._replies.tasks]:
            await asyncio.wait(unfinished)

    async def close(self) -> None:
        """Waits for the commands under way, then ends the replies that are being written, with the text so far."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self._replies.close()

    # Looking

    async def conversation(self, annotator_id: str, conversation_id: str) -> Conversation:
        """One's own conversation. Raises NotFound, NotAllowed."""
        _check_id(conversation_id)
        found = await asyncio.to_thread(self._store.conversation, conversation_id)
        if found is None:
            raise NotFound(NO_CONVERSATION)
        try:
            _require_owner(found, annotator_id)
        except NotAllowed:
            await self.refuse(annotator_id, OF_ANOTHER)
            raise
        return found

    async def version(self, annotator_id: str, conversation_id: str) -> int:
        """Return the version of one's own conversation, of which nothing else is read. Raises NotFound, NotAllowed."""
        _check_id(conversation_id)
        found = await asyncio.to_thread(self._store.owner_and_version, conversation_id)
        if found is None:
            raise NotFound(NO_CONVERSATION)
        owner_id, version = found
        if owner_id != annotator_id:
            await self.refuse(annotator_id, OF_ANOTHER)
            raise NotAllowed(NOT_YOURS)
        return version

    def last_known(self, conversation: Conversation) -> Conversation:
        """The newest state of it that this process knows, or what was given; the database is not asked."""
        known = self._store.last_known(conversation.conversation_id)
        return known if known is not None and known.version > conversation.version else conversation

    def is_newest(self, conversation: Conversation) -> bool:
        """Whether, as far as is known without asking, nobody has changed it in the last second or before.

        That is known only while this process writes a reply in it.
        """
        version = self._replies.stored_version(conversation.writing_id or "")
        return version is not None and version <= conversation.version

    async def conversations(self, annotator_id: str, most: int) -> list[listing.Listed]:
        """One's own conversations, newest first, at most `most`."""

        def read() -> list[listing.Listed]:
            with self._store.reading() as tx:
                return listing.latest(tx, annotator_id, most)

        return await asyncio.to_thread(read)

    def watch(self, conversation_id: str, message_id: str) -> AsyncGenerator[Progress, None]:
        """Follows a reply that is being written; close the iterator to stop watching."""
        return self._replies.watch(conversation_id, message_id)

    @property
    def model_names(self) -> Sequence[str]:
        """What is offered, the default first."""
        return tuple(self._models)

    def model(self, name: str | None) -> ChatModel:
        """The model of this name, or the default one. Raises NotFound."""
        if name is None:
            return next(iter(self._models.values()))
        try:
            return self._models[name]
        except KeyError:
            raise NotFound("This model is not offered here any more; choose another one.") from None

    # Writing

    async def send(
        self,
        annotator_id: str,
        conversation_id: str | None,
        text: str,
        *,
        model: str | None = None,
        seen: int | None,
        consent_version: str | None = None,
        assignment: Assignment = UNASSIGNED,
        prompt_id: str | None = None,
        viewed_id: str | None = None,
    ) -> Conversation:
        """Stores a prompt and starts its reply; None starts a new conversation.

        A new conversation has this version of the consent, and this assignment to a study. `viewed_id`, here and below:
        the alternative of the last reply that the page shows, where it is not the stored one.

        `prompt_id`: the page's own of the prompt (`prompts.page_id`). One that is stored already is not stored again:
        the conversation is returned as it is, which no limit counts. Raises MessageRejected, Conflict, TooMany.
        """
        new = conversation_id is None
        if conversation_id is not None:
            _check_id(conversation_id)
        prompt_id = prompt_id or prompts.new_page_id()
        conversation_id = conversation_id or prompts.conversation_id(annotator_id, prompt_id)
        event_id = prompts.event_id(annotator_id, conversation_id, prompt_id)
        text, altered = validate_prompt(text, longest=self._longest_message)
        message_id, reply_id = new_id(), new_id()
        asked = self.model(model)
        return await self._reply(
            annotator_id,
            conversation_id,
            reply_id,
            asked,
            lambda c: decisions.send(
                c,
                text,
                asked.plan,
                message_id=message_id,
                reply_id=reply_id,
                altered=altered,
                consent_version=consent_version,
                assignment=assignment,
                event_id=event_id,
                viewed_id=viewed_id,
                seen=seen,
            ),
            look=lambda: self.first_result(annotator_id, conversation_id, prompt_id),
            new=new,
            derived_ids={MessageSent.KIND: event_id},
        )

    async def first_result(self, annotator_id: str, conversation_id: str | None, prompt_id: str) -> Conversation | None:
        """Return the conversation if this prompt is stored in it, or began it; else None. Raises NotAllowed."""
        conversation_id = conversation_id or prompts.conversation_id(annotator_id, prompt_id)
        try:
            conversation = await self.conversation(annotator_id, conversation_id)
        except NotFound:
            return None
        stored = conversation.has_event(prompts.event_id(annotator_id, conversation_id, prompt_id))
        return conversation if stored else None

    async def retry(
        self,
        annotator_id: str,
        conversation_id: str,
        message_id: str,
        *,
        model: str | None = None,
        viewed_id: str | None = None,
        seen: int | None,
    ) -> Conversation:
        """Starts another reply beside the last one. Raises InputError, Conflict."""
        reply_id = new_id()
        asked = self.model(model)
        return await self._reply(
            annotator_id,
            conversation_id,
            reply_id,
            asked,
            lambda c: decisions.retry(
                c, asked.plan, message_id=message_id, reply_id=reply_id, viewed_id=viewed_id, seen=seen
            ),
            fresh=True,
        )

    async def edit(
        self,
        annotator_id: str,
        conversation_id: str,
        message_id: str,
        text: str,
        *,
        model: str | None = None,
        viewed_id: str | None = None,
        seen: int | None,
    ) -> Conversation:
        """Store a new version of a shown message; a prompt gets a new reply.

        Raises MessageRejected, Conflict, and InputError for a reply without text.
        """
        text, altered = validate_prompt(text, longest=self._longest_message)
        edited_id, reply_id = new_id(), new_id()
        asked = self.model(model)

        def decide(conversation: Conversation) -> tuple[Body, ...]:
            decisions.check_has_text(conversation, message_id)
            return decisions.edit(
                conversation,
                text,
                asked.plan,
                message_id=message_id,
                new_id=edited_id,
                reply_id=reply_id,
                altered=altered,
                viewed_id=viewed_id,
                seen=seen,
            )

        return await self._reply(annotator_id, conversation_id, reply_id, asked, decide)

    async def undo(
        self, annotator_id: str, conversation_id: str, *, viewed_id: str | None = None, seen: int | None
    ) -> tuple[Conversation, str]:
        """Takes the last exchange off the screen; also returns its prompt. Raises InputError, Conflict."""
        undone: list[str] = []

        def decide(conversation: Conversation) -> Sequence[Body]:
            bodies = decisions.undo(conversation, viewed_id=viewed_id, seen=seen)
            undone[:] = [conversation.messages[bodies[-1].message_id].text]
            return bodies

        conversation = await self._execute(annotator_id, conversation_id, decide)
        return conversation, undone[0]

    async def choose(
        self, annotator_id: str, conversation_id: str, message_id: str, *, seen: int | None
    ) -> Conversation:
        """Makes another alternative of the last reply the one to go on from. Raises InputError, Conflict."""
        return await self._execute(
            annotator_id, conversation_id, lambda c: decisions.choose(c, message_id=message_id, seen=seen)
        )

    async def clear(self, annotator_id: str, conversation_id: str) -> Conversation:
        """Notes that the person goes on to a new conversation; a running reply goes on by itself."""
        return await self._execute(annotator_id, conversation_id, decisions.clear)

    async def rate(
        self,
        annotator_id: str,
        conversation_id: str,
        message_id: str,
        *,
        value: str | None = None,
        reasons: Mapping[str, bool] | None = None,
        comment: str | None = None,
        decided_at: Callable[[int], None] | None = None,
    ) -> Conversation:
        """Makes the rating what is wanted; None leaves a part as it is, "" clears value or comment.

        `reasons`: of each that is named, whether it is chosen; the others stay.
        `decided_at` is told the version of the conversation before the rating, in any thread. Raises NotRateable,
        InputError. Never in conflict with anything.
        """
        altered = False
        if comment is not None:
            if len(comment) > self._longest_comment:
                raise MessageRejected(f"A comment can have at most {self._longest_comment:,} characters.")
            comment, altered = sanitize(comment if comment.strip() else "")
        change = RatingChange(value, reasons or {}, comment, altered)
        dropped: frozenset[str] = frozenset()

        async def look() -> None:
            nonlocal dropped
            if not sanitize(message_id)[1]:  # of others there is nothing to be found
                said = await asyncio.to_thread(self._store.ratings_of, conversation_id, message_id, annotator_id)
                dropped = set_aside(said)

        def decide(conversation: Conversation) -> Sequence[Body]:
            if decided_at is not None:
                decided_at(conversation.version)
            return rate(
                conversation,
                change,
                message_id=message_id,
                annotator_id=annotator_id,
                reasons=self._reasons,
                set_aside=dropped,
            )

        return await self._execute(annotator_id, conversation_id, decide, look=look if value else None)

    async def stop(self, annotator_id: str, conversation_id: str) -> Conversation:
        """Stops the reply that is being written, if any; what has come of it is kept."""
        conversation = await self.conversation(annotator_id, conversation_id)
        if conversation.writing_id is None:
            return conversation
        await self._replies.stop(conversation.writing_id)
        return await self.conversation(annotator_id, conversation_id)

    async def _reply(
        self,
        annotator_id: str,
        conversation_id: str,
        reply_id: str,
        model: ChatModel,
        decide: Decision,
        *,
        look: Look | None = None,
        new: bool = False,
        fresh: bool = False,
        derived_ids: Mapping[str, str] | None = None,
    ) -> Conversation:
        """Executes a decision that may start the reply `reply_id`, and starts to write it: both or neither.

        Raises TooMany for somebody who asks for more than one person may, and ServerEnding.
        """

        def begin(conversation: Conversation) -> None:
            if conversation.writing_id == reply_id:
                generation = conversation.messages[reply_id].generation
                assert generation is not None  # noqa: S101 - a model's reply has one
                sent = decisions.thread_of([conversation.messages[sent_id] for sent_id in generation.sent_ids])
                self._replies.begin(conversation, sent, model, actor_id=annotator_id, fresh=fresh)

        def within() -> AbstractContextManager[None]:
            if self.ending:
                raise ServerEnding
            return self._limits.slot(annotator_id, self._replies.written_for(annotator_id))

        return await self._execute(
            annotator_id, conversation_id, decide, begin, look=look, within=within, new=new, derived_ids=derived_ids
        )

    async def _execute(
        self,
        annotator_id: str,
        conversation_id: str,
        decide: Decision,
        then: Callable[[Conversation], None] | None = None,
        *,
        look: Look | None = None,
        within: Callable[[], AbstractContextManager[None]] = nullcontext,
        new: bool = False,
        derived_ids: Mapping[str, str] | None = None,
    ) -> Conversation:
        """Decides, appends and does what comes `then`, to the end even if the page that asked goes away.

        `look` comes before, for what the decision wants to know of the log; where it finds that all is done already,
        there is no more to do. `within`: the limits for the rest.

        Commands about one conversation take turns in the order in which they came: of two clicks in a hurry the
        second must not overtake the first on another connection. Raises what the decision raises, NotFound unless the
        conversation is `new`, NotAllowed, StoreError.
        """
        _check_id(conversation_id)

        def checked(conversation: Conversation) -> Sequence[Body]:
            if not new and not conversation.version:
                raise NotFound(NO_CONVERSATION)
            _require_owner(conversation, annotator_id)
            return decide(conversation)

        command = Command(conversation_id, annotator_id, checked, derived_ids=derived_ids or {})
        lock = self._locks.setdefault(conversation_id, asyncio.Lock())

        async def all_of_it() -> Conversation:
            async with lock:
                if look is not None and (done := await look()) is not None:
                    return done
                with within():
                    conversation = (await await_commit(self._store.execute(command))).conversation
                    if then is not None:
                        then(conversation)
                    return conversation

        task = asyncio.create_task(all_of_it())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            return await shielded(task)
        except NotAllowed:
            await self.refuse(annotator_id, OF_ANOTHER)
            raise
        except NotOffered:
            await self.refuse(annotator_id, NOT_OFFERED)
            raise

    async def refuse(self, annotator_id: str, what: str) -> None:
        """Notes that somebody asked for what is not for her. `what`: a code, nothing that a browser sent."""
        await asyncio.to_thread(self._refused, annotator_id, what)


def _require_owner(conversation: Conversation, annotator_id: str) -> None:
    if conversation.version and conversation.annotator_id != annotator_id:
        raise NotAllowed(NOT_YOURS)


def _check_id(conversation_id: str) -> None:
    """Raises NotFound for what no database can look for; addresses come from outside."""
    if sanitize(conversation_id)[1]:
        raise NotFound(NO_CONVERSATION)

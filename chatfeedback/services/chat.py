"""Chat use cases: one coroutine for each command of a user.

Every command checks the owner, decides on the state in the store (never on the page's), and returns after the commit. A
prompt is stored before a model is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager

from chatfeedback.domain import prompts
from chatfeedback.domain.conversation import decide as decisions
from chatfeedback.domain.conversation.events import UNASSIGNED, Assignment, MessageSent
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Body
from chatfeedback.domain.text import validate_prompt
from chatfeedback.domain.types import new_id
from chatfeedback.errors import NO_CONVERSATION, NotAllowed, NotFound, ServerEnding
from chatfeedback.generation.manager import GenerationManager
from chatfeedback.generation.running_reply import Progress
from chatfeedback.inference.chat_model import ChatModel
from chatfeedback.services.commands import (
    NOT_YOURS,
    OTHERS_CONVERSATION,
    CommandExecutor,
    OnRefused,
    Precheck,
    check_id,
    require_owner,
)
from chatfeedback.services.feedback import FeedbackService
from chatfeedback.services.rate_limits import RateLimiter
from chatfeedback.store.log.event_store import Decision, EventStore
from chatfeedback.store.projections import listing

NEW_CONVERSATION = 0
"""Tree version of an empty conversation."""


class ChatService:
    """Service for the conversations of annotators with models.

    Args:
        store: The event store.
        models: The models by name; the first is the default.
        reasons: The configured reason codes and their polarity.
        max_message_chars: Longest prompt.
        max_comment_chars: Longest comment.
        linger_seconds: Time that a reply without watchers goes on.
        limits: Rate limits for one person; none by default.
        on_refused: Callback for refusals, called in a thread with the annotator's id and a code.
    """

    def __init__(
        self,
        store: EventStore,
        models: Mapping[str, ChatModel],
        reasons: Mapping[str, str],
        *,
        max_message_chars: int,
        max_comment_chars: int = 10_000,
        linger_seconds: float,
        limits: RateLimiter | None = None,
        on_refused: OnRefused = lambda _annotator_id, _code: None,
    ) -> None:
        self._store = store
        self._models = models
        self._max_message_chars = max_message_chars
        self._limits = limits or RateLimiter()
        self._commands = CommandExecutor(store, on_refused)
        self.feedback = FeedbackService(store, self._commands, reasons, max_comment_chars=max_comment_chars)
        self._replies = GenerationManager(store, linger_seconds)
        self.ending = False
        """True during shutdown: no more models are asked."""
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """End the orphaned replies of dead processes and return how many; start a sweeper for later ones."""
        ended = await self._replies.orphans.sweep()
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._replies.orphans.run_sweeper())
        return ended

    @property
    def writing(self) -> int:
        """Number of replies that this process writes."""
        return len(self._replies.tasks)

    async def drain(self) -> None:
        """Drain for shutdown: ask no more models and wait until no reply is running; cancel to stop waiting."""
        self.ending = True
        while unfinished := [*self._commands.tasks, *self._replies.tasks]:
            await asyncio.wait(unfinished)

    async def close(self) -> None:
        """Shut down: wait for the running commands, then end the running replies with the text so far."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._commands.close()
        await self._replies.close()

    async def refuse(self, annotator_id: str, code: str) -> None:
        """Record a refusal in the audit. `code` is a constant, never input of a browser."""
        await self._commands.refuse(annotator_id, code)

    # Queries

    async def conversation(self, annotator_id: str, conversation_id: str) -> Conversation:
        """Return a conversation of this annotator. Raises NotFound, NotAllowed."""
        check_id(conversation_id)
        conversation = await asyncio.to_thread(self._store.conversation, conversation_id)
        if conversation is None:
            raise NotFound(NO_CONVERSATION)
        try:
            require_owner(conversation, annotator_id)
        except NotAllowed:
            await self._commands.refuse(annotator_id, OTHERS_CONVERSATION)
            raise
        return conversation

    async def version(self, annotator_id: str, conversation_id: str) -> int:
        """Return the version of an own conversation and read nothing else of it. Raises NotFound, NotAllowed."""
        check_id(conversation_id)
        row = await asyncio.to_thread(self._store.owner_and_version, conversation_id)
        if row is None:
            raise NotFound(NO_CONVERSATION)
        owner_id, version = row
        if owner_id != annotator_id:
            await self._commands.refuse(annotator_id, OTHERS_CONVERSATION)
            raise NotAllowed(NOT_YOURS)
        return version

    def cached_conversation(self, conversation: Conversation) -> Conversation:
        """Return the newest state in the cache, or `conversation` itself; do not query the database."""
        cached = self._store.cached_conversation(conversation.conversation_id)
        return cached if cached is not None and cached.version > conversation.version else conversation

    def is_newest(self, conversation: Conversation) -> bool:
        """Return True if the version at the last checkpoint proves that this state is current; no database query.

        Known only while this process writes a reply in the conversation, and up to a second old; else False.
        """
        version = self._replies.stored_version(conversation.writing_id or "")
        return version is not None and version <= conversation.version

    async def conversations(self, annotator_id: str, limit: int) -> list[listing.ConversationSummary]:
        """Return this annotator's conversations, newest first, at most `limit`."""

        def read() -> list[listing.ConversationSummary]:
            with self._store.reading() as tx:
                return listing.latest(tx, annotator_id, limit)

        return await asyncio.to_thread(read)

    def watch(self, conversation_id: str, message_id: str) -> AsyncGenerator[Progress, None]:
        """Follow a running reply; close the iterator to stop watching."""
        return self._replies.watch(conversation_id, message_id)

    @property
    def model_names(self) -> Sequence[str]:
        """Names of the offered models, the default first."""
        return tuple(self._models)

    def model(self, name: str | None) -> ChatModel:
        """Return the model of this name, or the default for None. Raises NotFound."""
        if name is None:
            return next(iter(self._models.values()))
        try:
            return self._models[name]
        except KeyError:
            raise NotFound("This model is not offered here any more; choose another one.") from None

    # Commands

    async def send(
        self,
        annotator_id: str,
        conversation_id: str | None,
        text: str,
        *,
        model: str | None = None,
        expected_version: int | None,
        consent_version: str | None = None,
        assignment: Assignment = UNASSIGNED,
        prompt_id: str | None = None,
        viewed_id: str | None = None,
    ) -> Conversation:
        """Store a prompt and start its reply. Idempotent by `prompt_id`.

        Args:
            annotator_id: The owner of the conversation.
            conversation_id: The conversation; None starts a new one.
            text: The prompt.
            model: The name of the model; None for the default.
            expected_version: The tree version that the page shows.
            consent_version: The consent version of a new conversation.
            assignment: The study assignment of a new conversation.
            prompt_id: The page's own id of the prompt (`prompts.page_id`). If it is stored already, the conversation
                is returned as it is, and no rate limit counts it.
            viewed_id: The alternative of the last reply that the page shows, if it is not the stored one; also below.

        Raises MessageRejected, Conflict, TooMany.
        """
        new = conversation_id is None
        if conversation_id is not None:
            check_id(conversation_id)
        prompt_id = prompt_id or prompts.new_page_id()
        conversation_id = conversation_id or prompts.conversation_id(annotator_id, prompt_id)
        event_id = prompts.event_id(annotator_id, conversation_id, prompt_id)
        text, sanitized = validate_prompt(text, max_length=self._max_message_chars)
        message_id, reply_id = new_id(), new_id()
        chat_model = self.model(model)
        return await self._reply(
            annotator_id,
            conversation_id,
            reply_id,
            chat_model,
            lambda c: decisions.send(
                c,
                text,
                chat_model.plan,
                message_id=message_id,
                reply_id=reply_id,
                altered=sanitized,
                consent_version=consent_version,
                assignment=assignment,
                event_id=event_id,
                viewed_id=viewed_id,
                expected_version=expected_version,
            ),
            precheck=lambda: self.first_result(annotator_id, conversation_id, prompt_id),
            new=new,
            derived_ids={MessageSent.KIND: event_id},
        )

    async def first_result(self, annotator_id: str, conversation_id: str | None, prompt_id: str) -> Conversation | None:
        """Return the conversation that contains this prompt, as its first or a later one; else None.

        Raises NotAllowed.
        """
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
        expected_version: int | None,
    ) -> Conversation:
        """Start an alternative to the last reply. Raises InputError, Conflict."""
        reply_id = new_id()
        chat_model = self.model(model)
        return await self._reply(
            annotator_id,
            conversation_id,
            reply_id,
            chat_model,
            lambda c: decisions.retry(
                c,
                chat_model.plan,
                message_id=message_id,
                reply_id=reply_id,
                viewed_id=viewed_id,
                expected_version=expected_version,
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
        expected_version: int | None,
    ) -> Conversation:
        """Store a new version of a shown message; a prompt gets a new reply.

        Raises MessageRejected, Conflict, and InputError for a reply without text.
        """
        text, sanitized = validate_prompt(text, max_length=self._max_message_chars)
        edited_id, reply_id = new_id(), new_id()
        chat_model = self.model(model)

        def decide(conversation: Conversation) -> tuple[Body, ...]:
            decisions.check_has_text(conversation, message_id)
            return decisions.edit(
                conversation,
                text,
                chat_model.plan,
                message_id=message_id,
                new_id=edited_id,
                reply_id=reply_id,
                altered=sanitized,
                viewed_id=viewed_id,
                expected_version=expected_version,
            )

        return await self._reply(annotator_id, conversation_id, reply_id, chat_model, decide)

    async def undo(
        self, annotator_id: str, conversation_id: str, *, viewed_id: str | None = None, expected_version: int | None
    ) -> tuple[Conversation, str]:
        """Undo the last exchange and return its prompt too; the exchange stays in the tree.

        Raises InputError, Conflict.
        """
        texts: list[str] = []

        def decide(conversation: Conversation) -> Sequence[Body]:
            bodies = decisions.undo(conversation, viewed_id=viewed_id, expected_version=expected_version)
            texts[:] = [conversation.messages[bodies[-1].message_id].text]
            return bodies

        conversation = await self._commands.execute(annotator_id, conversation_id, decide)
        return conversation, texts[0]

    async def choose(
        self, annotator_id: str, conversation_id: str, message_id: str, *, expected_version: int | None
    ) -> Conversation:
        """Choose the alternative of the last reply from which the conversation goes on. Raises InputError, Conflict."""
        return await self._commands.execute(
            annotator_id,
            conversation_id,
            lambda c: decisions.choose(c, message_id=message_id, expected_version=expected_version),
        )

    async def clear(self, annotator_id: str, conversation_id: str) -> Conversation:
        """Record that the annotator moves on to a new conversation; a running reply goes on."""
        return await self._commands.execute(annotator_id, conversation_id, decisions.clear)

    async def stop(self, annotator_id: str, conversation_id: str) -> Conversation:
        """Stop the running reply, if any; its text so far is kept."""
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
        precheck: Precheck | None = None,
        new: bool = False,
        fresh: bool = False,
        derived_ids: Mapping[str, str] | None = None,
    ) -> Conversation:
        """Execute a decision that may begin the reply `reply_id`, and start to generate it: both or neither.

        Raises TooMany beyond the rate limit, and ServerEnding during shutdown.
        """

        def start_reply(conversation: Conversation) -> None:
            if conversation.writing_id == reply_id:
                generation = conversation.messages[reply_id].generation
                assert generation is not None  # noqa: S101 - a model's reply has one
                sent = decisions.thread_of([conversation.messages[sent_id] for sent_id in generation.sent_ids])
                self._replies.start_reply(conversation, sent, model, actor_id=annotator_id, fresh=fresh)

        def limit() -> AbstractContextManager[None]:
            if self.ending:
                raise ServerEnding
            return self._limits.slot(annotator_id, self._replies.running_count(annotator_id))

        return await self._commands.execute(
            annotator_id,
            conversation_id,
            decide,
            start_reply,
            precheck=precheck,
            limit=limit,
            new=new,
            derived_ids=derived_ids,
        )

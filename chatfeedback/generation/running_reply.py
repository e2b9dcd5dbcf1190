"""A reply of which the end is not stored yet: what has come, who watches, and how it will be recorded."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from chatfeedback.domain.conversation.decide import ThreadMessage
from chatfeedback.domain.conversation.events import UNKNOWN, Provenance, ReplyFinished
from chatfeedback.domain.conversation.state import Conversation, Message
from chatfeedback.domain.text import sanitize
from chatfeedback.domain.types import FinalStatus
from chatfeedback.errors import ChatFeedbackError, ContextExceeded, EmptyReply, ModelError, ModelFailed
from chatfeedback.inference.chat_model import ChatModel
from chatfeedback.inference.client import Delta, Finish

log = logging.getLogger(__name__)

MAX_REPORTED_TOKENS = 2**31 - 1
"""That a count can have in every database."""
QUOTED = 200
"""Characters of a model's refusal that are quoted."""
NOT_STORED_YET = "This reply cannot be stored at the moment. Its text is kept, and stored as soon as that is possible."
NOT_READ_YET = "The database cannot be read at the moment. What is new is shown as soon as it can."


@dataclass(frozen=True, slots=True)
class Progress:
    """What a watcher sees of a reply. `conversation` is set once, at the end: where it stands then."""

    text: str
    conversation: Conversation | None = None
    notice: str | None = None
    """A sentence about trouble that does not end the reply."""


@dataclass(slots=True)
class RunningReply:
    """A reply that this process writes."""

    conversation_id: str
    actor_id: str
    reply: Message
    thread: Sequence[ThreadMessage]
    model: ChatModel
    fresh: bool
    parts: list[str] = field(default_factory=list)
    finish: Finish | None = None
    sent_ids: tuple[str, ...] | None = None
    provenance: Provenance = UNKNOWN
    started: float = field(default_factory=time.monotonic)
    first_token: float | None = None
    watchers: int = 0
    unwatched_since: float = field(default_factory=time.monotonic)
    ending: asyncio.Future[FinalStatus] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """How it ends, as soon as that is known."""
    pause: str | None = None
    """A sentence from the first attempt that failed until the model begins to answer."""
    trouble: ChatFeedbackError | None = None
    """Why the store did not take the text so far, or the end; None as soon as it does."""
    stored_version: int = 0
    """Of the conversation in the database when that was `heard`; 0 before the first time."""
    heard: float = field(default_factory=time.monotonic)
    over: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Done when there will be no more news."""
    conversation: Conversation | None = None
    """Set when the end is stored; None afterwards means that this process had to end before the store was back, or
    that the conversation was `erased`."""
    erased: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once, at the next change; take it before looking, then nothing is missed."""

    @property
    def text(self) -> str:
        """What has come so far; halves of a character that came apart are together."""
        if len(self.parts) > 1:
            self.parts[:] = ["".join(self.parts).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")]
        return self.parts[0] if self.parts else ""

    @property
    def progress(self) -> Progress:
        """What a watcher sees of it now."""
        notice = NOT_STORED_YET if self.trouble else self.pause
        return Progress(sanitize(self.text)[0], self.conversation, notice)

    def ask_to_end(self, status: FinalStatus) -> None:
        """Ends it with this status, unless it ends already."""
        if not self.ending.done():
            self.ending.set_result(status)

    def announce(self) -> None:
        """Wakes whoever waits for news."""
        self.news.set()
        self.news = asyncio.Event()

    def note(self, trouble: ChatFeedbackError | None) -> None:
        """Notes how the store is, and announces it when that is new."""
        if trouble is not self.trouble:
            self.trouble = trouble
            self.announce()

    async def read(self) -> ModelError | None:
        """Reads the model's stream to its end; what went wrong, None when the reply is whole."""
        try:
            while True:
                try:
                    await self._read_stream()
                    break
                except ContextExceeded:
                    shorter = None if self.parts else self.model.shrink(self.thread)
                    if shorter is None:
                        raise
                    self.thread = shorter
                    self.sent_ids = tuple(message.message_id for message in shorter)
            if not self.text.strip():
                raise EmptyReply(self._why_empty())
        except ModelError as error:
            return error
        except Exception:
            log.exception("reply %s failed", self.reply.message_id)
            return ModelFailed("Something went wrong while the reply was written; try Retry.")
        finally:
            self.pause = None
        return None

    async def _read_stream(self) -> None:
        generation = self.reply.generation
        assert generation is not None  # noqa: S101 - a model's reply has one
        stream = self.model.stream(
            self.thread,
            seed=generation.seed,
            fresh=self.fresh,
            on_pause=self._note_pause,
            on_provenance=self._note_provenance,
        )
        async with contextlib.aclosing(stream):
            async for piece in stream:
                self.pause = None
                if isinstance(piece, Delta):
                    if self.first_token is None:
                        self.first_token = time.monotonic()
                    self.parts.append(piece.text)
                    self.announce()
                else:
                    self.finish = piece

    def _why_empty(self) -> str:
        """Say why a reply that came to its end has no text. Retry is recommended only where it can help."""
        finish, generation = self.finish, self.reply.generation
        if finish and finish.refusal:
            said = " ".join(finish.refusal.split())
            return f"The model refused to answer: “{said if len(said) <= QUOTED else said[:QUOTED].rstrip() + '…'}”"
        match finish.finish_reason if finish else None:
            case "content_filter":
                return "A content filter of the model's provider withheld this reply; ask in another way."
            case "length":
                limit = f"{generation.max_tokens:,} tokens" if generation else "tokens"
                return f"The model used up its {limit} before the first word, as for reasoning; allow more: max_tokens."
            case "tool_calls" | "function_call":
                return "The model asked for a tool instead of answering, and there are none here; ask in another way."
        return "The model sent an empty reply; try Retry."

    def _note_provenance(self, provenance: Provenance) -> None:
        self.provenance = provenance

    def _note_pause(self, seconds: float | None) -> None:
        if seconds is None:
            self.pause = "The model was busy or away; it has been asked again."
        else:
            counted = max(1, math.ceil(seconds))
            after = "a second" if counted == 1 else f"{counted} seconds"
            self.pause = f"The model is busy or away; it is asked again after {after}."
        self.announce()

    def ended(self, status: FinalStatus, error: ModelError | None) -> ReplyFinished:
        """Its end, as it goes into the log, with all the text that has come."""
        text, altered = sanitize(self.text)
        finish, first, generation = self.finish, self.first_token, self.reply.generation
        assert generation is not None  # noqa: S101 - a model's reply has one
        if not text.strip():
            text = ""
        reason = finish.finish_reason if finish else None
        return ReplyFinished(
            message_id=self.reply.message_id,
            status=status,
            text=text,
            model=generation.model,
            altered=altered,
            # What a server says beside the text is not worth the text: nonsense counts as nothing.
            finish_reason=sanitize(reason)[0] if isinstance(reason, str) else None,
            error=sanitize(str(error))[0] if error else None,
            time_to_first_token=round(first - self.started, 6) if first is not None else None,
            duration=round(time.monotonic() - self.started, 6),
            prompt_tokens=_count(finish.prompt_tokens) if finish else None,
            completion_tokens=_count(finish.completion_tokens) if finish else None,
            sent_ids=self.sent_ids,
            provenance=_storable(self.provenance),
        )


def _storable(provenance: Provenance) -> Provenance:
    """Return it with the words of the endpoint as they can be stored."""
    said = asdict(provenance)
    words = {name: sanitize(value)[0] for name, value in said.items() if isinstance(value, str)}
    return Provenance(**{**said, **words})


def _count(reported: object) -> int | None:
    return reported if type(reported) is int and 0 <= reported <= MAX_REPORTED_TOKENS else None

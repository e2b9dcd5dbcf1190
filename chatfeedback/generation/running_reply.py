"""Running reply: the in-memory state of a reply until its end is stored."""

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
"""Largest token count that every database can store (32-bit integer)."""
MAX_QUOTED_CHARS = 200
"""Characters quoted of a model's refusal."""
NOT_STORED_YET = "This reply cannot be stored now. Its text is kept, and stored as soon as the database is available."
NOT_READ_YET = "The database cannot be read now. New text appears as soon as it is available."


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a reply, as watchers see it. `conversation` is set only at the end: its state then."""

    text: str
    conversation: Conversation | None = None
    notice: str | None = None
    """Sentence about a problem that does not end the reply."""


@dataclass(slots=True)
class RunningReply:
    """Reply that this process writes."""

    conversation_id: str
    actor_id: str
    reply: Message
    thread: Sequence[ThreadMessage]
    model: ChatModel
    fresh: bool
    """Bypass caches of whole replies."""
    parts: list[str] = field(default_factory=list)
    finish: Finish | None = None
    sent_ids: tuple[str, ...] | None = None
    request_changes: tuple[str, ...] = ()
    provenance: Provenance = UNKNOWN
    started_at: float = field(default_factory=time.monotonic)
    first_token_at: float | None = None
    watchers: int = 0
    unwatched_since: float = field(default_factory=time.monotonic)
    final_status: asyncio.Future[FinalStatus] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """Final status, set by the first `request_end`: end of the stream, Stop, shutdown or a lost lease."""
    retry_notice: str | None = None
    """Sentence for watchers, from the first failed attempt until the model begins to answer."""
    store_error: ChatFeedbackError | None = None
    """Error of the last attempt to store the text so far or the end; None as soon as one succeeds."""
    stored_version: int = 0
    """Version of the conversation at the last checkpoint, read at `stored_version_at`; 0 before the first one."""
    stored_version_at: float = field(default_factory=time.monotonic)
    finished: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Done when there will be no more changes."""
    conversation: Conversation | None = None
    """State of the conversation once the end is stored.

    If it is None when `finished` is done, this process shut down first, or the conversation was `erased`.
    """
    erased: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once, at the next change; take it before you read the state, so that no change is missed."""

    @property
    def text(self) -> str:
        """Text so far; surrogate pairs that came in two pieces are joined."""
        if len(self.parts) > 1:
            self.parts[:] = ["".join(self.parts).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")]
        return self.parts[0] if self.parts else ""

    @property
    def progress(self) -> Progress:
        """Current progress for watchers."""
        notice = NOT_STORED_YET if self.store_error else self.retry_notice
        return Progress(sanitize(self.text)[0], self.conversation, notice)

    def request_end(self, status: FinalStatus) -> None:
        """Request that the reply ends with this status; the first request wins."""
        if not self.final_status.done():
            self.final_status.set_result(status)

    def notify(self) -> None:
        """Wake the watchers that wait for a change."""
        self.changed.set()
        self.changed = asyncio.Event()

    def set_store_error(self, store_error: ChatFeedbackError | None) -> None:
        """Set the error of the last store operation, None after a success; notify watchers of a change."""
        if store_error is not self.store_error:
            self.store_error = store_error
            self.notify()

    async def read(self) -> ModelError | None:
        """Read the model's stream to its end; return the error, or None if the reply is complete.

        If the context window is exceeded before the first piece, retry with a shorter thread.
        """
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
                raise EmptyReply(self._explain_empty())
        except ModelError as error:
            return error
        except Exception:
            log.exception("reply %s failed", self.reply.message_id)
            return ModelFailed("Something went wrong while the reply was written; try Retry.")
        finally:
            self.retry_notice = None
        return None

    async def _read_stream(self) -> None:
        generation = self.reply.generation
        assert generation is not None  # noqa: S101 - a model's reply has one
        stream = self.model.stream(
            self.thread,
            seed=generation.seed,
            fresh=self.fresh,
            on_pause=self._on_pause,
            on_provenance=self._on_provenance,
            on_changes=self._on_changes,
        )
        async with contextlib.aclosing(stream):
            async for piece in stream:
                self.retry_notice = None
                if isinstance(piece, Delta):
                    if self.first_token_at is None:
                        self.first_token_at = time.monotonic()
                    self.parts.append(piece.text)
                    self.notify()
                else:
                    self.finish = piece

    def _explain_empty(self) -> str:
        """Explain why a complete reply has no text; recommend Retry only where it can help."""
        finish, generation = self.finish, self.reply.generation
        if finish and finish.refusal:
            refusal = " ".join(finish.refusal.split())
            if len(refusal) > MAX_QUOTED_CHARS:
                refusal = refusal[:MAX_QUOTED_CHARS].rstrip() + "…"
            return f"The model refused to answer: “{refusal}”"
        match finish.finish_reason if finish else None:
            case "content_filter":
                return "A content filter of the model's provider withheld this reply; ask in another way."
            case "length":
                limit = f"{generation.max_tokens:,} tokens" if generation else "tokens"
                return f"The model used all of its {limit} before the first word; allow more: max_tokens."
            case "tool_calls" | "function_call":
                return "The model tried to call a tool, and this chat has none; ask in another way."
        return "The model sent an empty reply; try Retry."

    def _on_provenance(self, provenance: Provenance) -> None:
        self.provenance = provenance

    def _on_changes(self, changes: tuple[str, ...]) -> None:
        self.request_changes = changes

    def _on_pause(self, seconds: float | None) -> None:
        if seconds is None:
            self.retry_notice = "The model was busy or unavailable; trying again now."
        else:
            rounded = max(1, math.ceil(seconds))
            delay = "a second" if rounded == 1 else f"{rounded} seconds"
            self.retry_notice = f"The model is busy or unavailable; the next attempt starts in {delay}."
        self.notify()

    def to_event(self, status: FinalStatus, error: ModelError | None) -> ReplyFinished:
        """Build the event that ends the reply, with all the text that has come."""
        text, sanitized = sanitize(self.text)
        finish, first, generation = self.finish, self.first_token_at, self.reply.generation
        assert generation is not None  # noqa: S101 - a model's reply has one
        if not text.strip():
            text = ""
        reason = finish.finish_reason if finish else None
        return ReplyFinished(
            message_id=self.reply.message_id,
            status=status,
            text=text,
            model=generation.model,
            altered=sanitized,
            # Invalid metadata of a server counts as missing: it must not cost the text.
            finish_reason=sanitize(reason)[0] if isinstance(reason, str) else None,
            error=sanitize(str(error))[0] if error else None,
            time_to_first_token=round(first - self.started_at, 6) if first is not None else None,
            duration=round(time.monotonic() - self.started_at, 6),
            prompt_tokens=_valid_count(finish.prompt_tokens) if finish else None,
            completion_tokens=_valid_count(finish.completion_tokens) if finish else None,
            sent_ids=self.sent_ids,
            request_changes=self.request_changes,
            provenance=_sanitize_provenance(self.provenance),
        )


def _sanitize_provenance(provenance: Provenance) -> Provenance:
    """Return the provenance with the endpoint's texts sanitized for storage."""
    values = asdict(provenance)
    texts = {name: sanitize(value)[0] for name, value in values.items() if isinstance(value, str)}
    return Provenance(**{**values, **texts})


def _valid_count(reported: object) -> int | None:
    return reported if type(reported) is int and 0 <= reported <= MAX_REPORTED_TOKENS else None

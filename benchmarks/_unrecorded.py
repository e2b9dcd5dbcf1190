"""Baseline for load: the same application with a store that records nothing.

Pages, handlers, flush, access middleware and history are chatfeedback's own, and so are the decisions and the fold.
Conversations are kept in memory and are lost with the process. Only users and sessions are read from the database.

    python -m benchmarks._unrecorded serve --port PORT …       # all options of `chatfeedback serve`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Engine, Executable

from chatfeedback import cli
from chatfeedback.domain.conversation.evolve import evolve
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Event
from chatfeedback.store import opening
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database.clock import now
from chatfeedback.store.log.event_store import Appended, EventStore
from chatfeedback.store.log.writer import Writer
from chatfeedback.store.projections import listing
from chatfeedback.store.schema import to_micros

T = TypeVar("T")


class UnrecordedStore(EventStore):
    """Event store that decides and folds like the real one, synchronously and in memory."""

    def __init__(self, engine: Engine, writer: Writer, **options: Any) -> None:
        writer.close()
        self.conversations: dict[str, Conversation] = {}
        """Conversations by id, the most recently used at the end."""
        self._transaction = _NoTransaction(self.conversations)
        super().__init__(engine, _NoWriter(self._transaction), **options)

    def _current(self, _tx: Any, conversation_id: str) -> Conversation:
        return self.conversations.get(conversation_id) or Conversation(conversation_id)

    def _append(self, _tx: Any, before: Conversation, new: tuple[Event, ...]) -> Appended:
        after, _ = evolve(before, new)
        self.conversations.pop(before.conversation_id, None)
        self.conversations[before.conversation_id] = after
        return Appended(new, after)

    def conversation(self, conversation_id: str) -> Conversation | None:
        """Return the current state of a conversation; None if there is none."""
        return self.conversations.get(conversation_id)

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """Open a transaction that reads nothing."""
        yield self._transaction


class _NoTransaction:
    """Transaction for the statements of a chat: leases, of which other processes have none, and the listing."""

    def __init__(self, conversations: Mapping[str, Conversation]) -> None:
        self._conversations = conversations

    def run(self, _statement: Executable, _parameters: Mapping[str, Any]) -> int:
        """Write nothing."""
        return 0

    def run_many(self, _statement: Executable, _rows: Iterable[Mapping[str, Any]]) -> None:
        """Write nothing."""

    def one(self, _statement: Executable, _parameters: Mapping[str, Any]) -> None:
        """Return no row."""

    def all(self, statement: Executable, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows of the statement, from the conversations in memory."""
        if statement in (reply_leases._EXPIRED, reply_leases._AHEAD, reply_leases._SELECT_UNLOCKED):
            return []
        conversations = self._conversations.values()
        if statement is reply_leases._SIGNALS:
            watched_at = to_micros(now())
            return [(c.writing_id, False, watched_at, c.version) for c in conversations if c.writing_id]
        assert statement is listing._LATEST
        newest = list(reversed(conversations))[: parameters["max_rows"]]
        return [(c.conversation_id, c.title, to_micros(c.updated_at)) for c in newest if c.updated_at]


class _NoWriter:
    """Writer that runs the work at once, in a transaction that writes nothing."""

    def __init__(self, transaction: _NoTransaction) -> None:
        self._transaction = transaction

    def submit(self, work: Callable[[Any], T]) -> Future[T]:
        """Run the work; the future has its result or its error."""
        future: Future[T] = Future()
        try:
            future.set_result(work(self._transaction))
        except Exception as error:  # noqa: BLE001 - the future gets it
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Do nothing, as no work is queued."""


if __name__ == "__main__":
    opening.EventStore = UnrecordedStore  # type: ignore[misc, assignment]
    cli.main()

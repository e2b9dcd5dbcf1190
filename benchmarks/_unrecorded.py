"""The same application with a store that records nothing: what load is measured beside.

Pages, handlers, flush, gate and history are chatfeedback's own, and so are the decisions and the fold; conversations
are kept in memory and are gone with the process. Only people are read from the database, which they need to be let in.

    python -m benchmarks._unrecorded serve --port PORT …       # whatever `chatfeedback serve` takes
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
from chatfeedback.domain.types import new_id
from chatfeedback.server import app
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database.clock import now
from chatfeedback.store.log.event_store import Appended, Committed, EventStore
from chatfeedback.store.projections import listing
from chatfeedback.store.projections.conversation import ConversationProjection
from chatfeedback.store.schema import to_micros

T = TypeVar("T")


class UnrecordedStore(EventStore):
    """Decides and folds like the real one, at once and in memory."""

    def __init__(self, engine: Engine, *, committed: Committed | None = None) -> None:
        self.held: dict[str, Conversation] = {}
        """By id, the one used last at the end."""
        self._nothing = _NoTransaction(self.held)
        super().__init__(
            engine,
            _NoWriter(self._nothing),
            states=ConversationProjection(locks=False),
            projectors=(),
            owner=new_id(),
            committed=committed,
        )

    def _current(self, _tx: Any, conversation_id: str) -> Conversation:
        return self.held.get(conversation_id) or Conversation(conversation_id)

    def _append(self, _tx: Any, before: Conversation, new: tuple[Event, ...]) -> Appended:
        after, _ = evolve(before, new)
        self.held.pop(before.conversation_id, None)
        self.held[before.conversation_id] = after
        return Appended(new, after)

    def conversation(self, conversation_id: str) -> Conversation | None:
        return self.held.get(conversation_id)

    @contextmanager
    def reading(self) -> Iterator[Any]:
        yield self._nothing


class _NoTransaction:
    """Knows the statements that a chat asks for: drafts, of which nobody else ever knows, and the list."""

    def __init__(self, held: Mapping[str, Conversation]) -> None:
        self._held = held

    def run(self, _statement: Executable, _parameters: Mapping[str, Any]) -> int:
        return 0

    def run_many(self, _statement: Executable, _rows: Iterable[Mapping[str, Any]]) -> None:
        """Saves nothing."""

    def one(self, _statement: Executable, _parameters: Mapping[str, Any]) -> None:
        """There is nothing."""

    def all(self, statement: Executable, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        if statement in (reply_leases._EXPIRED, reply_leases._AHEAD, reply_leases._SELECT_UNLOCKED):
            return []
        if statement is reply_leases._SIGNALS:
            seen = to_micros(now())
            return [(one.writing_id, False, seen, one.version) for one in self._held.values() if one.writing_id]
        assert statement is listing._LATEST
        newest = list(reversed(self._held.values()))[: parameters["max_rows"]]
        return [(one.conversation_id, one.title, to_micros(one.updated_at)) for one in newest if one.updated_at]


class _NoWriter:
    """Runs the work at once, on nothing."""

    def __init__(self, nothing: _NoTransaction) -> None:
        self._nothing = nothing

    def submit(self, work: Callable[[Any], T]) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(work(self._nothing))
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            future.set_exception(error)
        return future

    def close(self) -> None:
        """There is nothing to finish."""


if __name__ == "__main__":
    app.open_event_store = UnrecordedStore  # type: ignore[assignment]
    cli.main()

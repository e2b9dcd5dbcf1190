"""Projectors: what the event store needs of projections, which it is given and does not import.

A projector maintains its tables in the transaction that appends. The state reader loads the current state of a
conversation for the next decision. `chatfeedback.store.opening` puts the store of this application together.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from chatfeedback.domain.conversation.evolve import Changes
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.store.log.statements import Transaction


class StateReader(Protocol):
    """Reader of the current states of conversations."""

    def version(self, tx: Transaction, conversation_id: str) -> int | None:
        """Return the version; None if there is no such conversation."""
        ...

    def lock_version(self, tx: Transaction, conversation_id: str) -> int | None:
        """Return the version and keep other writers from the conversation until the transaction ends."""
        ...

    def owner_and_version(self, tx: Transaction, conversation_id: str) -> tuple[str, int] | None:
        """Return the annotator's id and the version."""
        ...

    def load(self, tx: Transaction, conversation_id: str) -> Conversation | None:
        """Return the whole state."""
        ...


class Projector(Protocol):
    """Maintainer of tables that follow from the log."""

    def project(
        self, tx: Transaction, before: Conversation, after: Conversation, changes: Changes, recorded_at: datetime
    ) -> None:
        """Bring the tables from the state `before` to the state `after`; `changes` are the parts that differ."""
        ...

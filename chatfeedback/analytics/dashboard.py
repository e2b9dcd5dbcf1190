"""What the Analytics tab asks: all figures of one moment, and the way from a row of the table to its conversation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import Connection, Engine, func, select

from chatfeedback.analytics.figures import feedback
from chatfeedback.analytics.figures.headline import Headline, headline
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import NotFound
from chatfeedback.query.filters import Filters
from chatfeedback.query.sql_filters import read_snapshot
from chatfeedback.store.accounts import annotators, pseudonyms
from chatfeedback.store.accounts.pseudonyms import DisplayNames
from chatfeedback.store.schema import events, messages


@dataclass(frozen=True, slots=True)
class FeedbackPage:
    """A part of the table of feedback, from row `offset` on, of `total`."""

    rows: pd.DataFrame
    offset: int
    total: int


@dataclass(frozen=True, slots=True)
class Overview:
    """The figures of one state of the database."""

    position: int
    """Of the newest event then, 0 before the first. Equal positions mean equal figures, but for one rare case:
    on Postgres an event can become visible after one with a higher position, and waits for the next change then."""
    headline: Headline
    per_day: pd.DataFrame
    by_model: pd.DataFrame
    reasons: pd.DataFrame
    latest: FeedbackPage


class DashboardQueries:
    """Answers from a database that is at the newest schema. Every method may raise a StoreError.

    `conversation` finds a conversation by its id, None when there is none. Who may not see annotators' names asks with
    `names=False`, and gets pseudonyms.
    """

    def __init__(self, engine: Engine, conversation: Callable[[str], Conversation | None]) -> None:
        self._engine = engine
        self._conversation = conversation

    def position(self) -> int:
        """The position of the newest event, 0 before the first."""
        with read_snapshot(self._engine) as connection:
            return _position(connection)

    def overview(
        self, filters: Filters, offset: int = 0, limit: int = feedback.PAGE, *, names: bool = True
    ) -> Overview:
        """All figures, and `limit` rows of the table from `offset` on; beyond its end, the last page."""
        called = self._called(names)
        with read_snapshot(self._engine) as connection:
            return Overview(
                position=_position(connection),
                headline=headline(connection, filters),
                per_day=feedback.per_day(connection, filters),
                by_model=feedback.by_model(connection, filters),
                reasons=feedback.reasons(connection, filters),
                latest=_page(connection, filters, offset, limit, called),
            )

    def latest(
        self, filters: Filters, offset: int = 0, limit: int = feedback.PAGE, *, names: bool = True
    ) -> FeedbackPage:
        """The table alone, as `overview` has it."""
        called = self._called(names)
        with read_snapshot(self._engine) as connection:
            return _page(connection, filters, offset, limit, called)

    def models(self, annotator_id: str | None = None) -> list[str]:
        """The models that were ever asked for a reply, by name; with an annotator, in her conversations."""
        if annotator_id is not None:
            asked = messages.c.model.is_not(None) & (messages.c.annotator_id == annotator_id)
            with read_snapshot(self._engine) as connection:
                return sorted(connection.scalars(select(messages.c.model).where(asked).distinct()))
        # From one name to the next along the index: what there is in between is not looked at.
        least = select(func.min(messages.c.model).label("model")).where(messages.c.model.is_not(None))
        first = least.cte("seen", recursive=True)
        after = least.where(messages.c.model > first.c.model).scalar_subquery()
        seen = first.union_all(select(after).where(first.c.model.is_not(None)))
        with read_snapshot(self._engine) as connection:
            return list(connection.execute(select(seen.c.model).where(seen.c.model.is_not(None))).scalars())

    def annotators(self, *, names: bool = True) -> dict[str, str]:
        """What everybody is called, by id, in the order of what they are called."""
        people = annotators.names(self._engine)
        if called := self._called(names):
            people = {annotator_id: called(annotator_id) for annotator_id in people}
        return dict(sorted(people.items(), key=lambda person: person[1].casefold()))

    def conversation(self, conversation_id: str) -> Conversation:
        """The conversation with this id. Raises NotFound."""
        found = self._conversation(conversation_id)
        if found is None:
            raise NotFound("There is no such conversation.")
        return found

    def _called(self, names: bool) -> DisplayNames | None:
        """None: by the names, which the tables have already."""
        return None if names else pseudonyms.pseudonyms(self._engine)


def _page(
    connection: Connection, filters: Filters, offset: int, limit: int, called: DisplayNames | None
) -> FeedbackPage:
    total = feedback.count(connection, filters)
    offset = max(0, min(offset, (total - 1) // limit * limit))
    rows = feedback.latest(connection, filters, limit, offset)
    if called is not None:
        rows["annotator"] = [called(annotator_id) for annotator_id in rows["annotator_id"]]
    return FeedbackPage(rows, offset, total)


def _position(connection: Connection) -> int:
    return connection.execute(select(func.max(events.c.position))).scalar() or 0

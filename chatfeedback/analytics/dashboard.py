"""Queries of the Analytics tab: all figures of one snapshot, and the conversation behind a row of feedback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import Connection, Engine, func, select

from chatfeedback.analytics.figures import feedback
from chatfeedback.analytics.figures.headline import Headline, headline
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import NO_CONVERSATION, NotFound
from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.query.sql_filters import read_snapshot
from chatfeedback.store.accounts import annotators, pseudonyms
from chatfeedback.store.accounts.pseudonyms import DisplayNames
from chatfeedback.store.schema import events, messages


@dataclass(frozen=True, slots=True)
class FeedbackPage:
    """Page of the feedback table: rows from `offset` on, of `total`."""

    rows: pd.DataFrame
    offset: int
    total: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Figures of one snapshot of the database."""

    position: int
    """Position of the newest event, 0 before the first. Equal positions mean equal figures, with one rare exception. On
    Postgres an event can become visible after one with a higher position; it then shows up with the next change."""
    headline: Headline
    per_day: pd.DataFrame
    by_model: pd.DataFrame
    reasons: pd.DataFrame
    latest: FeedbackPage


class DashboardQueries:
    """Queries on a database at the newest schema. Every method may raise a StoreError.

    Callers that may not see annotators' names pass `names=False`, and get pseudonyms.

    Args:
        engine: Engine of the database.
        find_conversation: Returns a conversation by its id; None if there is none.
    """

    def __init__(self, engine: Engine, find_conversation: Callable[[str], Conversation | None]) -> None:
        self._engine = engine
        self._find_conversation = find_conversation

    def position(self) -> int:
        """Return the position of the newest event, 0 before the first."""
        with read_snapshot(self._engine) as connection:
            return _position(connection)

    def overview(
        self, filters: ResolvedFilters, offset: int = 0, limit: int = feedback.PAGE, *, names: bool = True
    ) -> Overview:
        """Return all figures, and `limit` rows of the table from `offset` on; beyond its end, the last page."""
        display_name = self._pseudonyms_unless(names)
        with read_snapshot(self._engine) as connection:
            return Overview(
                position=_position(connection),
                headline=headline(connection, filters),
                per_day=feedback.per_day(connection, filters),
                by_model=feedback.by_model(connection, filters),
                reasons=feedback.reasons(connection, filters),
                latest=_page(connection, filters, offset, limit, display_name),
            )

    def latest(
        self, filters: ResolvedFilters, offset: int = 0, limit: int = feedback.PAGE, *, names: bool = True
    ) -> FeedbackPage:
        """Return one page of the feedback table; beyond its end, the last page."""
        display_name = self._pseudonyms_unless(names)
        with read_snapshot(self._engine) as connection:
            return _page(connection, filters, offset, limit, display_name)

    def models(self, annotator_id: str | None = None) -> list[str]:
        """Return all models that a reply was ever requested from, sorted; with an annotator, in their conversations."""
        if annotator_id is not None:
            has_model = messages.c.model.is_not(None) & (messages.c.annotator_id == annotator_id)
            with read_snapshot(self._engine) as connection:
                return sorted(connection.scalars(select(messages.c.model).where(has_model).distinct()))
        # A loose index scan: from one name to the next, without reading the entries in between.
        least = select(func.min(messages.c.model).label("model")).where(messages.c.model.is_not(None))
        first = least.cte("seen", recursive=True)
        after = least.where(messages.c.model > first.c.model).scalar_subquery()
        models = first.union_all(select(after).where(first.c.model.is_not(None)))
        with read_snapshot(self._engine) as connection:
            return list(connection.execute(select(models.c.model).where(models.c.model.is_not(None))).scalars())

    def annotators(self, *, names: bool = True) -> dict[str, str]:
        """Return the display names by annotator id, sorted by display name."""
        display_names = annotators.names(self._engine)
        if display_name := self._pseudonyms_unless(names):
            display_names = {annotator_id: display_name(annotator_id) for annotator_id in display_names}
        return dict(sorted(display_names.items(), key=lambda item: item[1].casefold()))

    def annotator_choices(self, *, names: bool = True) -> list[tuple[str, str]]:
        """Return the display name and the pseudonym of each annotator, for a filter; no id leaves the server."""
        return [(name, self.pseudonym(annotator_id)) for annotator_id, name in self.annotators(names=names).items()]

    def pseudonym(self, annotator_id: str) -> str:
        """Return the pseudonym of an annotator."""
        return pseudonyms.pseudonyms(self._engine)(annotator_id)

    def annotator_id(self, pseudonym: str) -> str:
        """Return the id of the annotator with a pseudonym. Raises NotFound."""
        annotator = pseudonyms.find(self._engine, pseudonym, by_name=False)
        if annotator is None:
            raise NotFound("There is no such annotator any more; choose another one.")
        return annotator.annotator_id

    def conversation(self, conversation_id: str) -> Conversation:
        """Return the conversation with this id. Raises NotFound."""
        conversation = self._find_conversation(conversation_id)
        if conversation is None:
            raise NotFound(NO_CONVERSATION)
        return conversation

    def _pseudonyms_unless(self, names: bool) -> DisplayNames | None:
        """Return the function from annotator ids to pseudonyms; None if the tables may show real names."""
        return None if names else pseudonyms.pseudonyms(self._engine)


def _page(
    connection: Connection, filters: ResolvedFilters, offset: int, limit: int, display_name: DisplayNames | None
) -> FeedbackPage:
    total = feedback.count(connection, filters)
    offset = max(0, min(offset, (total - 1) // limit * limit))
    rows = feedback.latest(connection, filters, limit, offset)
    if display_name is not None:
        rows["annotator"] = [display_name(annotator_id) for annotator_id in rows["annotator_id"]]
    return FeedbackPage(rows, offset, total)


def _position(connection: Connection) -> int:
    return connection.execute(select(func.max(events.c.position))).scalar() or 0

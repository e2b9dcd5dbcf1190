"""Headline figures: volumes, ratings and failures.

Conversations, messages and replies count by their creation, ratings by their last change, and retries, undos and edits
by when they happened.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection, Select, exists, func, select, text

from chatfeedback.analytics.statistics import Proportion, nearest_rank
from chatfeedback.domain.conversation.events import MessageEdited, ReplyRetried, TurnUndone
from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.query.sql_filters import EARLIEST, conditions, of_replies_without_text, without_index
from chatfeedback.store.schema import (
    REPLY_WITH_TEXT,
    REPLY_WITHOUT_TEXT,
    conversations,
    events,
    messages,
    ratings,
)


@dataclass(frozen=True, slots=True)
class Replies:
    """Replies requested from models; `requested` counts every attempt, whatever its outcome."""

    requested: int
    with_text: int
    writing: int
    """Not finished yet."""
    stopped: int
    failed: int
    rated: int
    """Replies with text that at least one annotator likes or dislikes now."""
    median_first_token: float | None
    """Median time from the request to the first token in seconds (nearest rank); None if no time is known."""
    p95_first_token: float | None
    """95th percentile of the same time in seconds (nearest rank)."""


@dataclass(frozen=True, slots=True)
class Headline:
    """Headline figures. docs/analytics.md defines each."""

    conversations: int
    messages: int
    replies: Replies
    liked: Proportion
    """Like rate: likes, of the likes and dislikes of texts by models."""
    without_text: int
    """Likes and dislikes of model replies without text."""
    retries: int
    undos: int
    edits: int
    of_model: bool = False
    """True if a model is chosen: text by people is not counted."""

    @property
    def rated(self) -> Proportion:
        """Rated replies, of the replies with text."""
        return Proportion(self.replies.rated, self.replies.with_text)

    @property
    def retried(self) -> Proportion:
        """Retries per requested reply."""
        return Proportion(self.retries, self.replies.requested)

    @property
    def undone(self) -> Proportion:
        """Undos per requested reply."""
        return Proportion(self.undos, self.replies.requested)

    @property
    def edited(self) -> Proportion:
        """Edits of prompts and replies, per message."""
        return Proportion(self.edits, self.messages)

    @property
    def stopped(self) -> Proportion:
        """Replies stopped by the annotator, of the finished ones."""
        return Proportion(self.replies.stopped, self.replies.requested - self.replies.writing)

    @property
    def failed(self) -> Proportion:
        """Replies that the model failed to finish, of the finished ones."""
        return Proportion(self.replies.failed, self.replies.requested - self.replies.writing)


def headline(connection: Connection, filters: ResolvedFilters) -> Headline:
    """Return all headline figures."""
    reply_counts = replies(connection, filters)
    event_counts = _event_counts(connection, filters)
    liked, without_text = _liked(connection, filters)
    return Headline(
        conversations=_conversations(connection, filters),
        # Text by humans counts for no model.
        messages=reply_counts.requested if filters.model is not None else _messages(connection, filters),
        replies=reply_counts,
        liked=liked,
        without_text=without_text,
        retries=event_counts.get(ReplyRetried.KIND, 0),
        undos=event_counts.get(TurnUndone.KIND, 0),
        edits=event_counts.get(MessageEdited.KIND, 0),
        of_model=filters.model is not None,
    )


def replies(connection: Connection, filters: ResolvedFilters) -> Replies:
    """Return the counts of model replies requested in the time, in the conversations of the annotator."""
    # A bound on the time, even for an open filter, makes SQLite use the covering index by time.
    bounded = replace(filters, since=filters.since or EARLIEST)
    where = conditions(
        bounded, instant=messages.c.created_at, model=without_index(messages.c.model), annotator=messages.c.annotator_id
    )
    endings = (
        func.count().label("total"),
        *(
            func.count().filter(messages.c.status == status).label(status)
            for status in ("writing", "stopped", "failed")
        ),
        func.count(messages.c.time_to_first_token).label("timed"),
    )
    full = connection.execute(select(*endings).where(text(REPLY_WITH_TEXT), *where)).one()
    empty = connection.execute(select(*endings).where(text(REPLY_WITHOUT_TEXT), *where)).one()
    # A query of its own: Postgres then joins two sets instead of looking up each reply.
    is_rated = exists().where(ratings.c.message_id == messages.c.message_id, ratings.c.value.is_not(None))
    rated = _count(
        connection, select(func.count()).select_from(messages).where(text(REPLY_WITH_TEXT), is_rated, *where)
    )
    timed = full.timed + empty.timed
    return Replies(
        requested=full.total + empty.total,
        with_text=full.total,
        writing=full.writing + empty.writing,
        stopped=full.stopped + empty.stopped,
        failed=full.failed + empty.failed,
        rated=rated,
        median_first_token=_first_token(connection, filters, timed, 50),
        p95_first_token=_first_token(connection, filters, timed, 95),
    )


def _first_token(connection: Connection, filters: ResolvedFilters, timed: int, percent: int) -> float | None:
    """Return the percentile of the times to first token, of which there are `timed`."""
    if not timed:
        return None
    rank = nearest_rank(percent, timed)
    column = messages.c.time_to_first_token
    where = conditions(
        filters,
        instant=without_index(messages.c.created_at),
        model=without_index(messages.c.model),
        annotator=without_index(messages.c.annotator_id),
    )
    # Count from the nearer end of the index, which is sorted by this time.
    order, before = (column, rank - 1) if 2 * rank <= timed else (column.desc(), timed - rank)
    seconds: float = connection.execute(
        select(column).where(column.is_not(None), *where).order_by(order).limit(1).offset(before)
    ).scalar_one()
    return seconds


def _conversations(connection: Connection, filters: ResolvedFilters) -> int:
    """Count the conversations started in the time; with a model, those with a reply requested from it."""
    where = conditions(filters, instant=conversations.c.started_at, annotator=conversations.c.annotator_id)
    if filters.model is not None:
        same = messages.c.conversation_id == conversations.c.conversation_id
        where.append(exists().where(messages.c.model == filters.model, same))
    return _count(connection, select(func.count()).select_from(conversations).where(*where))


def _messages(connection: Connection, filters: ResolvedFilters) -> int:
    where = conditions(filters, instant=messages.c.created_at, annotator=messages.c.annotator_id)
    return _count(connection, select(func.count()).select_from(messages).where(*where))


def _liked(connection: Connection, filters: ResolvedFilters) -> tuple[Proportion, int]:
    """Return the like rate of replies with text, and the number of thumbs on replies without text."""
    where = conditions(
        filters, instant=without_index(ratings.c.updated_at), model=ratings.c.model, annotator=ratings.c.annotator_id
    )
    thumbs = func.count().filter(ratings.c.value == "like"), func.count(ratings.c.value)
    likes, rated = connection.execute(select(*thumbs).where(ratings.c.model.is_not(None), *where)).one()
    # Subtract them instead of filtering above: they are few, and the query above uses a covering index.
    empty_likes, empty = connection.execute(of_replies_without_text(filters, *thumbs)).one()
    return Proportion(likes - empty_likes, rated - empty), empty


def _event_counts(connection: Connection, filters: ResolvedFilters) -> dict[str, int]:
    """Return the number of events by kind; kinds without events are missing."""
    kinds = (ReplyRetried.KIND, TurnUndone.KIND, MessageEdited.KIND)
    where = conditions(filters, instant=events.c.occurred_at, model=events.c.model, annotator=events.c.actor_id)
    query = select(events.c.kind, func.count()).where(events.c.kind.in_(kinds), *where).group_by(events.c.kind)
    return dict(connection.execute(query).all())


def _count(connection: Connection, query: Select[int]) -> int:
    return connection.execute(query).scalar_one()

"""The headline figures: what there is, what people think of it, and what went wrong.

Conversations, messages and replies count by when they were made, ratings by their last change, retries, undos and
edits by when they happened.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection, Select, exists, func, select, text

from chatfeedback.analytics.statistics import Proportion, nearest_rank
from chatfeedback.domain.conversation.events import MessageEdited, ReplyRetried, TurnUndone
from chatfeedback.query.filters import Filters
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
    """What models were asked for; `asked` counts every attempt, whatever came of it."""

    asked: int
    with_text: int
    writing: int
    """Not ended yet."""
    stopped: int
    failed: int
    rated: int
    """Of those with a text: those that at least one person likes or dislikes now."""
    median_first_token: float | None
    """Seconds from the request to the first token: the nearest-rank median; None where none is known."""
    p95_first_token: float | None
    """Seconds; the nearest-rank 95th percentile."""


@dataclass(frozen=True, slots=True)
class Headline:
    """The figures at the top. docs/analytics.md defines each."""

    conversations: int
    messages: int
    replies: Replies
    liked: Proportion
    """Likes, of the likes and dislikes of texts by models."""
    without_text: int
    """Likes and dislikes of replies by models that have no text."""
    retries: int
    undos: int
    edits: int

    @property
    def rated(self) -> Proportion:
        """Of the replies that have a text."""
        return Proportion(self.replies.rated, self.replies.with_text)

    @property
    def retried(self) -> Proportion:
        """Retries, per reply that was asked for."""
        return Proportion(self.retries, self.replies.asked)

    @property
    def undone(self) -> Proportion:
        """Undos, per reply that was asked for."""
        return Proportion(self.undos, self.replies.asked)

    @property
    def edited(self) -> Proportion:
        """Edits of prompts and replies, per message."""
        return Proportion(self.edits, self.messages)

    @property
    def stopped(self) -> Proportion:
        """Replies that the person stopped, of those that ended."""
        return Proportion(self.replies.stopped, self.replies.asked - self.replies.writing)

    @property
    def failed(self) -> Proportion:
        """Replies that the model failed to finish, of those that ended."""
        return Proportion(self.replies.failed, self.replies.asked - self.replies.writing)


def headline(connection: Connection, filters: Filters) -> Headline:
    """All headline figures."""
    made = replies(connection, filters)
    happened = _happened(connection, filters)
    liked, without_text = _liked(connection, filters)
    return Headline(
        conversations=_conversations(connection, filters),
        # What people write counts for no model.
        messages=made.asked if filters.model is not None else _messages(connection, filters),
        replies=made,
        liked=liked,
        without_text=without_text,
        retries=happened.get(ReplyRetried.KIND, 0),
        undos=happened.get(TurnUndone.KIND, 0),
        edits=happened.get(MessageEdited.KIND, 0),
    )


def replies(connection: Connection, filters: Filters) -> Replies:
    """The replies by models that were asked for in the time, in the conversations of the annotator."""
    # Bounded in time even where the filter is open: SQLite then reads the index by time, which has all that it takes.
    bounded = replace(filters, since=filters.since or EARLIEST)
    where = conditions(
        bounded, instant=messages.c.created_at, model=without_index(messages.c.model), annotator=messages.c.annotator_id
    )
    endings = (
        func.count().label("made"),
        *(
            func.count().filter(messages.c.status == status).label(status)
            for status in ("writing", "stopped", "failed")
        ),
        func.count(messages.c.time_to_first_token).label("timed"),
    )
    full = connection.execute(select(*endings).where(text(REPLY_WITH_TEXT), *where)).one()
    empty = connection.execute(select(*endings).where(text(REPLY_WITHOUT_TEXT), *where)).one()
    # Of its own, and not one more count above: Postgres then compares two sets, and does not look up reply by reply.
    is_rated = exists().where(ratings.c.message_id == messages.c.message_id, ratings.c.value.is_not(None))
    rated = _counted(
        connection, select(func.count()).select_from(messages).where(text(REPLY_WITH_TEXT), is_rated, *where)
    )
    timed = full.timed + empty.timed
    return Replies(
        asked=full.made + empty.made,
        with_text=full.made,
        writing=full.writing + empty.writing,
        stopped=full.stopped + empty.stopped,
        failed=full.failed + empty.failed,
        rated=rated,
        median_first_token=_first_token(connection, filters, timed, 50),
        p95_first_token=_first_token(connection, filters, timed, 95),
    )


def _first_token(connection: Connection, filters: Filters, timed: int, percent: int) -> float | None:
    """The percentile of the times to the first token, of which there are `timed`."""
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
    # Counted from the nearer end of the index that has the times in order.
    order, before = (column, rank - 1) if 2 * rank <= timed else (column.desc(), timed - rank)
    found: float = connection.execute(
        select(column).where(column.is_not(None), *where).order_by(order).limit(1).offset(before)
    ).scalar_one()
    return found


def _conversations(connection: Connection, filters: Filters) -> int:
    """Those that were started in the time; with a model, those in which it was asked for a reply."""
    where = conditions(filters, instant=conversations.c.started_at, annotator=conversations.c.annotator_id)
    if filters.model is not None:
        same = messages.c.conversation_id == conversations.c.conversation_id
        where.append(exists().where(messages.c.model == filters.model, same))
    return _counted(connection, select(func.count()).select_from(conversations).where(*where))


def _messages(connection: Connection, filters: Filters) -> int:
    where = conditions(filters, instant=messages.c.created_at, annotator=messages.c.annotator_id)
    return _counted(connection, select(func.count()).select_from(messages).where(*where))


def _liked(connection: Connection, filters: Filters) -> tuple[Proportion, int]:
    """The like rate of replies with text, and how many thumbs those without have."""
    where = conditions(
        filters, instant=without_index(ratings.c.updated_at), model=ratings.c.model, annotator=ratings.c.annotator_id
    )
    thumbs = func.count().filter(ratings.c.value == "like"), func.count(ratings.c.value)
    likes, rated = connection.execute(select(*thumbs).where(ratings.c.model.is_not(None), *where)).one()
    # Taken off, and not left out above: they are few, and that index has all that it takes.
    empty_likes, empty = connection.execute(of_replies_without_text(filters, *thumbs)).one()
    return Proportion(likes - empty_likes, rated - empty), empty


def _happened(connection: Connection, filters: Filters) -> dict[str, int]:
    """How often each of these kinds of event happened; those that did not are missing."""
    kinds = (ReplyRetried.KIND, TurnUndone.KIND, MessageEdited.KIND)
    where = conditions(filters, instant=events.c.occurred_at, model=events.c.model, annotator=events.c.actor_id)
    query = select(events.c.kind, func.count()).where(events.c.kind.in_(kinds), *where).group_by(events.c.kind)
    return dict(connection.execute(query).all())


def _counted(connection: Connection, query: Select[int]) -> int:
    return connection.execute(query).scalar_one()

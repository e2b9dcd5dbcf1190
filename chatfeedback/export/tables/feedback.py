"""Feedback dataset: one row for each current rating or comment, with the reply that it is about.

A row needs the thread before the reply, the reasons and the clicks. They come from three streams beside that of the
ratings, all in the order of the conversations, one statement for a batch of conversations. Only the messages of the
current conversation are in memory.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, NamedTuple

import orjson
from sqlalchemy import BindParameter, Connection, Select, bindparam, select

from chatfeedback.domain.feedback.events import MessageRated, RatingCleared
from chatfeedback.export.columns import Column
from chatfeedback.export.dataset import Dataset
from chatfeedback.query.sql_filters import without_index
from chatfeedback.query.streaming import OF_CONVERSATION, Row, beside_conversations, streamed
from chatfeedback.store.schema import conversations, events, messages, rating_reasons, ratings

OF_MODEL = ("model_id", "reported_model", "system_fingerprint", "reported_provider", "weights_sha256")
"""Columns that identify the model of the reply, as in `messages`."""

COLUMNS = (
    Column("conversation_id"),
    Column("message_id"),
    Column("annotator_id", "annotator"),
    Column("model"),
    Column("author_id", "annotator"),
    Column("system_prompt"),
    Column("thread", "json"),
    Column("prompt"),
    Column("reply"),
    Column("status"),
    Column("shown", "boolean"),
    Column("value"),
    Column("reasons", "json"),
    Column("comment"),
    Column("rated_at", "instant"),
    Column("first_rated_at", "instant"),
    Column("event_id"),
    Column("event_ids", "json"),
    Column("consent_version"),
    *(Column(name) for name in OF_MODEL),
    *(Column(name) for name in OF_CONVERSATION[1:]),
)

CONVERSATION_BATCH = 100
"""Conversations per statement."""

_CHOSEN: BindParameter[list[str]] = bindparam("chosen", expanding=True)


class _Rating(NamedTuple):
    conversation_id: str
    message_id: str
    annotator_id: str
    value: str | None
    comment: str | None
    created_at: int
    updated_at: int
    event_id: str
    consent_version: str | None
    study: str | None
    condition: str | None
    external_id: str | None


class _Message(NamedTuple):
    conversation_id: str
    message_id: str
    version: int
    parent_id: str | None
    role: str
    author_id: str | None
    text: str
    status: str
    shown: bool
    model: str | None
    system_prompt: str | None
    model_id: str | None
    reported_model: str | None
    system_fingerprint: str | None
    reported_provider: str | None
    weights_sha256: str | None


_RATING_COLUMNS = [conversations.c[name] if name in OF_CONVERSATION else ratings.c[name] for name in _Rating._fields]
_MESSAGES = (
    select(*(messages.c[name] for name in _Message._fields))
    .where(messages.c.conversation_id.in_(_CHOSEN))
    .order_by(messages.c.conversation_id, messages.c.version)
)
_REASONS = (
    select(ratings.c.conversation_id, *rating_reasons.c)
    .join_from(
        ratings,
        rating_reasons,
        (rating_reasons.c.message_id == ratings.c.message_id)
        & (rating_reasons.c.annotator_id == ratings.c.annotator_id),
    )
    .where(ratings.c.conversation_id.in_(_CHOSEN))
    .order_by(ratings.c.conversation_id)
)
_CLICKS = (
    select(events.c.conversation_id, events.c.message_id, events.c.actor_id, events.c.event_id)
    # The index on kinds would read all ratings of the database.
    .where(
        events.c.conversation_id.in_(_CHOSEN), without_index(events.c.kind).in_((MessageRated.KIND, RatingCleared.KIND))
    )
    .order_by(events.c.conversation_id, events.c.version)
)


def rows(connection: Connection, selected: Select[Any]) -> Generator[Row, None, None]:
    """Yield the rows, ordered by conversation, then by reply in the order of creation, then by annotator."""
    statement = (
        beside_conversations(selected, ratings).add_columns(*_RATING_COLUMNS).order_by(ratings.c.conversation_id)
    )
    with closing(streamed(connection, statement)) as stored:
        groups = groupby(map(_Rating._make, stored), itemgetter(0))
        rated = ((conversation_id, list(group)) for conversation_id, group in groups)
        while batch := list(islice(rated, CONVERSATION_BATCH)):
            yield from _batch_rows(connection, batch)


def _batch_rows(connection: Connection, batch: list[tuple[str, list[_Rating]]]) -> Generator[Row, None, None]:
    chosen = {"chosen": [conversation_id for conversation_id, _ in batch]}
    with (
        closing(streamed(connection, _MESSAGES, chosen)) as message_rows,
        closing(streamed(connection, _REASONS, chosen)) as reason_rows,
        closing(streamed(connection, _CLICKS, chosen)) as click_rows,
    ):
        threads, reasons, clicks = GroupedCursor(message_rows), GroupedCursor(reason_rows), GroupedCursor(click_rows)
        for conversation_id, rated in batch:
            by_id = {message.message_id: message for message in map(_Message._make, threads.take(conversation_id))}
            codes = _by_rating(reasons.take(conversation_id))
            event_ids = _by_rating(clicks.take(conversation_id))
            rated.sort(key=lambda rating: (by_id[rating.message_id].version, rating.annotator_id))
            for rating in rated:
                key = rating.message_id, rating.annotator_id
                yield _row(rating, by_id, sorted(codes.get(key, ())), event_ids[key])


class GroupedCursor:
    """Cursor over a stream ordered by conversation, read one conversation at a time."""

    def __init__(self, stream: Iterable[Row]) -> None:
        self._groups = groupby(stream, itemgetter(0))
        self._next = next(self._groups, None)

    def take(self, conversation_id: str) -> list[Row]:
        """Return the rows of this conversation, which must follow those taken before; `[]` if it has none."""
        if self._next is None or self._next[0] != conversation_id:
            return []
        group = list(self._next[1])
        self._next = next(self._groups, None)
        return group


def _by_rating(grouped: Iterable[Row]) -> dict[tuple[str, str], list[str]]:
    """Return the last column as lists by (message id, annotator id)."""
    lists: dict[tuple[str, str], list[str]] = {}
    for _conversation_id, message_id, annotator_id, value in grouped:
        lists.setdefault((message_id, annotator_id), []).append(value)
    return lists


def _row(rating: _Rating, by_id: Mapping[str, _Message], reasons: list[str], event_ids: list[str]) -> Row:
    reply = by_id[rating.message_id]
    thread = _thread(by_id, reply.parent_id)
    prompt = next((message.text for message in reversed(thread) if message.role == "user"), None)
    return (
        rating.conversation_id,
        rating.message_id,
        rating.annotator_id,
        reply.model,
        reply.author_id,
        reply.system_prompt,
        _json([{"role": message.role, "content": message.text} for message in thread if message.text]),
        prompt,
        reply.text,
        reply.status,
        reply.shown,
        rating.value,
        _json(reasons),
        rating.comment,
        rating.updated_at,
        rating.created_at,
        rating.event_id,
        _json(event_ids),
        rating.consent_version,
        *(getattr(reply, name) for name in OF_MODEL),
        rating.study,
        rating.condition,
        rating.external_id,
    )


def _thread(by_id: Mapping[str, _Message], tip: str | None) -> list[_Message]:
    """Return the messages from the root to `tip`, both included."""
    path = []
    while tip is not None:
        message = by_id[tip]
        path.append(message)
        tip = message.parent_id
    path.reverse()
    return path


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


DATASET = Dataset(COLUMNS, ratings, "updated_at", "annotator_id", rows)

"""The figures after an erasure are those of the log that is left."""

from __future__ import annotations

from sqlalchemy import select

from analytics.conftest import Recorded
from analytics.reference_figures import Record
from chatfeedback.analytics.stats import stats
from chatfeedback.query.filters import Filters
from chatfeedback.store.erasure import erasure
from chatfeedback.store.log.event_rows import event_from
from chatfeedback.store.schema import conversations, events


def test_figures_agree_with_remaining_log_after_erasure(recorded: Recorded) -> None:
    first, second, *_ = recorded.crowd.names()
    with recorded.engine.connect() as connection:
        one = connection.scalars(
            select(conversations.c.conversation_id).where(conversations.c.annotator_id == second)
        ).first()
    assert one is not None
    before = stats(recorded.url, Filters())
    erasure.erase_annotator(recorded.engine, first, None)
    erasure.erase_conversation(recorded.engine, one, None)
    with recorded.engine.connect() as connection:
        log = [event_from(tuple(row)) for row in connection.execute(select(events).order_by(events.c.position))]
    left = Record.of(log)
    figures = stats(recorded.url, Filters())
    likes, thumbs = (sum(column) for column in zip(*left.by_model().values(), strict=True))
    assert figures["conversations"] == left.conversations() < before["conversations"]
    assert (figures["messages"], figures["replies"]) == (len(left.messages()), len(left.replies()))
    assert (figures["likes"], figures["dislikes"]) == (likes, thumbs - likes)
    for figure, kind in {"retries": "reply_retried", "undos": "turn_undone", "edits": "message_edited"}.items():
        assert figures[figure] == left.happened(kind)
    assert stats(recorded.url, Filters(annotator=first))["conversations"] == 0

"""A server that is lost in the middle: what was asked of it is done once, or it is said that nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from chatfeedback.domain import decisions
from chatfeedback.domain.conversation import Conversation
from chatfeedback.domain.decisions import RatingChange
from chatfeedback.domain.events import Body, new_id
from chatfeedback.errors import Conflict, StoreUnavailable
from chatfeedback.store import drafts
from chatfeedback.store.clock import now
from chatfeedback.store.engine import open_engine
from chatfeedback.store.event_store import Command, EventStore
from chatfeedback.store.schema import to_micros
from chatfeedback.store.sql import Transaction
from chatfeedback.store.writer import CommitUnanswered, PostgresWriter
from store.importing import imported, stored
from talking import REASONS, People, StoredTalk, plan

pytestmark = pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)


class LosesAnswers(PostgresWriter):
    """Commits, and then loses the connection before the answer arrives, the first `times`."""

    times = 1
    then: Callable[[], object] = staticmethod(lambda: None)

    def _commit(self, connection: Any) -> None:
        super()._commit(connection)
        if self.times:
            self.times -= 1
            self.then()
            raise CommitUnanswered(psycopg.OperationalError("server closed the connection unexpectedly"))


@pytest.mark.parametrize("times", [1, 3])
def test_a_commit_whose_answer_was_lost_is_not_done_twice(engine: Engine, people: People, times: int) -> None:
    writer = LosesAnswers(engine)
    writer.times = times
    store = EventStore(engine, writer)
    command = Command(
        new_id(),
        people.ada,
        lambda c: decisions.send(c, "Hello", plan, message_id="m" + new_id(), reply_id=new_id(), seen=0),
    )
    appended = store.execute(command).result()
    assert list(appended.events) == store.events_of(command.conversation_id)
    assert [event.event_id for event in appended.events] == list(command.event_ids[:3])
    assert store.conversation(command.conversation_id) == appended.conversation
    new = imported(people, ["Hello"])
    writer.times = times
    assert stored(store.append(new, expected_version=0).result().events) == new
    writer.close()


def test_nobody_is_told_that_nothing_was_stored_when_a_commit_was_not_answered(engine: Engine, people: People) -> None:
    writer = LosesAnswers(engine)
    # The server goes away with the answer: no further attempt reaches it.
    url = engine.url.set(database="nowhere")
    writer.then = lambda: setattr(writer, "_engine", open_engine(url.render_as_string(hide_password=False)))
    store = EventStore(engine, writer)
    new = imported(people, ["Hello"])
    with pytest.raises(StoreUnavailable, match="lost, perhaps after it had stored this"):
        store.append(new, expected_version=0).result()
    assert stored(store.events_of(new[0].conversation_id)) == new
    store.close()


def test_nor_when_a_further_attempt_is_refused_for_another_reason(engine: Engine) -> None:
    writer = LosesAnswers(engine)
    attempts = 0

    def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        tx.script("SELECT")
        if attempts == 2:
            raise Conflict("Somebody was quicker.")

    with pytest.raises(StoreUnavailable, match="lost, perhaps after it had stored this"):
        writer.submit(work).result()
    assert attempts == 2
    writer.close()


def end_all_connections(engine: Engine) -> None:
    """But the one that asks for it."""
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


def test_a_connection_that_dies_while_many_rows_are_sent_is_replaced(talk: StoredTalk) -> None:
    reply = talk.send("Hello")
    attempts = 0

    def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            end_all_connections(talk.store.engine)
        until = to_micros(now() + drafts.LEASE)
        tx.run_many(drafts._SAVE, [{"of_message": reply, "text": f"Hi {n}", "lease_until": until} for n in range(9)])

    talk.store.submit(work).result(20)
    assert attempts == 2
    with talk.store.reading() as tx:
        found = drafts.find(tx, reply)
    assert found is not None
    assert found.text == "Hi 8"


def test_a_connection_that_dies_in_the_middle_is_replaced(talk: StoredTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    attempts = 0

    def dies_once(c: Conversation) -> tuple[Body, ...]:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            end_all_connections(talk.store.engine)
        return decisions.rate(c, RatingChange(value="like"), message_id=reply, annotator_id=talk.actor, reasons=REASONS)

    assert len(talk.do(dies_once)) == 1
    assert attempts == 2
    assert talk.conversation.ratings[reply, talk.actor].value == "like"

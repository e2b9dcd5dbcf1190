"""Lost connections: work is done once, or its unknown outcome is reported."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from browser.application import eventually
from chatfeedback.domain.conversation import decide
from chatfeedback.domain.conversation.events import ConversationCleared
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Body, Event
from chatfeedback.domain.feedback.decide import RatingChange, rate
from chatfeedback.domain.types import new_id
from chatfeedback.errors import Conflict, StoreUnavailable
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database.clock import now
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log.event_store import Appended, Command, EventStore
from chatfeedback.store.log.statements import Transaction
from chatfeedback.store.log.writer import CommitUnanswered, PostgresWriter
from chatfeedback.store.opening import open_event_store
from chatfeedback.store.schema import to_micros
from conversation_builder import REASONS, People, StoredTalk, plan
from store.importing import imported, stored

pytestmark = pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)


class LosesAnswers(PostgresWriter):
    """Writer that commits, and then loses the connection before the answer arrives, the first `times` times."""

    times = 1
    then: Callable[[], object] = staticmethod(lambda: None)

    def _commit(self, connection: Any) -> None:
        super()._commit(connection)
        if self.times:
            self.times -= 1
            self.then()
            raise CommitUnanswered(psycopg.OperationalError("server closed the connection unexpectedly"))


@pytest.mark.parametrize("times", [1, 3])
def test_commit_is_not_repeated_when_its_answer_is_lost(engine: Engine, people: People, times: int) -> None:
    writer = LosesAnswers(engine)
    writer.times = times
    store = open_event_store(engine, writer)
    command = Command(
        new_id(),
        people.ada,
        lambda c: decide.send(c, "Hello", plan, message_id="m" + new_id(), reply_id=new_id(), expected_version=0),
    )
    appended = store.execute(command).result()
    assert list(appended.events) == store.events_of(command.conversation_id)
    assert [event.event_id for event in appended.events] == list(command.event_ids[:3])
    assert store.conversation(command.conversation_id) == appended.conversation
    new = imported(people, ["Hello"])
    writer.times = times
    assert stored(store.append(new, expected_version=0).result().events) == new
    writer.close()


def test_append_reports_unknown_outcome_when_commit_is_not_answered(engine: Engine, people: People) -> None:
    writer = LosesAnswers(engine)
    # The server goes away with the answer: no further attempt reaches it.
    url = engine.url.set(database="nowhere")
    writer.then = lambda: setattr(writer, "_engine", open_engine(url.render_as_string(hide_password=False)))
    store = open_event_store(engine, writer)
    new = imported(people, ["Hello"])
    with pytest.raises(StoreUnavailable, match="lost, perhaps after it had stored this"):
        store.append(new, expected_version=0).result()
    assert stored(store.events_of(new[0].conversation_id)) == new
    store.close()


def test_submit_reports_unknown_outcome_when_further_attempt_is_refused(engine: Engine) -> None:
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


WAITS = 20.0
"""Seconds for something to be seen in the database."""
COMMITS_LATE = """
    CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER commits_late AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait_for_the_test();
"""


def wait_for_waiting(engine: Engine, sessions: int) -> None:
    """Wait until this many sessions of the database wait for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        ask = lambda: connection.execute(waiting).scalar()  # noqa: E731
        assert eventually(ask, lambda count: count == sessions) == sessions, "nobody waits"


class CutWhileCommitting(PostgresWriter):
    """Writer whose connection is cut at its first commit, which the server finishes."""

    cut = False

    def _commit(self, connection: Any) -> None:
        if self.cut:
            super()._commit(connection)
            return
        self.cut = True
        cutting = threading.Thread(target=self._cut, args=[connection.fileno()])
        cutting.start()
        try:
            super()._commit(connection)
        finally:
            cutting.join()

    def _cut(self, number: int) -> None:
        wait_for_waiting(self._engine, sessions=1)
        with socket.socket(fileno=os.dup(number)) as wire:
            wire.shutdown(socket.SHUT_RDWR)


def prompted(store: EventStore, talk: StoredTalk) -> Future[Appended]:
    """Send a prompt from a page that shows the newest state."""
    tree_version = talk.conversation.tree_version
    return store.execute(
        Command(
            talk.conversation_id,
            talk.actor,
            lambda c: decide.send(
                c, "And then?", plan, message_id=new_id(), reply_id=new_id(), expected_version=tree_version
            ),
        )
    )


def started(store: EventStore, talk: StoredTalk) -> Future[Appended]:
    """Send the first prompt of a conversation."""
    return prompted(store, StoredTalk(talk.store, talk.actor))


def cleared(store: EventStore, talk: StoredTalk) -> Future[Appended]:
    """Append an event as it is."""
    version = talk.conversation.version
    new = Event(new_id(), talk.conversation_id, version + 1, talk.actor, now(), ConversationCleared())
    return store.append([new], expected_version=version)


@pytest.mark.parametrize("do", [prompted, started, cleared])
def test_commit_is_awaited_when_its_connection_is_cut_while_server_commits(
    engine: Engine, talk: StoredTalk, do: Callable[[EventStore, StoredTalk], Future[Appended]]
) -> None:
    talk.ask("Hello", "Hi")
    store = open_event_store(engine, CutWhileCommitting(engine))
    with engine.connect() as holder:
        holder.execute(text(COMMITS_LATE))
        holder.commit()
        holder.execute(text("SELECT pg_advisory_xact_lock(1)"))
        future = do(store, talk)
        wait_for_waiting(engine, sessions=2)  # the commit, and the further attempt behind it
        holder.rollback()
        appended = future.result(WAITS)
    conversation_id = appended.conversation.conversation_id
    assert appended.events == tuple(store.events_of(conversation_id)[-len(appended.events) :]) != ()
    assert appended.conversation == store.conversation(conversation_id)
    store.close()


def end_all_connections(engine: Engine) -> None:
    """Terminate all connections but the one that asks for it."""
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


def test_writer_replaces_connection_that_dies_while_rows_are_sent(talk: StoredTalk) -> None:
    reply = talk.send("Hello")
    attempts = 0

    def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            end_all_connections(talk.store.engine)
        until = to_micros(now() + reply_leases.LEASE)
        tx.run_many(
            reply_leases._SAVE, [{"of_message": reply, "text": f"Hi {n}", "lease_until": until} for n in range(9)]
        )

    talk.store.submit(work).result(20)
    assert attempts == 2
    with talk.store.reading() as tx:
        draft = reply_leases.find(tx, reply)
    assert draft is not None
    assert draft.text == "Hi 8"


def test_reader_reports_dead_connection_without_driver_log_and_replaces_it(
    talk: StoredTalk, caplog: pytest.LogCaptureFixture
) -> None:
    talk.ask("Hello", "Hi")
    with pytest.raises(StoreUnavailable), talk.store.reading() as tx:
        end_all_connections(talk.store.engine)
        tx.script("SELECT 1")
    assert [record.message for record in caplog.records if record.name.startswith("sqlalchemy")] == []
    with talk.store.reading() as tx:
        tx.script("SELECT 1")


def test_reader_replaces_connection_silently_when_it_dies_after_read(
    talk: StoredTalk, caplog: pytest.LogCaptureFixture
) -> None:
    talk.ask("Hello", "Hi")
    with talk.store.reading() as tx:
        tx.script("SELECT 1")
        end_all_connections(talk.store.engine)
    assert caplog.records == []
    with talk.store.reading() as tx:
        tx.script("SELECT 1")


def test_execute_is_repeated_when_connection_dies_during_decision(talk: StoredTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    attempts = 0

    def dies_once(c: Conversation) -> tuple[Body, ...]:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            end_all_connections(talk.store.engine)
        return rate(c, RatingChange(value="like"), message_id=reply, annotator_id=talk.actor, reasons=REASONS)

    assert len(talk.do(dies_once)) == 1
    assert attempts == 2
    assert talk.conversation.ratings[reply, talk.actor].value == "like"

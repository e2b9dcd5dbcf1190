"""Writers: groups of work in one commit, work that fails, and databases that cannot be written."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, text

from browser.application import eventually
from chatfeedback.domain.conversation import decide
from chatfeedback.domain.conversation.events import ConversationStarted
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Body
from chatfeedback.domain.feedback.decide import RatingChange, rate
from chatfeedback.domain.types import new_id
from chatfeedback.errors import Conflict, StoreError, StoreUnavailable
from chatfeedback.store.accounts import annotators
from chatfeedback.store.database import migrate
from chatfeedback.store.database.engine import POOL_SIZE, open_engine
from chatfeedback.store.log.event_store import Command, EventStore
from chatfeedback.store.log.statements import Transaction
from chatfeedback.store.log.writer import RESERVED_FOR_READS, RETRY_DELAYS, PostgresWriter, Writer, open_writer
from chatfeedback.store.maintenance import check
from chatfeedback.store.opening import open_event_store
from chatfeedback.store.schema import annotators as people_table
from chatfeedback.store.schema import conversations
from conversation_builder import StoredTalk
from readonly_dirs import read_only

SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
POSTGRES = pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
_NEW_PERSON, _NEW_CONVERSATION = insert(people_table), insert(conversations)


@pytest.fixture
def writer(engine: Engine) -> Iterator[Writer]:
    writer = open_writer(engine)
    yield writer
    writer.close()


def put(name: str) -> Callable[[Transaction], int]:
    """Work that stores one row."""
    return lambda tx: tx.run(_NEW_PERSON, {"annotator_id": new_id(), "name": name, "created_at": 0})


def stored(engine: Engine) -> set[str]:
    return set(annotators.names(engine).values())


@contextmanager
def held(writer: Writer, watch: Callable[[Transaction], object] = lambda tx: None) -> Iterator[list[Future[None]]]:
    """Keep all threads of the writer busy inside the block, so that work submitted there waits.

    `watch` is run first in each of them; the futures of all this are yielded.
    """
    release = threading.Event()
    busy = threading.Semaphore(0)

    def occupy(tx: Transaction) -> None:
        watch(tx)
        busy.release()
        release.wait()

    threads = POOL_SIZE - RESERVED_FOR_READS if isinstance(writer, PostgresWriter) else 1
    futures = [writer.submit(occupy) for _ in range(threads)]
    for _ in futures:
        busy.acquire()
    try:
        yield futures
    finally:
        release.set()
    for future in futures:
        future.result()


def test_writer_completes_future_only_after_commit(engine: Engine, writer: Writer) -> None:
    with held(writer, lambda tx: put(new_id())(tx)) as futures:
        assert not any(future.done() for future in futures)
        assert stored(engine) == set()
    assert len(stored(engine)) == len(futures)


def test_writer_stores_nothing_of_failed_work_and_all_of_other_work(engine: Engine, writer: Writer) -> None:
    def fails_after(tx: Transaction) -> None:
        put("bob")(tx)
        raise Conflict("No.")

    def bug(tx: Transaction) -> None:
        put("cyd")(tx)
        raise ZeroDivisionError

    with held(writer):
        futures: list[Future[object]] = [
            writer.submit(work) for work in (put("ada"), fails_after, put("ada"), bug, put("dan"))
        ]
    errors = [type(future.exception()) for future in futures]
    assert [errors[1], errors[3], errors[4]] == [Conflict, ZeroDivisionError, type(None)]
    # The name is unique: of the two, on Postgres either may come first.
    assert {errors[0], errors[2]} == {type(None), StoreError}
    assert stored(engine) == {"ada", "dan"}


@SQLITE
def test_writer_commits_waiting_work_in_one_group(engine: Engine, writer: Writer) -> None:
    statements: list[str] = []
    with held(writer, lambda tx: tx.connection.set_trace_callback(statements.append)):
        futures = [writer.submit(put(f"person {number}")) for number in range(40)]
    for future in futures:
        future.result()
    assert len(stored(engine)) == 40
    assert statements.count("COMMIT") == 2  # one of the work that kept the thread busy, and one of the group


@SQLITE
def test_writer_needs_no_savepoint_when_work_is_refused_before_it_writes(engine: Engine, writer: Writer) -> None:
    def refused(_tx: Transaction) -> None:
        raise Conflict("No.")

    statements: list[str] = []
    with held(writer, lambda tx: tx.connection.set_trace_callback(statements.append)):
        futures: list[Future[object]] = [writer.submit(work) for work in (put("ada"), refused, put("bob"))]
    assert isinstance(futures[1].exception(), Conflict)
    assert futures[2].exception() is None
    assert stored(engine) == {"ada", "bob"}
    assert not [text for text in statements if text.startswith(("SAVEPOINT", "ROLLBACK"))]


@SQLITE
def test_writer_repeats_group_in_savepoints_when_work_fails_after_it_wrote(engine: Engine, writer: Writer) -> None:
    attempts: list[str] = []

    def noted(name: str, error: Exception | None = None) -> Callable[[Transaction], None]:
        def work(tx: Transaction) -> None:
            attempts.append(name)
            put(name)(tx)
            if error is not None:
                raise error

        return work

    statements: list[str] = []
    with held(writer, lambda tx: tx.connection.set_trace_callback(statements.append)):
        futures = [writer.submit(work) for work in (noted("ada"), noted("bob", Conflict("No.")), noted("cyd"))]
    assert [type(future.exception()) for future in futures] == [type(None), Conflict, type(None)]
    assert attempts == ["ada", "bob", "ada", "bob", "cyd"]
    assert stored(engine) == {"ada", "cyd"}
    assert (statements.count("SAVEPOINT work"), statements.count("ROLLBACK TO work")) == (3, 1)


@SQLITE
def test_writer_undoes_group_and_leaves_no_stale_state_when_commit_fails(database_url: str, talk: StoredTalk) -> None:
    reply = talk.ask("Hello", "Hi")
    before = talk.conversation

    def poison(tx: Transaction) -> None:
        tx.script("PRAGMA defer_foreign_keys=ON")
        missing = dict.fromkeys(("version", "tree_version", "started_at", "updated_at"), 1)
        tx.run(_NEW_CONVERSATION, {"conversation_id": "x", "annotator_id": "nobody", "title": "", **missing})

    def like(c: Conversation) -> tuple[Body, ...]:
        return rate(c, RatingChange(value="like"), message_id=reply, annotator_id=talk.actor, reasons={})

    with held(talk.store.writer):
        liked = talk.store.execute(Command(talk.conversation_id, talk.actor, like))
        poisoned = talk.store.writer.submit(poison)
    for future in (liked, poisoned):
        with pytest.raises(StoreError, match="FOREIGN KEY"):
            future.result()
    assert talk.conversation == before
    assert check(database_url) == []
    assert len(talk.do(like)) == 1
    assert talk.conversation.version == before.version + 1
    assert check(database_url) == []


def test_writer_skips_work_that_was_cancelled_in_time(engine: Engine, writer: Writer) -> None:
    with held(writer):
        cancelled, other = writer.submit(put("ada")), writer.submit(put("bob"))
        assert cancelled.cancel()
    other.result()
    assert stored(engine) == {"bob"}


def test_store_does_not_remember_cancelled_command(talk: StoredTalk) -> None:
    talk.ask("Hello", "Hi")
    with held(talk.store.writer):
        command = Command(talk.conversation_id, talk.actor, lambda c: decide.undo(c, expected_version=None))
        assert talk.store.execute(command).cancel()
    assert talk.shown() == ["Hello", "Hi"]


def test_writer_finishes_queued_work_before_it_closes(engine: Engine) -> None:
    writer = open_writer(engine)
    futures = [writer.submit(put(f"person {number}")) for number in range(300)]
    writer.close()
    assert all(future.done() for future in futures)
    assert len(stored(engine)) == 300


def test_writer_refuses_work_when_closed(engine: Engine) -> None:
    writer = open_writer(engine)
    writer.close()
    writer.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        writer.submit(put("ada"))
    assert stored(engine) == set()


def test_writer_accepts_work_when_no_thread_can_be_started(
    engine: Engine, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    names = {f"person {number}" for number in range(2 * POOL_SIZE)}
    futures = [writer.submit(put(name)) for name in names]
    assert [future.result(20) for future in futures] == [1] * len(names)
    assert stored(engine) == names


# When the store cannot be written


END_OTHERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"
)


def wait_until_usable(store: EventStore) -> None:
    """Wait until the check of the database has reported that it works."""
    assert eventually(lambda: store.availability.trouble, lambda trouble: trouble is None) is None


def assert_refuses_then_works(talk: StoredTalk, refuse: Callable[[], object], allow: Callable[[], object]) -> None:
    talk.ask("Hello", "Hi")
    before = talk.conversation
    url = talk.store.engine.url.render_as_string(hide_password=False)
    refuse()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="nothing was stored"):
            talk.send("Is anybody there? " * 2000)
    allow()
    wait_until_usable(talk.store)
    assert talk.conversation == before
    assert check(url) == []
    talk.ask("Hello again", "Hi again")
    assert talk.shown() == ["Hello", "Hi", "Hello again", "Hi again"]
    assert check(url) == []


@POSTGRES
@pytest.mark.parametrize("fault", ["deadlock_detected", "serialization_failure"])
def test_store_reports_conflicts_with_other_writers_and_no_outage(store: EventStore, fault: str) -> None:
    attempts = 0

    def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        tx.script(f"DO $$ BEGIN RAISE {fault}; END $$")

    with pytest.raises(StoreError, match=r"^Others were writing the same .*, so nothing was stored; try again\.$"):
        store.submit(work).result(60)
    assert attempts == len(RETRY_DELAYS) + 1
    assert (store.availability.outages, store.availability.trouble) == (0, None)


@SQLITE
def test_store_reports_full_disk_without_partial_writes(talk: StoredTalk) -> None:
    def pages(limit: int) -> Callable[[], object]:
        return lambda: talk.store.writer.submit(lambda tx: tx.script(f"PRAGMA max_page_count={limit}")).result()

    assert_refuses_then_works(talk, pages(1), pages(2**30))


@POSTGRES
def test_store_reports_read_only_database(talk: StoredTalk) -> None:
    def read_only(setting: str) -> Callable[[], None]:
        def change() -> None:
            with talk.store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("SET default_transaction_read_only = off"))
                name = connection.scalar(text("SELECT current_database()"))
                connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {setting}'))
                if setting == "on":  # new connections have the new setting; it is on us to make new ones afterwards
                    connection.execute(END_OTHERS, {"name": name})
                connection.invalidate()

        return change

    assert_refuses_then_works(talk, read_only("on"), read_only("off"))


@POSTGRES
def test_store_reports_server_that_accepts_no_connections(talk: StoredTalk) -> None:
    administration = open_engine(str(talk.store.engine.url.set(database="postgres")))
    name = talk.store.engine.url.database

    def connections(allowed: bool) -> Callable[[], None]:
        def change() -> None:
            with administration.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {allowed}'))
                if not allowed:  # afterwards it would end those that try whether it works again
                    connection.execute(END_OTHERS, {"name": name})

        return change

    assert_refuses_then_works(talk, connections(False), connections(True))
    administration.dispose()


@POSTGRES
def test_store_limits_wait_for_lock_of_another_session(database_url: str) -> None:
    engine = open_engine(database_url, lock_seconds=0.2)
    store = open_event_store(engine)
    other = open_engine(database_url)
    with other.begin() as connection:
        connection.execute(text("LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(StoreUnavailable, match=r"cannot be written now .*lock timeout.*so nothing was stored"):
            store.submit(lambda tx: tx.script("LOCK TABLE conversations")).result()
    store.submit(lambda tx: tx.script("LOCK TABLE conversations")).result()
    store.close()
    for each in (engine, other):
        each.dispose()


@SQLITE
def test_store_reports_read_only_file(database_url: str) -> None:
    # Not in pytest's folder, which is closed to the user that root becomes here.
    folder = Path(tempfile.mkdtemp(prefix="chatfeedback-read-only-"))
    path = folder / "chat.db"
    url = f"sqlite:///{path}"
    try:
        migrate.upgrade(url)
        engine = open_engine(url)
        person = annotators.ensure(engine, "ada")
        engine.dispose()
        with read_only(folder):
            store = open_event_store(engine)
            with pytest.raises(StoreUnavailable, match="writable"):
                StoredTalk(store, person).send("Hello")
        wait_until_usable(store)
        StoredTalk(store, person).ask("Hello", "Hi")
        store.close()
        engine.dispose()
        assert check(url) == []
    finally:
        shutil.rmtree(folder)


def test_store_names_upgrade_command_when_schema_is_behind(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    store = open_event_store(engine)
    command = Command(new_id(), "nobody", lambda c: [ConversationStarted()])
    with pytest.raises(StoreError, match="chatfeedback db upgrade"):
        store.execute(command).result()
    with pytest.raises(StoreError, match="chatfeedback db upgrade"):
        store.conversation(command.conversation_id)
    store.writer.close()
    engine.dispose()

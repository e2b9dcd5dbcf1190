"""Purge: no byte of erased data is left in the files of the database, or in a dump of it.

SQLite may have been built to overwrite deleted data. Here it is told not to, as in most builds, so that all data that
was ever written is still in the file.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, make_url

from chatfeedback.domain.conversation import decide
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.domain.types import new_id
from chatfeedback.errors import StoreUnavailable
from chatfeedback.store.accounts import annotators
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.erasure import erasure, purge
from chatfeedback.store.log.event_store import EventStore, now
from chatfeedback.store.log.writer import open_writer
from chatfeedback.store.maintenance import check
from chatfeedback.store.opening import open_event_store
from chatfeedback.store.schema import consents, identities, sessions, users
from conversation_builder import People, StoredTalk, ending, plan
from leak_scan import traces

NAME = "Ada-Augusta-King"
TEXTS_OF_ADA = (
    *("first prompt of hers", "second prompt of hers", "edited prompt of hers", "undone prompt of hers"),
    *("reply to her", "other reply to her", "correction by her", "partial reply to her", "Cannot, said the model"),
    *("system prompt for her", "comment by her", "better comment by her", "comment of Bob on hers"),
    "latest draft of hers",
)
OVERWRITTEN = ("earlier draft of hers", "earliest draft of hers")
ELSEWHERE = ("prompt of hers to Bob", "edit of hers at Bob's", "comment of hers at Bob's", "last comment at Bob's")
ACCOUNT = ("hash-of-her-password", "her-subject-elsewhere", "hash-of-her-token", "consent-2026-11")
TEXTS_OF_BOB = ("prompt of Bob's", "reply to Bob", "comment by Bob", "answer to a guest")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Engine of the running application: it keeps its connections, and does not overwrite deleted data."""
    engine = open_engine(database_url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA secure_delete=OFF"))
    yield engine
    engine.dispose()


@pytest.fixture
def people(engine: Engine) -> People:
    return People(*(annotators.ensure(engine, name) for name in (NAME, "bob", "cyd")))


@pytest.fixture
def talk_of_ada(store: EventStore, people: People) -> StoredTalk:
    talk = StoredTalk(store, people.ada)
    ids = {"message_id": new_id(), "reply_id": new_id()}

    def strangely(thread: list[decide.ThreadMessage]) -> decide.Generation:
        return replace(plan(thread), system_prompt="system prompt for her")

    talk.do(lambda c: decide.send(c, "first prompt of hers", strangely, expected_version=None, **ids))
    talk.finish(ids["reply_id"], "reply to her")
    talk.rate(ids["reply_id"], people.ada, RatingChange("like", {"funny": True}, "comment by her"))
    talk.rate(ids["reply_id"], people.ada, RatingChange(comment="better comment by her"))
    talk.rate(ids["reply_id"], people.bob, RatingChange("dislike", comment="comment of Bob on hers"))
    talk.finish(talk.retry(ids["reply_id"]), "other reply to her")
    talk.ask("undone prompt of hers", "partial reply to her")
    talk.undo()
    failed = talk.send("second prompt of hers")
    error = replace(ending(failed, "", "failed"), error="Cannot, said the model")
    talk.do(lambda c: decide.finish(c, error))
    _, reply = talk.edit(talk.conversation.shown()[0].message_id, "edited prompt of hers")
    talk.finish(reply)
    talk.edit(reply, "correction by her")
    running = talk.send("More")
    for text in ("earliest draft of hers", "earlier draft of hers", "latest draft of hers"):
        assert store.writer.submit(
            lambda tx, text=text: reply_leases.save(tx, store.lease_owner, {running: text}, now())
        ).result()
    return talk


@pytest.fixture
def talk_of_bob(store: EventStore, people: People) -> StoredTalk:
    """Conversation of Bob in which Ada took part."""
    talk = StoredTalk(store, people.bob)
    reply = talk.ask("prompt of Bob's", "reply to Bob")
    talk.rate(reply, people.bob, RatingChange("like", comment="comment by Bob"))
    talk.rate(reply, people.ada, RatingChange("like", comment="comment of hers at Bob's"))
    talk.rate(reply, people.ada, RatingChange("", comment="last comment at Bob's"))
    talk.actor = people.ada
    talk.edit(talk.ask("prompt of hers to Bob", "answer to a guest"), "edit of hers at Bob's")
    return talk


@pytest.fixture
def _account(engine: Engine, people: People) -> None:
    ada = {"annotator_id": people.ada, "created_at": 1}
    with engine.begin() as connection:
        connection.execute(users.insert().values(role="annotator", password_hash="hash-of-her-password", **ada))
        connection.execute(identities.insert().values(issuer="i", subject="her-subject-elsewhere", **ada))
        seen = {"session_id": "s", "token_hash": "hash-of-her-token", "method": "password", "seen_at": 1}
        connection.execute(sessions.insert().values(expires_at=2, **seen, **ada))
        connection.execute(consents.insert().values(annotator_id=people.ada, version="consent-2026-11", agreed_at=1))


def analyze(engine: Engine) -> None:
    """Let the planner of Postgres take its samples."""
    with engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")


def before(engine: Engine) -> tuple[str, ...]:
    """Return the texts that are found before an erasure: overwritten ones only in a file, not on a server."""
    return TEXTS_OF_ADA + OVERWRITTEN if engine.dialect.name == "sqlite" else TEXTS_OF_ADA


def test_erase_conversation_leaves_no_byte_of_it(
    engine: Engine, talk_of_ada: StoredTalk, talk_of_bob: StoredTalk, database_url: str
) -> None:
    others = (NAME, *ELSEWHERE, *TEXTS_OF_BOB)
    analyze(engine)
    assert traces(database_url, TEXTS_OF_ADA + OVERWRITTEN + others) == {*before(engine), *others}
    erasure.erase_conversation(engine, talk_of_ada.conversation_id, None)
    assert traces(database_url, TEXTS_OF_ADA + OVERWRITTEN + others) == set(others)
    assert check(database_url) == []


@pytest.mark.usefixtures("_account")
def test_erase_annotator_leaves_no_byte_of_their_texts_and_account(
    engine: Engine, people: People, talk_of_ada: StoredTalk, talk_of_bob: StoredTalk, database_url: str
) -> None:
    everything = (NAME, *TEXTS_OF_ADA, *OVERWRITTEN, *ELSEWHERE, *ACCOUNT)
    analyze(engine)
    assert traces(database_url, everything + TEXTS_OF_BOB) == {*everything, *TEXTS_OF_BOB} - (
        {*OVERWRITTEN} - {*before(engine)}
    )
    erasure.erase_annotator(engine, people.ada, None)
    assert traces(database_url, everything + TEXTS_OF_BOB) == {*TEXTS_OF_BOB}
    assert check(database_url) == []


def test_erase_conversation_leaves_no_byte_of_it_while_others_write(
    store: EventStore, people: People, talk_of_ada: StoredTalk, talk_of_bob: StoredTalk, database_url: str
) -> None:
    over, bugs = threading.Event(), []

    def write() -> None:
        talk = StoredTalk(store, people.cyd)
        try:
            while not over.is_set():
                talk.ask("prompt of Cyd's", "reply to Cyd")
        except Exception as bug:  # noqa: BLE001 - the test reports any error
            bugs.append(bug)

    writing = threading.Thread(target=write)
    writing.start()
    elsewhere = open_engine(database_url)
    try:
        erasure.erase_conversation(elsewhere, talk_of_ada.conversation_id, None)
    finally:
        over.set()
        writing.join()
        elsewhere.dispose()
    assert bugs == []
    assert traces(database_url, TEXTS_OF_ADA + OVERWRITTEN + TEXTS_OF_BOB) == {*TEXTS_OF_BOB}
    assert check(database_url) == []


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_purge_names_blocking_reader_and_finishes_when_repeated(
    store: EventStore, people: People, talk_of_ada: StoredTalk, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "WAL_CHECKPOINT_SECONDS", 0.2)
    reader = open_engine(database_url, read_only=True)
    again = (
        rf"^All of it is erased, but remnants .* \(another program reads.* erase --annotator {people.ada}` once more"
    )
    with reader.connect() as reading:
        reading.exec_driver_sql("SELECT count(*) FROM events").all()
        with pytest.raises(StoreUnavailable, match=again):
            erasure.erase_annotator(store.engine, people.ada, None)
        assert store.conversation(talk_of_ada.conversation_id) is None
        assert traces(database_url, TEXTS_OF_ADA), "or the test proves nothing"
    reader.dispose()
    assert erasure.erase_annotator(store.engine, people.ada, None) == erasure.Erased()
    assert traces(database_url, TEXTS_OF_ADA + OVERWRITTEN + (NAME,)) == set()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_purge_error_states_that_erasure_is_complete(
    store: EventStore, talk_of_ada: StoredTalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = purge._vacuum_sqlite

    def full(connection: object) -> None:
        connection.execute("PRAGMA max_page_count=1")  # type: ignore[attr-defined]
        connection.execute("CREATE TABLE more AS SELECT zeroblob(100000)")  # type: ignore[attr-defined]
        really(connection)

    monkeypatch.setattr(purge, "_vacuum_sqlite", full)
    with pytest.raises(StoreUnavailable, match=r"^All of it is erased, but .* \(database or disk is full\)"):
        erasure.erase_conversation(store.engine, talk_of_ada.conversation_id, None)
    assert store.conversation(talk_of_ada.conversation_id) is None


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_purge_cleans_file_of_stopped_application(
    database_url: str, engine: Engine, people: People, talk_of_ada: StoredTalk
) -> None:
    talk_of_ada.store.writer.close()
    engine.dispose()
    assert [path.name for path in Path(str(make_url(database_url).database)).parent.iterdir()] == ["chatfeedback.db"]
    assert traces(database_url, TEXTS_OF_ADA + OVERWRITTEN)
    alone = open_engine(database_url)
    erasure.erase_conversation(alone, talk_of_ada.conversation_id, None)
    alone.dispose()
    assert traces(database_url, TEXTS_OF_ADA + OVERWRITTEN) == set()


def test_purge_does_not_change_settings_of_pooled_connections(
    engine: Engine, talk_of_ada: StoredTalk, database_url: str
) -> None:
    """Settings of a connection for an erasure do not return to the pool with it."""
    erasure.erase_conversation(engine, talk_of_ada.conversation_id, None)
    writer = open_writer(engine)
    StoredTalk(open_event_store(engine, writer), talk_of_ada.actor).ask("Hello", "Hi")
    writer.close()
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA secure_delete").scalar() == 0
            assert connection.exec_driver_sql("PRAGMA temp_store").scalar() == 2
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 10_000
    assert check(database_url) == []

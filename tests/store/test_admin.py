"""Looking after a database: whatever is wrong with it is found, said in one sentence, and mended where it can be."""

from __future__ import annotations

import sqlite3
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text

from chatfeedback.domain.decisions import RatingChange
from chatfeedback.domain.events import new_id
from chatfeedback.errors import SchemaBehind, SettingsError, StoreCorrupt, StoreError, StoreUnavailable
from chatfeedback.store import admin
from chatfeedback.store.check import MOST_SENTENCES
from chatfeedback.store.event_store import EventStore
from chatfeedback.store.schema import PROJECTIONS
from talking import StoredTalk

FOREIGN_KEYS_OFF = {"sqlite": "PRAGMA foreign_keys=OFF", "postgresql": "SET session_replication_role = replica"}


@pytest.fixture
def lived_in(talk: StoredTalk) -> Engine:
    """A database with two conversations and ratings by three people."""
    people = ["ada", "bob", "cyd"]
    reply = talk.ask("Hello", "Hi")
    for name, change in zip(
        people,
        (
            RatingChange(value="like", reasons=("accurate", "funny")),
            RatingChange(value="dislike", comment="No"),
            RatingChange(comment="Hm"),
        ),
        strict=True,
    ):
        talk.rate(reply, _id_of(talk.store.engine, name), change)
    talk.finish(talk.retry(reply), "Good day")
    StoredTalk(talk.store, talk.actor).ask("Another", "One")
    return talk.store.engine


def _id_of(engine: Engine, name: str) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(text("SELECT annotator_id FROM annotators WHERE name = :name"), {"name": name}))


def by_hand(engine: Engine, *statements: str) -> None:
    """What somebody does with another program: without the guard of foreign keys."""
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute(FOREIGN_KEYS_OFF[engine.dialect.name])
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.commit()
        connection.invalidate()


def projected(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    with engine.connect() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in PROJECTIONS
        }


# check and rebuild


def test_a_database_that_was_lived_in_is_sound(database_url: str, lived_in: Engine) -> None:
    assert admin.check(database_url) == []


OTHER = "019a0000-0000-7000-8000-000000000000"
TAMPERED = {
    "UPDATE messages SET text = 'Hullo' WHERE text = 'Hello'": "of messages differs from the log in text",
    "UPDATE messages SET shown = NOT shown WHERE text = 'Hi'": "of messages differs from the log in shown",
    "UPDATE messages SET annotator_id = 'x' WHERE text = 'Hi'": "of messages differs from the log in annotator_id",
    "UPDATE conversations SET title = 'x', version = 2 WHERE title = 'Hello'": "differs from the log in title, version",
    "UPDATE ratings SET model = 'x' WHERE value = 'like'": "of ratings differs from the log in model",
    f"UPDATE ratings SET conversation_id = '{OTHER}' WHERE value = 'like'": "of ratings is missing",
    "DELETE FROM ratings WHERE value = 'dislike'": "of ratings is missing",
    "DELETE FROM rating_reasons WHERE reason = 'funny'": "funny of rating_reasons is missing",
    "DELETE FROM conversations WHERE title = 'Another'": "of conversations is missing",
    "DELETE FROM messages WHERE text = 'Good day'": "of messages is missing",
    "INSERT INTO rating_reasons SELECT message_id, annotator_id, 'rude' FROM ratings WHERE value = 'like'": (
        "rude of rating_reasons is surplus"
    ),
    "INSERT INTO rating_reasons VALUES ('nowhere', 'nobody', 'rude')": "nowhere nobody rude of rating_reasons is surplus",
    f"INSERT INTO conversations SELECT '{OTHER}', annotator_id, title, 1, 1, NULL, NULL, 1, 1, NULL FROM conversations"
    " WHERE title = 'Another'": f"The row {OTHER} of conversations is surplus",
    "INSERT INTO ratings SELECT message_id, actor_id, messages.conversation_id, NULL, 'like', NULL, 1, 1, 'x'"
    " FROM messages CROSS JOIN (SELECT actor_id FROM events LIMIT 1) AS someone WHERE text = 'One'": (
        "of ratings is surplus"
    ),
    f"UPDATE messages SET conversation_id = '{OTHER}' WHERE text = 'One'": "of messages is surplus",
}


@pytest.mark.parametrize("statement", TAMPERED)
def test_check_finds_a_projection_that_is_not_the_log_and_rebuild_mends_it(
    database_url: str, lived_in: Engine, statement: str
) -> None:
    before = projected(lived_in)
    by_hand(lived_in, statement)
    assert projected(lived_in) != before
    problems = admin.check(database_url)
    assert any(TAMPERED[statement] in problem for problem in problems), problems
    admin.rebuild(database_url, lambda done, total: None)
    assert admin.check(database_url) == []
    assert projected(lived_in) == before


COPY = (
    "INSERT INTO events (event_id, conversation_id, version, kind, schema_version, message_id, actor_id, occurred_at,"
    " recorded_at, payload) SELECT 'forged', conversation_id, {version}, '{kind}', 1, {message}, actor_id, 1, 1,"
    " '{payload}' FROM events WHERE version = 1 AND conversation_id = (SELECT min(conversation_id) FROM events)"
)
FORGED = {
    COPY.format(version=99, kind="turn_undone", message="'m'", payload='{"model":null}'): "does not follow version",
    COPY.format(version=9, kind="message_translated", message="'m'", payload="{}"): "Event forged cannot be read",
    COPY.format(version=9, kind="message_sent", message="'m'", payload="{}"): "Event forged cannot be read",
    COPY.format(version=9, kind="turn_undone", message="'m'", payload='{"model":null}'): "do not add up",
}


@pytest.mark.parametrize("statement", FORGED)
def test_check_finds_an_event_that_does_not_belong_and_rebuild_changes_nothing_then(
    database_url: str, lived_in: Engine, statement: str
) -> None:
    before = projected(lived_in)
    by_hand(lived_in, statement.replace("{", "{").replace("}", "}"))
    problems = admin.check(database_url)
    assert any(FORGED[statement] in problem for problem in problems), problems
    with pytest.raises(StoreCorrupt):
        admin.rebuild(database_url, lambda done, total: None)
    assert projected(lived_in) == before


ALTERED = {
    "sqlite": {
        "DROP TRIGGER events_refuse_delete": "trigger events_refuse_delete",
        "DROP TRIGGER events_refuse_replace; CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events BEGIN"
        " SELECT 1; END": "trigger events_refuse_replace",
        "DROP TRIGGER events_refuse_update; CREATE TRIGGER events_refuse_update BEFORE UPDATE ON annotators BEGIN"
        " SELECT RAISE(ABORT, 'no'); END": "trigger events_refuse_update",
        "DROP TRIGGER events_refuse_update; CREATE TRIGGER events_refuse_update BEFORE UPDATE OF kind ON events BEGIN"
        " SELECT RAISE(ABORT, 'no'); END": "trigger events_refuse_update",
        "PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql = replace(sql, 'AUTOINCREMENT', '')": "AUTOINCREMENT",
        "DROP INDEX ix_events_kind_time": "index ix_events_kind_time of events is missing",
        "ALTER TABLE ratings ADD COLUMN colour TEXT": "column colour of ratings is surplus",
    },
    "postgres": {
        "ALTER TABLE events DISABLE TRIGGER events_refuse_change": "trigger events_refuse_change",
        "ALTER TABLE events ENABLE TRIGGER events_refuse_change": "trigger events_refuse_change",
        "DROP TRIGGER events_refuse_truncate ON events": "trigger events_refuse_truncate",
        "DROP TRIGGER events_refuse_change ON events; CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE ON"
        " annotators FOR EACH ROW EXECUTE FUNCTION refuse_change_of_events()": "trigger events_refuse_change",
        "CREATE OR REPLACE FUNCTION refuse_change_of_events() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RETURN NEW; END'": "trigger events_refuse_change",
        "ALTER TABLE events ALTER position SET GENERATED BY DEFAULT": "GENERATED ALWAYS",
        "DROP INDEX ix_events_kind_time": "index ix_events_kind_time of events is missing",
        "ALTER TABLE ratings ADD COLUMN colour TEXT": "column colour of ratings is surplus",
        "ALTER TABLE messages ALTER text DROP NOT NULL": "nullable of messages.text is True, not False",
    },
}


@pytest.mark.parametrize(
    ("database_kind", "script"),
    [(kind, script) for kind, scripts in ALTERED.items() for script in scripts],
    indirect=["database_kind"],
)
def test_check_finds_a_schema_or_a_guard_that_was_altered(
    database_url: str, lived_in: Engine, database_kind: str, script: str
) -> None:
    by_hand(lived_in, *(part + ";" if "BEGIN" in part else part for part in _statements(script)))
    problems = admin.check(database_url)
    assert any(ALTERED[database_kind][script] in problem for problem in problems), problems


def _statements(script: str) -> Iterator[str]:
    head, found, rest = script.partition("; ")
    if found and not head.startswith("CREATE"):
        yield head
        yield rest
    else:
        yield script


def test_an_index_or_a_table_of_somebody_else_is_no_problem(database_url: str, lived_in: Engine) -> None:
    by_hand(lived_in, "CREATE INDEX mine ON events (recorded_at)", "CREATE TABLE notes (note TEXT)")
    assert admin.check(database_url) == []


def test_check_says_how_many_more_problems_there_are(database_url: str, talk: StoredTalk) -> None:
    for number in range(MOST_SENTENCES // 2 + 5):
        talk.ask(f"Question {number}", "Answer")
    by_hand(talk.store.engine, "UPDATE messages SET text = 'x'")
    problems = admin.check(database_url)
    assert len(problems) == MOST_SENTENCES + 1
    assert problems[-1] == "There are 10 more problems."


def test_rebuild_says_how_far_it_is(database_url: str, lived_in: Engine) -> None:
    told: list[tuple[int, int]] = []
    assert admin.rebuild(database_url, lambda done, total: told.append((done, total))) == 12
    assert told[-1] == (12, 12)


def test_rebuilding_an_empty_log_leaves_nothing(database_url: str) -> None:
    assert admin.rebuild(database_url, lambda done, total: None) == 0
    assert admin.check(database_url) == []


def test_check_and_rebuild_work_while_people_talk(database_url: str, store: EventStore, talk: StoredTalk) -> None:
    enough = threading.Event()
    failures: list[BaseException] = []

    def keep_talking() -> None:
        mine = StoredTalk(store, talk.actor)
        try:
            while not enough.is_set():
                reply = mine.ask("Hello", "Hi")
                mine.rate(reply, talk.actor, RatingChange(value="like", reasons=("funny",)))
                mine.undo()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=keep_talking) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            assert admin.check(database_url) == []
            assert admin.rebuild(database_url, lambda done, total: None) >= 0
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert admin.check(database_url) == []
    live = projected(store.engine)
    assert len(live["conversations"]) == 3
    admin.rebuild(database_url, lambda done, total: None)
    assert projected(store.engine) == live


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("task", [admin.check, lambda url: admin.rebuild(url, lambda done, total: None)])
def test_memory_does_not_grow_with_the_log(database_url: str, talk: StoredTalk, task: Callable[[str], object]) -> None:
    def peak(conversations: int) -> int:
        for _ in range(conversations):
            StoredTalk(talk.store, talk.actor, new_id()).ask("Hello " * 200, "Hi " * 200)
        tracemalloc.start()
        try:
            task(database_url)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(150)  # fills the caches of the libraries
    few = peak(150)  # 300 now: more than what is held at a time
    assert peak(900) < 1.5 * few


# Opening


def test_the_file_is_made_or_migrated_when_it_is_needed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    admin.ensure_ready(url, migrate=False)
    assert admin.check(url) == []
    admin.downgrade(url, "base")
    admin.ensure_ready(url, migrate=False)
    assert admin.check(url) == []


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_a_postgres_that_is_behind_is_only_migrated_when_that_is_wanted(empty_database_url: str) -> None:
    with pytest.raises(SchemaBehind, match="chatfeedback db upgrade"):
        admin.ensure_ready(empty_database_url, migrate=False)
    assert admin.current(empty_database_url).revision is None
    admin.ensure_ready(empty_database_url, migrate=True)
    admin.ensure_ready(empty_database_url, migrate=False)
    assert admin.check(empty_database_url) == []


Task = Callable[[str], object]
TASKS: dict[str, Task] = {
    "current": admin.current,
    "upgrade": admin.upgrade,
    "downgrade": lambda url: admin.downgrade(url, "base"),
    "check": admin.check,
    "rebuild": lambda url: admin.rebuild(url, lambda done, total: None),
    "serve": lambda url: admin.ensure_ready(url, migrate=True),
}


@pytest.mark.parametrize("task", [task for task in TASKS if task not in ("current", "check")])
def test_a_database_of_a_newer_release_is_refused(database_url: str, engine: Engine, task: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '7777'"))
    with pytest.raises(StoreError, match=r"\(7777\) was made by a newer release of chatfeedback; install"):
        TASKS[task](database_url)
    assert not admin.current(database_url).is_head
    assert admin.check(database_url) == ["The schema is at revision 7777, this release needs 0001."]


@pytest.mark.parametrize("task", ["upgrade", "serve"])
def test_a_database_that_holds_something_else_is_left_alone(
    empty_database_url: str, task: str, database_kind: str
) -> None:
    engine = admin.open_engine(empty_database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE events (title TEXT)"))
    engine.dispose()
    with pytest.raises(StoreError, match="already has a table events of something else"):
        TASKS[task](empty_database_url)


@pytest.mark.parametrize("task", TASKS)
def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path, task: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are my notes. " * 100)
    with pytest.raises(SettingsError, match=r"notes\.txt: This file is not a SQLite database"):
        TASKS[task](f"sqlite:///{path}")
    assert path.read_text().startswith("These are my notes.")


@pytest.mark.parametrize("task", ["upgrade", "serve"])
def test_a_folder_that_cannot_be_written_is_named(task: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"^/proc/chat\.db: .* its folder must be writable\.$"):
        TASKS[task]("sqlite:////proc/chat.db")  # not even root writes there


@pytest.mark.parametrize("task", ["upgrade", "serve"])
def test_a_folder_that_does_not_exist_is_named(tmp_path: Path, task: str) -> None:
    with pytest.raises(SettingsError, match=f"The folder {tmp_path}/none .* make it first"):
        TASKS[task](f"sqlite:///{tmp_path}/none/chat.db")


@pytest.mark.parametrize("task", ["downgrade", "check", "rebuild"])
def test_a_file_that_does_not_exist_is_not_made_to_be_looked_at(tmp_path: Path, task: str) -> None:
    path = tmp_path / "chat.db"
    assert admin.current(f"sqlite:///{path}").revision is None
    with pytest.raises(StoreUnavailable, match="`chatfeedback db upgrade` makes one"):
        TASKS[task](f"sqlite:///{path}")
    assert not path.exists()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_a_postgres_that_refuses_the_connection_is_named_without_the_password(
    empty_database_url: str, task: str
) -> None:
    absent = empty_database_url.replace("postgres:@", "postgres:hush@").replace("/test_", "/absent_")
    with pytest.raises(SettingsError, match='database "absent_.*" does not exist.* check user, password') as caught:
        TASKS[task](absent)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("task", TASKS)
def test_a_postgres_that_nobody_serves_is_named_without_the_password(task: str) -> None:
    with pytest.raises(
        StoreUnavailable, match=r"^postgresql://ada:\*\*\*@127.0.0.1:1/chat: .*cannot be reached"
    ) as caught:
        TASKS[task]("postgresql://ada:hush@127.0.0.1:1/chat")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://localhost/chat", "sqlite://", "sqlite:///:memory:"])
def test_a_url_of_no_database_that_we_know_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        admin.current(url)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_damaged_file_is_called_damaged(database_url: str, lived_in: Engine, store: EventStore) -> None:
    store.writer.close()
    lived_in.dispose()
    path = Path(database_url.removeprefix("sqlite:///"))
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt, match=r"damaged; restore it from a backup"):
        admin.check(database_url)

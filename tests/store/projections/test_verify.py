"""Verify: check finds problems of a database, and rebuild repairs projections, while the application runs."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from sqlalchemy import Engine, select

from chatfeedback.domain.conversation.events import ConversationStarted, MessageSent
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Body
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.domain.roles import Role
from chatfeedback.domain.types import new_id
from chatfeedback.errors import ChatFeedbackError, StoreCorrupt
from chatfeedback.store.accounts import users
from chatfeedback.store.log import append_only
from chatfeedback.store.log.event_store import Command, EventStore
from chatfeedback.store.maintenance import check, rebuild
from chatfeedback.store.projections.verify import MAX_PROBLEMS
from chatfeedback.store.schema import PROJECTIONS
from conversation_builder import People, StoredTalk

FOREIGN_KEYS_OFF = {"sqlite": "PRAGMA foreign_keys=OFF", "postgresql": "SET session_replication_role = replica"}


@pytest.fixture
def lived_in(talk: StoredTalk, people: People) -> Engine:
    """Engine of a database with two conversations and ratings by three people."""
    reply = talk.ask("Hello", "Hi")
    talk.rate(reply, people.ada, RatingChange(value="like", reasons={"accurate": True, "funny": True}))
    talk.rate(reply, people.bob, RatingChange(value="dislike", comment="No"))
    talk.rate(reply, people.cyd, RatingChange(comment="Hm"))
    talk.finish(talk.retry(reply), "Good day")
    StoredTalk(talk.store, talk.actor).ask("Another", "One")
    return talk.store.engine


def by_hand(engine: Engine, *statements: str) -> None:
    """Run statements as another program does, without foreign keys."""
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


def test_check_finds_no_problem_in_used_database(database_url: str, lived_in: Engine) -> None:
    assert check(database_url) == []


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
    "INSERT INTO rating_reasons VALUES ('nowhere', 'nobody', 'rude')": (
        "nowhere nobody rude of rating_reasons is surplus"
    ),
    f"INSERT INTO conversations SELECT '{OTHER}', annotator_id, title, 1, 1, NULL, NULL, 1, 1, NULL, NULL,"
    " NULL, NULL, NULL FROM conversations WHERE title = 'Another'": f"The row {OTHER} of conversations is surplus",
    "INSERT INTO ratings SELECT message_id, actor_id, messages.conversation_id, NULL, 'like', NULL, 1, 1, 'x'"
    " FROM messages CROSS JOIN (SELECT actor_id FROM events LIMIT 1) AS someone WHERE text = 'One'": (
        "of ratings is surplus"
    ),
    f"UPDATE messages SET conversation_id = '{OTHER}' WHERE text = 'One'": "of messages is surplus",
}


@pytest.mark.parametrize("statement", TAMPERED)
def test_check_finds_projection_that_differs_from_log_and_rebuild_repairs_it(
    database_url: str, lived_in: Engine, statement: str
) -> None:
    before = projected(lived_in)
    by_hand(lived_in, statement)
    assert projected(lived_in) != before
    problems = check(database_url)
    assert any(TAMPERED[statement] in problem for problem in problems), problems
    rebuild(database_url, lambda done, total: None)
    assert check(database_url) == []
    assert projected(lived_in) == before


COPY = (
    "INSERT INTO events (event_id, conversation_id, version, kind, schema_version, message_id, actor_id, occurred_at,"
    " recorded_at, payload) SELECT 'forged', conversation_id, {version}, '{kind}', 1, {message}, actor_id, 1, 1,"
    " '{payload}' FROM events WHERE version = 1 AND conversation_id = (SELECT min(conversation_id) FROM events)"
)
FORGED = {
    COPY.format(version=99, kind="turn_undone", message="'m'", payload='{"model":null}'): "does not follow version",
    COPY.format(version=11, kind="message_translated", message="'m'", payload="{}"): "Event forged cannot be read",
    COPY.format(version=11, kind="message_sent", message="'m'", payload="{}"): "Event forged cannot be read",
    COPY.format(version=11, kind="turn_undone", message="'m'", payload='{"model":null}'): "do not add up",
}


@pytest.mark.parametrize("statement", FORGED)
def test_check_finds_forged_event_and_rebuild_changes_nothing(
    database_url: str, lived_in: Engine, statement: str
) -> None:
    before = projected(lived_in)
    by_hand(lived_in, statement)
    problems = check(database_url)
    assert any(FORGED[statement] in problem for problem in problems), problems
    with pytest.raises(StoreCorrupt):
        rebuild(database_url, lambda done, total: None)
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
def test_check_finds_altered_schema_or_guard(
    database_url: str, lived_in: Engine, database_kind: str, script: str
) -> None:
    by_hand(lived_in, *(part + ";" if "BEGIN" in part else part for part in _statements(script)))
    problems = check(database_url)
    assert any(ALTERED[database_kind][script] in problem for problem in problems), problems


def _statements(script: str) -> Iterator[str]:
    head, separator, rest = script.partition("; ")
    if separator and not head.startswith("CREATE"):
        yield head
        yield rest
    else:
        yield script


def test_check_ignores_index_and_table_of_another_program(database_url: str, lived_in: Engine) -> None:
    by_hand(lived_in, "CREATE INDEX mine ON events (recorded_at)", "CREATE TABLE notes (note TEXT)")
    assert check(database_url) == []


def test_check_reports_number_of_further_problems(database_url: str, talk: StoredTalk) -> None:
    for number in range(MAX_PROBLEMS // 2 + 5):
        talk.ask(f"Question {number}", "Answer")
    by_hand(talk.store.engine, "UPDATE messages SET text = 'x'")
    problems = check(database_url)
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1] == "There are 10 more problems."


def test_rebuild_reports_progress(database_url: str, lived_in: Engine) -> None:
    progress: list[tuple[int, int]] = []
    assert rebuild(database_url, lambda done, total: progress.append((done, total))) == 14
    assert progress[-1] == (14, 14)


def test_rebuild_of_empty_log_leaves_nothing(database_url: str) -> None:
    assert rebuild(database_url, lambda done, total: None) == 0
    assert check(database_url) == []


def test_check_and_rebuild_succeed_during_conversations(database_url: str, store: EventStore, talk: StoredTalk) -> None:
    enough = threading.Event()
    failures: list[ChatFeedbackError] = []

    def keep_talking() -> None:
        mine = StoredTalk(store, talk.actor)
        try:
            while not enough.is_set():
                reply = mine.ask("Hello", "Hi")
                mine.rate(reply, talk.actor, RatingChange(value="like", reasons={"funny": True}))
                mine.undo()
        except ChatFeedbackError as error:
            failures.append(error)

    threads = [threading.Thread(target=keep_talking) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            assert check(database_url) == []
            assert rebuild(database_url, lambda done, total: None) >= 0
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert check(database_url) == []
    live = projected(store.engine)
    assert len(live["conversations"]) == 3
    rebuild(database_url, lambda done, total: None)
    assert projected(store.engine) == live


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_check_and_rebuild_memory_does_not_grow_with_log(database_url: str, store: EventStore, people: People) -> None:
    def prompt(parent_id: str | None) -> MessageSent:
        return MessageSent(message_id=new_id(), parent_id=parent_id, text="Hello " * 20)

    def talk(_: Conversation) -> list[Body]:
        first = prompt(None)
        return [ConversationStarted(), first, prompt(first.message_id)]

    def grow(conversations: int) -> None:
        for future in [store.execute(Command(new_id(), people.ada, talk)) for _ in range(conversations)]:
            future.result()

    def peak(task: Callable[[], object]) -> int:
        tracemalloc.start()
        try:
            task()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    tasks = (lambda: check(database_url), lambda: rebuild(database_url, lambda done, total: None))
    grow(500)
    for task in tasks:
        task()  # fills the caches of the libraries
    few = [peak(task) for task in tasks]
    grow(1500)
    many = [peak(task) for task in tasks]
    assert all(after < 1.6 * before for before, after in zip(few, many, strict=True)), (few, many)


WEAKENED = {
    "sqlite": [
        (
            "DROP TRIGGER events_refuse_replace",
            "CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no') WHERE 0; END",
        ),
    ],
    "postgresql": [
        (
            "CREATE OR REPLACE FUNCTION refuse_change_of_events() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN /* RAISE EXCEPTION */ RETURN new; END $$",
        ),
        ("CREATE RULE nothing AS ON INSERT TO events DO INSTEAD NOTHING",),
        ("ALTER TABLE rating_reasons DROP CONSTRAINT pk_rating_reasons",),
        ("ALTER TABLE ratings DROP CONSTRAINT ck_ratings_value",),
    ],
}


def test_check_finds_weakened_guards_keys_and_constraints(database_url: str, lived_in: Engine) -> None:
    known: set[str] = set()
    for statements in WEAKENED[lived_in.dialect.name]:
        by_hand(lived_in, *statements)
        problems = set(check(database_url))
        assert problems > known, statements
        known = problems


def test_check_finds_column_that_differs_from_payload(database_url: str, lived_in: Engine) -> None:
    if lived_in.dialect.name == "sqlite":
        with lived_in.connect() as connection:
            (definition,) = connection.exec_driver_sql(
                "SELECT sql FROM sqlite_master WHERE name = 'events_refuse_update'"
            ).one()
        off, on = "DROP TRIGGER events_refuse_update", str(definition)
    else:
        off = "ALTER TABLE events DISABLE TRIGGER events_refuse_change"
        on = "ALTER TABLE events ENABLE ALWAYS TRIGGER events_refuse_change"
    by_hand(lived_in, off, "UPDATE events SET rating = 'dislike' WHERE rating = 'like'", on)
    (problem,) = check(database_url)
    assert "has 'dislike' as its rating" in problem


def test_check_finds_draft_without_conversation(database_url: str, lived_in: Engine) -> None:
    by_hand(lived_in, f"INSERT INTO reply_drafts VALUES ('{OTHER}', '{OTHER}', 'text', 'owner', 0, false, 0)")
    assert check(database_url) == [f"The row {OTHER} of reply_drafts is surplus: the log does not have it."]


# What another program has added or deleted

FOREIGN_SQLITE = {
    "trigger quiet on events": "CREATE TRIGGER quiet BEFORE INSERT ON events BEGIN SELECT RAISE(IGNORE); END",
    "trigger loud on EVENTS": "CREATE TRIGGER loud AFTER INSERT ON EVENTS BEGIN SELECT 1; END",
    "trigger crown on users": "CREATE TRIGGER crown AFTER INSERT ON users BEGIN UPDATE users SET role = 'admin'; END",
    "trigger let_in on sessions": "CREATE TRIGGER let_in AFTER UPDATE ON sessions BEGIN DELETE FROM consents; END",
    "trigger kept on ratings": "CREATE TRIGGER kept BEFORE DELETE ON ratings BEGIN SELECT RAISE(IGNORE); END",
    "trigger unseen on audit": "CREATE TRIGGER unseen BEFORE INSERT ON audit BEGIN SELECT RAISE(IGNORE); END",
}
FUNCTION = "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
FOREIGN_POSTGRES = {
    f"trigger quiet on {table}": f"CREATE TRIGGER quiet BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION skip()"
    for table in ("events", "audit", "users", "ratings", "sessions")
} | {
    "rule unseen on audit": "CREATE RULE unseen AS ON INSERT TO audit DO INSTEAD NOTHING",
    "rule crown on users": "CREATE RULE crown AS ON INSERT TO users DO ALSO UPDATE users SET role = 'admin'",
    "row-level security policy none on messages": "ALTER TABLE messages ENABLE ROW LEVEL SECURITY",
    "row-level security policy few on events": "CREATE POLICY few ON events USING (version < 3)",
}


@pytest.mark.parametrize(("called", "statement"), FOREIGN_SQLITE.items())
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_check_finds_foreign_trigger_in_sqlite(
    database_url: str, lived_in: Engine, called: str, statement: str
) -> None:
    by_hand(lived_in, statement)
    assert check(database_url) == [
        f"The {called} is not of chatfeedback and can change what is stored or read; drop it."
    ]


@pytest.mark.parametrize(("called", "statement"), FOREIGN_POSTGRES.items())
@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_check_finds_foreign_trigger_rule_and_policy_in_postgres(
    database_url: str, lived_in: Engine, called: str, statement: str
) -> None:
    by_hand(lived_in, FUNCTION, statement)
    assert check(database_url) == [
        f"The {called} is not of chatfeedback and can change what is stored or read; drop it."
    ]


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_check_leaves_tables_of_others_alone(database_url: str, lived_in: Engine) -> None:
    by_hand(
        lived_in,
        FUNCTION,
        "CREATE TABLE theirs (id integer)",
        "CREATE TRIGGER quiet BEFORE INSERT ON theirs FOR EACH ROW EXECUTE FUNCTION skip()",
    )
    assert check(database_url) == []


@pytest.fixture
def administered(lived_in: Engine) -> dict[str, str]:
    """Return the ids of users whose accounts have a history, by name."""
    for name, role in (("eve", "admin"), ("kim", "annotator"), ("lee", "researcher")):
        users.add(lived_in, name, cast(Role, role), actor_id=None)
    users.set_role(lived_in, "kim", "researcher", actor_id=None)
    users.set_role(lived_in, "kim", "annotator", actor_id=None)
    users.set_disabled(lived_in, "lee", True, actor_id=None)
    found = {name: users.find(lived_in, name) for name in ("eve", "kim", "lee")}
    ids = {name: user.annotator_id for name, user in found.items() if user}
    users.consent(lived_in, ids["kim"], "2")
    return ids


BY_HAND = {
    "UPDATE users SET role = 'admin' WHERE annotator_id = '{kim}'": (
        "The user {kim} is admin, but annotator by the audit."
    ),
    "UPDATE users SET disabled_at = NULL": "The user {lee} is not disabled, which the audit does not say.",
    "UPDATE users SET disabled_at = 5 WHERE annotator_id = '{eve}'": (
        "The user {eve} is disabled, which the audit does not say."
    ),
    "INSERT INTO users VALUES ('ada', 'admin', NULL, 0, NULL)": "The audit does not say who added the user ada.",
    "INSERT INTO consents VALUES ('{kim}', '3', 0)": (
        "The audit does not say that {kim} agreed to version 3 of the consent text."
    ),
}


@pytest.mark.parametrize(("statement", "sentence"), BY_HAND.items())
def test_check_finds_account_that_audit_does_not_explain(
    database_url: str, lived_in: Engine, administered: dict[str, str], statement: str, sentence: str
) -> None:
    assert check(database_url) == []
    by_hand(lived_in, statement.format(**administered))
    assert check(database_url) == [sentence.format(**administered)]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "which", ["position = 1", "position = 3", "position IN (2, 4)", "position = (SELECT max(position) FROM audit)"]
)
def test_check_finds_deleted_entries_of_audit(
    database_url: str, lived_in: Engine, administered: dict[str, str], which: str
) -> None:
    definition = append_only.SQLITE_TRIGGERS["audit"]["audit_refuse_delete"]
    by_hand(
        lived_in,
        "DROP TRIGGER audit_refuse_delete",
        f"DELETE FROM audit WHERE {which}",
        f"CREATE TRIGGER audit_refuse_delete {definition}",
    )
    count = 2 if "IN" in which else 1
    assert f"The audit lacks {count} of its entries: they were deleted by hand." in check(database_url)


@pytest.mark.parametrize("action", ["user_added", "role_changed", "consented", "user_disabled"])
def test_check_finds_deleted_entries_that_explain_accounts(
    database_url: str, lived_in: Engine, administered: dict[str, str], action: str
) -> None:
    before, after = {
        "sqlite": (
            "DROP TRIGGER audit_refuse_delete",
            f"CREATE TRIGGER audit_refuse_delete {append_only.SQLITE_TRIGGERS['audit']['audit_refuse_delete']}",
        ),
        "postgresql": (
            "ALTER TABLE audit DISABLE TRIGGER audit_refuse_change",
            "ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_refuse_change",
        ),
    }[lived_in.dialect.name]
    first = "(SELECT min(position) FROM audit WHERE action = 'role_changed')"
    # Of the changes of a role only the last one is deleted: the first one then contradicts the role.
    which = f"action = '{action}'" + (f" AND position > {first}" if action == "role_changed" else "")
    by_hand(lived_in, before, f"DELETE FROM audit WHERE {which}", after)
    assert [problem for problem in check(database_url) if "audit" in problem]

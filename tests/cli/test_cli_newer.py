"""A database of a newer release: every command refuses it with the same sentence, and leaves it alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from chatfeedback.cli import app
from chatfeedback.domain.conversation.events import ConversationStarted
from chatfeedback.domain.events import SCHEMA_VERSION, Event, payload_text
from chatfeedback.domain.types import new_id
from chatfeedback.store.accounts import annotators
from chatfeedback.store.database.clock import now
from chatfeedback.store.log.event_rows import event_row
from chatfeedback.store.maintenance import check
from chatfeedback.store.schema import events

COMMANDS = (
    "serve --no-open --port 0",
    "serve --no-open --port 0 --migrate",
    "export events",
    "export messages --annotators names",
    "export feedback --format jsonl",
    "stats",
    "db current",
    "db upgrade",
    "db downgrade 0001",
    "db check",
    "db rebuild",
    "users add ada --no-password",
    "users list",
    "users role ada admin",
    "users disable ada",
    "users sessions",
    "erase --annotator ada --yes",
)


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(url: str, command: str) -> str:
    """Run the command, assert status 1, and return its message."""
    result = CliRunner().invoke(app, [*command.split(), "--database-url", url], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (1, "")
    return result.stderr


@pytest.fixture
def newer_url(database_url: str, engine: Engine) -> str:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '7777'"))
    return database_url


def test_commands_refuse_database_of_newer_release(newer_url: str) -> None:
    for command in COMMANDS:
        message = refused(newer_url, command)
        assert message.startswith("chatfeedback: "), command
        assert message.endswith(
            ": Its schema (7777) was made by a newer release of chatfeedback; install that release or a later one.\n"
        ), command
        assert message.count("\n") == 1, command


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_backup_refuses_database_of_newer_release(newer_url: str, tmp_path: Path) -> None:
    assert "made by a newer release" in refused(newer_url, "db backup monday.db")
    assert not (tmp_path / "monday.db").exists()


def test_rebuild_and_check_name_event_of_newer_release(database_url: str, engine: Engine) -> None:
    ada = annotators.ensure(engine, "ada")
    event = Event(new_id(), new_id(), 1, ada, now(), ConversationStarted())
    newer = SCHEMA_VERSION + 1
    row = {**event_row(event, now()), "schema_version": newer, "payload": payload_text(event.body)}
    with engine.begin() as connection:
        connection.execute(events.insert(), row)
    sentence = f"'conversation_started' of schema version {newer}, is newer than this release; install a later one."
    assert sentence in refused(database_url, "db rebuild")
    assert any(sentence in problem for problem in check(database_url))

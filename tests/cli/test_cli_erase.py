"""chatfeedback erase: its output, its confirmation, and no erasure without one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from chatfeedback.cli import app
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.domain.types import new_id
from chatfeedback.store.accounts import annotators
from chatfeedback.store.database import migrate
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.erasure import purge
from chatfeedback.store.maintenance import check
from chatfeedback.store.opening import open_event_store
from conversation_builder import StoredTalk
from leak_scan import traces


@pytest.fixture
def talk(engine: Engine) -> Iterator[StoredTalk]:
    """Conversation of Ada with 4 events, and one of Bob with a comment by Ada."""
    store = open_event_store(engine)
    ada, bob = (annotators.ensure(engine, name) for name in ("Ada King", "bob"))
    talk = StoredTalk(store, ada)
    talk.ask("A secret of Ada", "A reply to Ada")
    theirs = StoredTalk(store, bob)
    theirs.rate(theirs.ask("Hello from Bob", "Hi"), ada, RatingChange("like", comment="A comment of Ada"))
    yield talk
    store.writer.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["erase", *arguments], catch_exceptions=False)


def on_a_terminal(answer: str, *arguments: str) -> tuple[int, str]:
    """Run the command on a terminal, and return its exit status and its output."""
    terminal, its = pty.openpty()
    command = [sys.executable, "-m", "chatfeedback", "erase", *arguments]
    with subprocess.Popen(command, stdin=its, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        os.close(its)
        os.write(terminal, answer.encode())
        output, _ = process.communicate(timeout=60)
    os.close(terminal)
    return process.returncode, output


SECRETS = ("A secret of Ada", "A reply to Ada")


def test_erase_with_yes_erases_conversation_without_confirmation(talk: StoredTalk, database_url: str) -> None:
    done = run("--conversation", talk.conversation_id, "--yes", "--database-url", database_url)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        f"This erases the conversation {talk.conversation_id} for good: 1 conversation, 4 events.\n"
        "Erased: 1 conversation, 4 events.\n"
    )
    assert traces(database_url, (*SECRETS, "Hello from Bob")) == {"Hello from Bob"}
    again = run("--conversation", talk.conversation_id, "--yes", "--database-url", database_url)
    assert (again.exit_code, again.stdout) == (0, "There was nothing left to erase; the files are clean.\n")


@pytest.mark.parametrize("by_name", [True, False])
def test_erase_finds_annotator_by_name_or_id(talk: StoredTalk, database_url: str, by_name: bool) -> None:
    done = run("--annotator", "Ada King" if by_name else talk.actor, "--yes", "--database-url", database_url)
    summary = "1 conversation, 4 events, the words in 1 event elsewhere, name and account."
    assert done.stdout == f"This erases the annotator Ada King ({talk.actor}) for good: {summary}\nErased: {summary}\n"
    assert traces(database_url, ("Ada King", "A comment of Ada", *SECRETS, "Hello from Bob")) == {"Hello from Bob"}
    assert run("--annotator", "Ada King", "--yes", "--database-url", database_url).exit_code == 1, "no such name"
    assert run("--annotator", talk.actor, "--yes", "--database-url", database_url).exit_code == 0
    assert check(database_url) == []


# The tests above cover erasures on Postgres.
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.process
@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_erase_asks_for_confirmation_on_terminal(talk: StoredTalk, database_url: str, answer: str, status: int) -> None:
    ended, output = on_a_terminal(answer, "--conversation", talk.conversation_id, "--database-url", database_url)
    assert ended == status, output
    assert "1 conversation, 4 events" in output.partition("This cannot be undone. Erase it? [y/N]")[0]
    assert ("Nothing was erased." in output) == (status == 1)
    assert (talk.store.conversation(talk.conversation_id) is None) == (status == 0)


def test_erase_requires_yes_flag_without_terminal(talk: StoredTalk, database_url: str) -> None:
    refused = run("--conversation", talk.conversation_id, "--database-url", database_url)
    assert refused.exit_code == 2
    assert refused.stderr == ("chatfeedback: There is no terminal to ask whether this is meant; say so with --yes.\n")
    assert talk.conversation.version == 4


@pytest.mark.parametrize("arguments", [(), ("--conversation", "c", "--annotator", "a")])
def test_erase_requires_exactly_one_target(arguments: tuple[str, ...]) -> None:
    refused = run(*arguments, "--yes")
    assert refused.exit_code == 2
    assert "either a --conversation or an --annotator" in " ".join(refused.stderr.replace("│", "").split())


def test_erase_reports_unknown_target_in_one_line(talk: StoredTalk, database_url: str) -> None:
    for flag, target in (("--conversation", new_id()), ("--annotator", "nobody"), ("--annotator", "\udcff")):
        refused = run(flag, target, "--yes", "--database-url", database_url)
        assert refused.exit_code == 1
        assert refused.stderr.startswith("chatfeedback: There is no ")
        assert refused.stderr.count("\n") == 1


def test_erase_reports_missing_or_outdated_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chat.db"
    assert "chatfeedback db upgrade" in run("--annotator", "ada", "--yes", "--database-url", url).stderr
    migrate.upgrade(url, "0001")
    behind = run("--annotator", "ada", "--yes", "--database-url", url)
    assert (behind.exit_code, "chatfeedback db upgrade" in behind.stderr) == (1, True)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_erase_reports_incomplete_purge_and_next_step(
    talk: StoredTalk, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "WAL_CHECKPOINT_SECONDS", 0.1)
    reader = open_engine(database_url, read_only=True)
    with reader.connect() as reading:
        reading.exec_driver_sql("SELECT count(*) FROM events").all()
        done = run("--annotator", "Ada King", "--yes", "--database-url", database_url)
    reader.dispose()
    assert done.exit_code == 1
    path = database_url.removeprefix("sqlite:///")
    sentence = "All of it is erased, but remnants may still lie in the database's files"
    assert done.stderr.startswith(f"chatfeedback: {path}: {sentence}")
    assert f"run `chatfeedback erase --annotator {talk.actor}` once more" in done.stderr
    assert "Ada King" not in done.stderr
    assert run("--annotator", talk.actor, "--yes", "--database-url", database_url).stdout.startswith(
        "There was nothing left"
    )
    assert traces(database_url, SECRETS) == set()

"""chatfeedback users: accounts managed on the command line; a password is never a flag."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from chatfeedback.auth import passwords
from chatfeedback.cli import app
from chatfeedback.store.accounts import audit, users
from chatfeedback.store.accounts.sessions import Sessions
from chatfeedback.store.accounts.users import User
from chatfeedback.store.database.engine import open_engine
from cheap_hashes import cheap_hashes

PASSWORD = "four words nobody guesses"
# Commands that are refused before the database is used.
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture(scope="module", autouse=True)
def _cheap_hashes() -> Iterator[None]:
    yield from cheap_hashes()


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def engine(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Engine of the database that the environment names."""
    monkeypatch.setenv("CHATFEEDBACK_DATABASE_URL", database_url)
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["users", *arguments], input=stdin, catch_exceptions=False)


def done(*arguments: str, stdin: str | None = None) -> str:
    result = run(*arguments, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def refused(*arguments: str, stdin: str | bytes | None = None, status: int = 1) -> str:
    result = run(*arguments, stdin=stdin)
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.startswith("chatfeedback: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    return result.stderr


def find(engine: Engine, name: str) -> User:
    user = users.find(engine, name)
    assert user is not None
    return user


def test_users_add_stores_role_and_password_and_audit_entries(engine: Engine) -> None:
    assert done("add", "Ada", "--password-stdin", stdin=f"{PASSWORD}\n") == "Ada may sign in, as annotator.\n"
    assert done("add", "Eve", "--role", "admin", "--no-password") == "Eve may sign in, as admin.\n"
    ada, eve = find(engine, "Ada"), find(engine, "Eve")
    assert (ada.role, eve.role, eve.password_hash) == ("annotator", "admin", None)
    assert passwords.verify(ada.password_hash, PASSWORD)
    entries = [(entry.action, entry.actor_id, entry.subject_id) for entry in audit.latest(engine, limit=10)]
    assert entries == [("user_added", None, eve.annotator_id), ("user_added", None, ada.annotator_id)]


def test_users_add_creates_missing_database_and_other_commands_do_not(working_directory: Path) -> None:
    for command in (("list",), ("role", "Ada", "admin"), ("disable", "Ada"), ("sessions",)):
        assert "There is no database at chatfeedback.db; `chatfeedback users add` makes one." in refused(
            *command, status=2
        )
    assert list(working_directory.iterdir()) == []
    done("add", "Ada", "--no-password")
    assert "Ada" in done("list")


@ON_SQLITE
@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "a\nb", "\x1b[31mred", "\u202eadA", "\udcff"])
def test_users_add_refuses_invalid_name(engine: Engine, name: str) -> None:
    assert "A name has 1 to 200 printable characters." in refused("add", name, "--no-password")
    assert users.list_all(engine) == []


@ON_SQLITE
@pytest.mark.parametrize("password", ["", "short", "a" * 20, "AdaAdaAdaAda1", "x" * 1001])
def test_users_add_refuses_invalid_password_and_does_not_repeat_it(engine: Engine, password: str) -> None:
    message = refused("add", "Ada", "--password-stdin", stdin=f"{password}\n")
    assert "password" in message
    assert not password or password not in message
    assert users.list_all(engine) == []


@ON_SQLITE
@pytest.mark.process
def test_users_add_refuses_password_that_is_not_utf8(engine: Engine) -> None:
    command = [sys.executable, "-m", "chatfeedback", "users", "add", "Ada", "--password-stdin"]
    environment = {**os.environ, "PYTHONUTF8": "1"}
    ended = subprocess.run(command, input=b"\xff\xfe" * 10 + b"\n", capture_output=True, env=environment)
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr == b"chatfeedback: The password on the standard input is not UTF-8.\n"


@ON_SQLITE
def test_users_commands_have_no_password_flag(engine: Engine) -> None:
    for arguments in (("add", "Ada", "--password", PASSWORD), ("password", "Ada", PASSWORD), ("add", "Ada", PASSWORD)):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
    assert users.list_all(engine) == []


@ON_SQLITE
def test_users_commands_require_password_stdin_without_terminal(engine: Engine) -> None:
    for arguments in (("add", "Ada"), ("password", "Ada")):
        assert "There is no terminal to ask for a password on; pass it with --password-stdin." in refused(*arguments)
    assert users.list_all(engine) == []


def on_a_terminal(*arguments: str, answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Run the command on a terminal, and return its exit status and its output.

    `answers` are pairs of a prompt and the line to type. The space that ends a prompt shows that earlier input has been
    discarded.
    """
    terminal, its = pty.openpty()
    command = [sys.executable, "-m", "chatfeedback", "users", *arguments]
    shown, start = "", 0
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True) as process:
        os.close(its)
        while True:
            try:
                shown += os.read(terminal, 1024).decode()
            except OSError:  # so ends a terminal
                break
            if answers and answers[0][0] in shown[start:]:
                start = len(shown)
                os.write(terminal, f"{answers.pop(0)[1]}\n".encode())
        status = process.wait(timeout=60)
    os.close(terminal)
    assert answers == []
    return status, shown


@ON_SQLITE
@pytest.mark.process
def test_users_commands_ask_twice_for_password_and_do_not_show_it(engine: Engine) -> None:
    twice = [("Password: ", PASSWORD), ("confirmation: ", PASSWORD)]
    status, shown = on_a_terminal("add", "Ada", answers=twice)
    assert (status, PASSWORD in shown) == (0, False)
    assert "Ada may sign in, as annotator." in shown
    assert passwords.verify(find(engine, "Ada").password_hash, PASSWORD)
    other = "another long phrase"
    again = [("Password: ", other), ("confirmation: ", "a slip"), ("Password: ", other), ("confirmation: ", other)]
    status, shown = on_a_terminal("password", "Ada", answers=again)
    assert (status, other in shown) == (0, False)
    assert passwords.verify(find(engine, "Ada").password_hash, other)


def test_users_add_refuses_existing_user(engine: Engine) -> None:
    done("add", "Ada", "--no-password")
    before = find(engine, "Ada")
    message = refused("add", "Ada", "--role", "admin", "--password-stdin", stdin=PASSWORD)
    assert message == "chatfeedback: There is a user 'Ada' already.\n"
    assert find(engine, "Ada") == before


def test_users_list_prints_table_and_json(engine: Engine) -> None:
    done("add", "Ada", "--password-stdin", stdin=PASSWORD)
    done("add", "Bob [red]", "--no-password", "--role", "researcher")
    Sessions(engine, lifetime=timedelta(days=1), idle=timedelta(days=1)).begin(find(engine, "Ada").annotator_id, "oidc")
    done("disable", "Bob [red]")
    listed = json.loads(done("list", "--format", "json"))
    ada, bob = listed
    assert (ada.pop("seen_at") is None, bob.pop("seen_at")) == (False, None)
    assert listed == [
        {
            "annotator_id": find(engine, "Ada").annotator_id,
            "name": "Ada",
            "role": "annotator",
            "disabled": False,
            "signs_in_with": ["password"],
            "sessions": 1,
        },
        {
            "annotator_id": find(engine, "Bob [red]").annotator_id,
            "name": "Bob [red]",
            "role": "researcher",
            "disabled": True,
            "signs_in_with": [],
            "sessions": 0,
        },
    ]
    table = done("list")
    assert "Bob [red]" in table
    assert "disabled" in table
    assert "argon2" not in table + repr(listed)


def test_users_role_changes_role_and_keeps_last_admin(engine: Engine) -> None:
    done("add", "Eve", "--role", "admin", "--no-password")
    assert "'Eve' is the only admin; make another user an admin first." in refused("role", "Eve", "annotator")
    assert "only admin" in refused("disable", "Eve")
    done("add", "Ada", "--no-password")
    assert done("role", "Ada", "admin") == "Ada is admin now.\n"
    assert done("role", "Eve", "annotator") == "Eve is annotator now.\n"
    assert (find(engine, "Ada").role, find(engine, "Eve").role) == ("admin", "annotator")
    result = run("role", "Ada", "king")
    assert (result.exit_code, result.stdout) == (2, "")


def test_users_disable_locks_user_out_and_enable_lets_them_in(engine: Engine) -> None:
    done("add", "Ada", "--no-password")
    assert done("disable", "Ada") == "Ada is locked out.\n"
    assert find(engine, "Ada").disabled_at is not None
    assert done("disable", "Ada", "--enable") == "Ada may sign in again.\n"
    assert find(engine, "Ada").disabled_at is None


def test_users_password_ends_all_sessions_of_user(engine: Engine) -> None:
    done("add", "Ada", "--password-stdin", stdin=PASSWORD)
    sessions = Sessions(engine, lifetime=timedelta(days=1), idle=timedelta(days=1))
    token = sessions.begin(find(engine, "Ada").annotator_id, "password")
    refused("password", "Ada", "--password-stdin", stdin="short")
    assert sessions.person(token, None) is not None
    assert done("password", "Ada", "--password-stdin", stdin="another long phrase\r\n") == (
        "The password of Ada was changed.\n"
    )
    assert sessions.person(token, None) is None
    assert passwords.verify(find(engine, "Ada").password_hash, "another long phrase")


def test_users_sessions_lists_and_ends_sessions(engine: Engine) -> None:
    for name in ("Ada", "Bob"):
        done("add", name, "--no-password")
    sessions = Sessions(engine, lifetime=timedelta(days=1), idle=timedelta(days=1))
    tokens = [sessions.begin(find(engine, name).annotator_id, "password") for name in ("Ada", "Ada", "Bob")]
    all_sessions, sessions_of_ada = done("sessions"), done("sessions", "Ada")
    assert (all_sessions.count("Ada"), all_sessions.count("Bob")) == (2, 1)
    assert (sessions_of_ada.count("Ada"), sessions_of_ada.count("Bob")) == (2, 0)
    assert not [token for token in tokens if token in all_sessions]
    assert "Say whose sessions are to end" in refused("sessions", "--end")
    assert done("sessions", "Ada", "--end") == "Ada was signed out of 2 sessions.\n"
    assert done("sessions", "Bob", "--end") == "Bob was signed out of 1 session.\n"
    assert done("sessions", "Bob", "--end") == "Bob was signed out of 0 sessions.\n"


@pytest.mark.parametrize("name", ["nobody", "", "\udcff", "%", "x" * 5000])
def test_users_commands_report_unknown_user(engine: Engine, name: str) -> None:
    done("add", "Ada", "--no-password")
    for arguments in (
        ("role", name, "admin"),
        ("disable", name),
        ("password", name, "--password-stdin"),
        ("sessions", name),
        ("sessions", name, "--end"),
    ):
        assert "There is no user" in refused(*arguments, stdin=PASSWORD)


OIDC = '[oidc]\nissuer = "https://one.example"\nclient_id = "chat"\n'


def test_users_add_links_subject_of_oidc_provider(engine: Engine) -> None:
    assert "--subject needs the table [oidc]" in refused("add", "Ada", "--subject", "17", status=2)
    Path("chatfeedback.toml").write_text(OIDC)
    done("add", "Ada", "--subject", "17")
    user = users.find_by_identity(engine, "https://one.example", "17")
    assert user is not None
    assert (user.name, user.password_hash) == ("Ada", None)
    assert "belongs to another user already" in refused("add", "Bob", "--subject", "17")
    for subject in ("", "x" * 256, "a\nb", "\udcff", "ü"):
        assert "A subject has 1 to 255 printable ASCII characters." in refused("add", "Bob", "--subject", subject)
    assert users.find(engine, "Bob") is None


def test_users_add_creates_schema_only_in_sqlite_file(empty_database_url: str) -> None:
    add = ("add", "Ada", "--no-password", "--database-url", empty_database_url)
    if empty_database_url.startswith("postgresql"):
        assert "db upgrade" in refused(*add)
    else:
        done(*add)

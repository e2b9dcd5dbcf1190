"""Command line: flags, output and exit statuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperOption
from typer.testing import CliRunner, Result

from chatfeedback import __version__
from chatfeedback.cli import app
from chatfeedback.config.settings import Settings
from chatfeedback.query.filters import Filters
from chatfeedback.store.database import migrate


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def process(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "chatfeedback", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


# Errors and exit status


def test_version_flag_prints_version_of_package() -> None:
    assert run("--version").stdout == f"chatfeedback {__version__}\n"


def test_cli_reports_invalid_setting_in_one_sentence_with_status_2() -> None:
    result = run("db", "current", "--database-url", "mysql://host/name")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("chatfeedback: The setting database_url (from the flag --database-url) cannot be")
    assert result.stderr.count("\n") == 1


def test_cli_exits_with_status_2_for_unknown_flag() -> None:
    assert run("db", "current", "--databse-url", "x").exit_code == 2


@pytest.mark.process
def test_cli_reports_other_error_in_one_sentence_with_status_1() -> None:
    migrate.upgrade("sqlite:///chatfeedback.db")
    ended = process("erase", "--annotator", "Ada", "--yes")
    stdout, stderr = ended.communicate()
    assert (ended.returncode, stdout) == (1, "")
    assert stderr == "chatfeedback: There is no annotator 'Ada' in this database.\n"


@pytest.mark.parametrize(
    "command",
    [
        "db check",
        "db rebuild",
        "db downgrade base",
        "db backup copy.db",
        "erase --annotator ada --yes",
        "stats",
        "export feedback",
        "users list",
    ],
)
def test_cli_reports_missing_database_with_status_2(command: str) -> None:
    result = run(*command.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(r"chatfeedback: There is no database at chatfeedback\.db; [^\n]+\.\n", result.stderr)
    assert not any(Path().iterdir())


def test_cli_exits_with_status_130_on_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_url: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(migrate, "current", interrupted)
    result = run("db", "current")
    assert (result.exit_code, result.output) == (130, "")


@pytest.mark.process
@pytest.mark.parametrize("arguments", [("export", "events"), ("db", "current")])
def test_cli_exits_quietly_when_reader_closes_pipe(arguments: tuple[str, ...]) -> None:
    migrate.upgrade("sqlite:///chatfeedback.db")
    reading, writing = os.pipe()
    os.close(reading)  # no reader from the start, as after `| head` has ended
    command = [sys.executable, "-m", "chatfeedback", *arguments]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


CLOSED = "chatfeedback: The standard output is closed.\n"


@pytest.mark.process
@pytest.mark.parametrize("closed", [">&-", "<&- >&-", ">&- 3>&-"])
@pytest.mark.parametrize(
    ("arguments", "sentence", "status"),
    [
        ("--version", CLOSED, 1),
        ("--help", CLOSED, 1),
        ("stats --help", CLOSED, 1),
        ("db current", CLOSED, 1),
        ("export events", "chatfeedback: The standard output is closed; name a file with --output.\n", 2),
    ],
)
def test_cli_reports_closed_stdout(closed: str, arguments: str, sentence: str, status: int) -> None:
    migrate.upgrade("sqlite:///chatfeedback.db")
    command = ["sh", "-c", f"exec {sys.executable} -m chatfeedback {arguments} {closed}"]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (status, sentence)


@pytest.mark.process
@pytest.mark.parametrize("closed", ["2>&-", "<&-", "<&- 2>&-"])
def test_cli_works_without_stdin_and_stderr(closed: str) -> None:
    migrate.upgrade("sqlite:///chatfeedback.db")
    command = ["sh", "-c", f"exec {sys.executable} -m chatfeedback db check {closed}"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stdout) == (0, "The database is as it should be.\n")


# The database


def test_db_commands_upgrade_check_rebuild_and_downgrade_database(empty_database_url: str) -> None:
    def db(command: str, *arguments: str) -> Result:
        return run("db", command, *arguments, "--database-url", empty_database_url)

    head = migrate.current(empty_database_url).head
    assert db("current").stdout == f"empty (the newest is {head})\n"
    assert db("upgrade").stdout == f"empty → {head}\n"
    assert db("upgrade").stdout == f"Nothing to do, the database is at {head}.\n"
    assert db("current").stdout == f"{head} (the newest)\n"
    assert db("check").stdout == "The database is as it should be.\n"
    assert db("rebuild").stdout == "Rebuilt from 0 events.\n"
    assert db("downgrade", "base").stdout == f"{head} → empty\n"
    assert db("downgrade", "nowhere").exit_code == 2


def test_db_check_exits_with_status_1_when_it_finds_problems(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    migrate.downgrade(empty_database_url, "base")
    result = run("db", "check", "--database-url", empty_database_url)
    assert result.exit_code == 1
    assert "revision" in result.stdout


def test_db_upgrade_takes_database_url_from_settings_file(working_directory: Path) -> None:
    (working_directory / "other.toml").write_text('database_url = "sqlite:///other.db"\n')
    assert run("db", "upgrade", "--config", "other.toml").exit_code == 0
    assert (working_directory / "other.db").exists()


# Export and figures


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr("chatfeedback.export.to_file.run", lambda *arguments: calls.append(arguments))
    return calls


def test_export_passes_flags(exported: list[tuple[Any, ...]]) -> None:
    flags = (
        "--format jsonl --output out.jsonl --since 2026-11-20 --until 2026-11-21T08:30:00+01:00 --model m --annotator a"
        " --annotators names"
    )
    assert run("export", "feedback", *flags.split()).exit_code == 0
    ((url, kind, format, output, filters, annotators, _progress),) = exported
    assert (url, kind, format, output, annotators) == (
        "sqlite+pysqlite:///chatfeedback.db",
        "feedback",
        "jsonl",
        Path("out.jsonl"),
        "names",
    )
    assert filters == Filters(
        since=datetime(2026, 11, 20, tzinfo=UTC),
        until=datetime(2026, 11, 21, 7, 30, tzinfo=UTC),
        model="m",
        annotator="a",
    )


def test_export_defaults_to_csv_with_pseudonyms_on_stdout(exported: list[tuple[Any, ...]]) -> None:
    assert run("export", "messages").exit_code == 0
    ((_url, _kind, format, output, filters, annotators, _progress),) = exported
    assert (format, output, filters, annotators) == ("csv", None, Filters(), "pseudonyms")


@pytest.mark.parametrize(
    "arguments",
    [
        ("everything",),
        ("events", "--format", "xls"),
        ("events", "--annotators", "ids"),
        ("events", "--since", "yesterday"),
        ("events", "--since", "0001-01-01T00:00:00+05:00"),
        ("events", "--since", "2026-11-21", "--until", "2026-11-20"),
    ],
)
def test_export_refuses_invalid_arguments(exported: list[tuple[Any, ...]], arguments: tuple[str, ...]) -> None:
    assert run("export", *arguments).exit_code == 2
    assert exported == []


def test_export_prints_only_table_when_stderr_is_no_terminal(database_url: str) -> None:
    result = run("export", "events", "--database-url", database_url)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("\n")
    assert result.stdout.count("\n") == 1, "the header, and no event"


def test_stats_prints_json_and_table(database_url: str) -> None:
    as_json = run("stats", "--format", "json", "--database-url", database_url)
    figures = json.loads(as_json.stdout)
    assert figures["conversations"] == 0
    as_table = run("stats", "--database-url", database_url)
    assert as_table.exit_code == 0
    assert "conversations" in as_table.stdout


# Serving


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, bool]]:
    calls: list[tuple[Settings, bool]] = []
    monkeypatch.setattr(
        "chatfeedback.server.run.serve", lambda settings, *, open_browser: calls.append((settings, open_browser))
    )
    return calls


def test_serve_turns_flags_into_settings(served: list[tuple[Settings, bool]]) -> None:
    flags = "--model m --base-url http://h/v1 --api-key-env KEY --host 0.0.0.0 --port 0 --annotator a --migrate --open"
    assert run("serve", *flags.split(), "--title", "A title").exit_code == 0
    ((settings, open_browser),) = served
    (model,) = settings.models
    assert (model.name, model.base_url, model.api_key_env) == ("m", "http://h/v1", "KEY")
    assert (settings.host, settings.port, settings.annotator, settings.title) == ("0.0.0.0", 0, "a", "A title")
    assert settings.migrate
    assert open_browser


def test_serve_uses_defaults_without_flags(served: list[tuple[Settings, bool]]) -> None:
    assert run("serve").exit_code == 0
    assert served == [(Settings(), False)], "no terminal here, so no browser is opened"


def test_stats_passes_database_url_and_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Filters]] = []
    monkeypatch.setattr("chatfeedback.analytics.stats.stats", lambda url, filters: calls.append((url, filters)) or {})
    assert run("stats", "--database-url", "sqlite:///other.db", "--model", "m").exit_code == 0
    assert calls == [("sqlite+pysqlite:///other.db", Filters(model="m"))]


# Links to studies


def test_link_prints_line_for_each_external_id(working_directory: Path) -> None:
    migrate.upgrade("sqlite:///chatfeedback.db")
    result = run("link", "--study", "colours", "--external-id", "p-17", "--external-id", "p-18")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(set(lines)) == 2
    assert all(re.fullmatch(r"http://127\.0\.0\.1:7860/\?assignment=[\w.-]+", line) for line in lines)


@pytest.mark.parametrize("flags", [[], ["--study", ""], ["--condition", "x" * 201]])
def test_link_refuses_values_that_cannot_be_recorded(working_directory: Path, flags: list[str]) -> None:
    migrate.upgrade("sqlite:///chatfeedback.db")
    result = run("link", *flags)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "study" in result.stderr or "condition" in result.stderr


# Options


def commands(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each command with its path."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield (*path, name), command


@pytest.mark.parametrize(
    ("path", "option"),
    [
        pytest.param(path, option, id=" ".join((*path, option.opts[0])))
        for path, command in commands(typer.main.get_command(app))
        for option in command.params
        if isinstance(option, TyperOption) and not option.is_flag and not option.multiple
    ],
)
def test_cli_refuses_option_with_two_values(path: tuple[str, ...], option: TyperOption) -> None:
    value = {"--since": "2026-11-01", "--until": "2026-11-01"}.get(option.opts[0], "1")
    result = run(*path, option.opts[0], value, f"{option.opts[-1]}={value}")
    assert result.exit_code == 2
    words = " ".join(result.stderr.replace("│", " ").split())
    assert f"{option.opts[0]} is given more than once; give it once." in words

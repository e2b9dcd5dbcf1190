"""The command `chatfeedback export`: whole files or none, a clean stdout, one sentence for each mistake."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine

from chatfeedback.cli.options import exit_on_signals
from chatfeedback.errors import NotFound, SettingsError, StoreUnavailable
from chatfeedback.export import to_file
from chatfeedback.export.registry import FORMATS
from chatfeedback.query.filters import Filters
from chatfeedback.store.accounts import pseudonyms, secrets
from chatfeedback.store.database import migrate
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.maintenance import check
from conversation_builder import People
from export.recording import Export, TimedTalk, gather
from readonly_dirs import read_only, reading_url, write_only

Run = Callable[..., None]
KILLED_EXPORT = """
import os, signal, sys
from pathlib import Path
from chatfeedback.export import to_file
from chatfeedback.query.filters import Filters

def kill(done, total):
    if done == total:
        os.kill(os.getpid(), signal.SIGKILL)

to_file.run(sys.argv[1], "feedback", "csv", Path(sys.argv[2]), Filters(), progress=kill)
"""
"""Program that is killed at the last row of its export."""


@pytest.fixture
def run(database_url: str) -> Run:
    """Return `run(kind, format, output, progress)`, which exports without filters."""

    def exported(
        kind: str, format: str, output: Path | None, progress: Callable[[int, int], None] | None = None
    ) -> None:
        to_file.run(database_url, kind, format, output, Filters(), progress=progress)

    return exported


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def _gathered(store: EventStore, people: People) -> None:
    gather(store, people)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def interrupt(done: int, total: int) -> None:
    """Press Ctrl+C at the last row."""
    if done == total:
        raise KeyboardInterrupt


def process(database_url: str, *arguments: str) -> subprocess.Popen[bytes]:
    called = [sys.executable, "-m", "chatfeedback", "export", *arguments, "--database-url", database_url]
    return subprocess.Popen(called, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("kind", ["events", "messages", "feedback"])
@pytest.mark.parametrize("format", FORMATS)
def test_export_file_equals_export(kind: str, format: str, run: Run, folder: Path, export: Export) -> None:
    run(kind, format, folder / "out")
    assert (folder / "out").read_bytes() == export(kind, format)
    assert names(folder) == ["out"]


def test_export_file_has_usual_permissions_when_new_and_keeps_them_when_replaced(run: Run, folder: Path) -> None:
    usual = folder / "usual"
    usual.touch()
    run("events", "csv", folder / "new")
    assert stat.S_IMODE((folder / "new").stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
    usual.chmod(0o600)
    run("events", "csv", usual)
    assert stat.S_IMODE(usual.stat().st_mode) == 0o600


def test_export_keeps_old_file_when_interrupted(run: Run, folder: Path) -> None:
    old = folder / "feedback.csv"
    old.write_text("as it was")
    with pytest.raises(KeyboardInterrupt):
        run("feedback", "csv", old, interrupt)
    assert old.read_text() == "as it was"
    assert names(folder) == ["feedback.csv"]


def test_export_leaves_no_new_file_when_interrupted(run: Run, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run("feedback", "csv", folder / "feedback.csv", interrupt)
    assert names(folder) == []


def test_export_replaces_file_behind_link_and_keeps_link(run: Run, folder: Path, export: Export) -> None:
    (folder / "elsewhere").mkdir()
    target, link = folder / "elsewhere" / "feedback.csv", folder / "latest.csv"
    target.write_text("as it was")
    link.symlink_to(target)
    run("feedback", "csv", link)
    assert link.is_symlink()
    assert target.read_bytes() == export("feedback")


def test_export_writes_into_device(run: Run) -> None:
    run("events", "csv", Path(os.devnull))
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("nowhere/events.csv", r"^The folder .*/nowhere does not exist; make it first\.$"),
        (".", r"^.* is a folder; name a file in it\.$"),
        ("x" * 300, r"^x+ cannot be written: File name too long\.$"),
        ("/dev/full", r"^/dev/full cannot be written: No space left on device\.$"),
    ],
)
def test_export_to_unwritable_file_is_refused_in_one_sentence(
    output: str, sentence: str, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SettingsError, match=sentence):
        run("events", "csv", Path(output))
    assert names(folder) == []


@pytest.mark.parametrize("filters", [Filters(model="smal"), Filters(annotator="nobody")])
def test_export_with_unknown_model_or_annotator_leaves_no_file(
    filters: Filters, database_url: str, folder: Path
) -> None:
    with pytest.raises(NotFound, match=r"^There is no .* in the database\.$"):
        to_file.run(database_url, "feedback", "csv", folder / "out.csv", filters)
    assert names(folder) == []


def test_export_creates_no_missing_database(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"^There is no database at .*/typo\.db; name an existing one\.$"):
        to_file.run(f"sqlite:///{folder}/typo.db", "events", "csv", None, Filters())
    assert names(folder) == []


@pytest.mark.process
def test_export_command_writes_same_bytes_to_stdout(database_url: str, export: Export) -> None:
    for kind, format in (("feedback", "csv"), ("messages", "jsonl")):
        running = process(database_url, kind, "--format", format, "--output", "-")
        stdout, stderr = running.communicate()
        assert (running.returncode, stderr) == (0, b"")
        assert stdout == export(kind, format)


@pytest.mark.process
def test_export_command_writes_one_sentence_and_no_stdout_after_mistake(database_url: str) -> None:
    running = process(database_url, "feedback", "--annotator", "nobody")
    stdout, stderr = running.communicate()
    assert (running.returncode, stdout) == (1, b"")
    assert stderr == b"chatfeedback: There is no annotator with the name, id or pseudonym 'nobody' in the database.\n"


@pytest.mark.process
def test_export_command_ends_silently_when_its_reader_is_gone(
    database_url: str, store: EventStore, people: People
) -> None:
    talk = TimedTalk(store, people.ada)
    for _ in range(4):
        talk.ask("Tell me all", "word " * 100_000)  # more than a pipe takes
    running = process(database_url, "messages")
    assert running.stdout is not None and running.stderr is not None
    assert running.stdout.read(16) == b"conversation_id,"
    running.stdout.close()
    assert running.stderr.read() == b""
    assert running.wait() == 128 + 13
    running.stderr.close()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)  # the files of a server are out of reach
def test_export_refuses_to_overwrite_its_database(database_url: str, run: Run) -> None:
    path = Path(database_url.partition("///")[2])
    for name in (path, path.with_name(path.name + "-wal")):
        with pytest.raises(SettingsError, match="is the database itself"):
            run("events", "csv", name)
    assert check(database_url) == []


def test_export_writes_into_pipe_of_shell(database_url: str, run: Run, folder: Path) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        run("feedback", "csv", Path(f"/dev/fd/{writing}"))
        os.close(writing)
        run("feedback", "csv", folder / "f.csv")
        assert pipe.read() == (folder / "f.csv").read_bytes()


def test_export_leaves_no_file_when_terminated(run: Run, folder: Path) -> None:
    def ask(done: int, total: int) -> None:
        if done == total:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as ended, exit_on_signals():
        run("events", "csv", folder / "f.csv", ask)
    assert ended.value.code == 128 + signal.SIGTERM
    assert names(folder) == []


@pytest.mark.process
def test_export_leaves_old_file_and_part_file_when_killed(
    database_url: str, store: EventStore, people: People, folder: Path, export: Export
) -> None:
    talk = TimedTalk(store, people.ada)
    talk.like(talk.ask("At length, please", "long " * 100_000), people.ada)  # more than one chunk
    target = folder / "feedback.csv"
    target.write_bytes(b"old")
    killed = subprocess.run([sys.executable, "-c", KILLED_EXPORT, database_url, str(target)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    (part,) = (name for name in names(folder) if name != target.name)
    assert re.fullmatch(r"\.feedback\.csv\.[0-9a-f]{8}\.part", part)
    # The next export neither uses nor deletes it: another export may be writing it.
    to_file.run(database_url, "feedback", "csv", target, Filters())
    assert target.read_bytes() == export("feedback")
    assert set(names(folder)) == {target.name, part}


def test_export_leaves_database_file_unchanged(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    url = f"sqlite:///{closed}/old.db"
    migrate.upgrade(url)
    path = closed / "old.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    before = path.read_bytes()
    to_file.run(url, "events", "csv", tmp_path / "events.csv", Filters(), "names")
    assert migrate.current(url).is_head
    assert check(url) == []
    assert path.read_bytes() == before
    assert names(closed) == ["old.db"]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_export_works_in_write_only_folder() -> None:
    # Not in pytest's folder, which is closed to the user that root becomes here.
    with tempfile.TemporaryDirectory(prefix="chatfeedback-write-only-") as top:
        url, folder = f"sqlite:///{top}/old.db", Path(top) / "exports"
        migrate.upgrade(url)
        folder.mkdir()
        Path(top).chmod(0o755)
        Path(top, "old.db").chmod(0o644)
        with write_only(folder):
            to_file.run(url, "events", "csv", folder / "events.csv", Filters(), "names")
        assert names(folder) == ["events.csv"]


def test_export_works_on_file_system_that_flushes_no_folder(
    run: Run, folder: Path, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = os.fsync

    def flush_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        flush(handle)

    monkeypatch.setattr(os, "fsync", flush_files)
    run("events", "csv", folder / "events.csv")
    assert (folder / "events.csv").read_bytes() == export("events")


# Names of annotators


def test_export_has_names_when_requested(database_url: str, folder: Path, engine: Engine, export: Export) -> None:
    to_file.run(database_url, "feedback", "csv", folder / "f.csv", Filters(), "names")
    assert (folder / "f.csv").read_bytes() == export("feedback", naming=pseudonyms.names(engine)) != export("feedback")


def test_export_creates_key_of_pseudonyms_only_once(database_url: str, folder: Path) -> None:
    engine = open_engine(database_url)
    assert secrets.find(engine, pseudonyms.KEY) is None
    to_file.run(database_url, "feedback", "csv", folder / "first.csv", Filters())
    key = secrets.find(engine, pseudonyms.KEY)
    to_file.run(database_url, "feedback", "csv", folder / "second.csv", Filters())
    assert secrets.find(engine, pseudonyms.KEY) == key is not None
    assert (folder / "first.csv").read_bytes() == (folder / "second.csv").read_bytes()
    engine.dispose()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_export_of_read_only_file_requires_key_of_pseudonyms_or_names() -> None:
    # Not in pytest's folder, which is closed to the user that root becomes here.
    folder = Path(tempfile.mkdtemp(prefix="chatfeedback-read-only-"))
    url, output = f"sqlite:///{folder}/old.db", Path(os.devnull)
    try:
        migrate.upgrade(url)
        with read_only(folder):
            to_file.run(url, "events", "csv", output, Filters(), "names")
            with pytest.raises(
                StoreUnavailable,
                match=r"^The database has no key for pseudonyms yet and can only be read; make it writable once, or do",
            ):
                to_file.run(url, "events", "csv", output, Filters())
        to_file.run(url, "events", "csv", output, Filters())
        with read_only(folder):
            to_file.run(url, "events", "csv", output, Filters())
        assert check(url) == []
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_export_of_read_only_server_requires_key_of_pseudonyms_or_names(database_url: str) -> None:
    standby, output = reading_url(database_url), Path(os.devnull)
    to_file.run(standby, "events", "csv", output, Filters(), "names")
    with pytest.raises(StoreUnavailable, match=r"^The database has no key for pseudonyms yet and can only be read"):
        to_file.run(standby, "events", "csv", output, Filters())
    to_file.run(database_url, "events", "csv", output, Filters())
    to_file.run(standby, "events", "csv", output, Filters())

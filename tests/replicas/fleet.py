"""Two replicas, each a process of its own, one Postgres, and a real nginx in front.

with Fleet(nginx, folder, database_url, models=[…]) as fleet:
    ada = fleet.person()
    fleet.replica_of(ada).kill()
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from uuid import uuid4

import httpx
from sqlalchemy import Engine, text

from browser.page_probe import told
from chatfeedback.store.accounts import users
from chatfeedback.store.accounts.sessions import Sessions
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.opening import open_event_store
from gradio_pages import Site
from ports import free_port
from replicas.proxy import Nginx

T = TypeVar("T")
COOKIE = "__Host-chatfeedback_session"
PATIENCE = 300.0
"""Seconds that a test waits for what must come; on a busy machine a start takes a good part of them."""


def eventually(look: Callable[[], T], condition: Callable[[T], object]) -> T:
    """Return the result of `look` as soon as it meets `condition`.

    Raises:
        AssertionError: When the patience is over.
    """
    until = time.monotonic() + PATIENCE
    while not condition(result := look()):
        assert time.monotonic() < until, f"this is as far as it came: {result}"
        time.sleep(0.05)
    return result


@dataclass(frozen=True, slots=True)
class Person:
    """User who is signed in."""

    annotator_id: str
    cookies: dict[str, str]


class Replica:
    """Process of `chatfeedback serve` on a port that stays its own, as often as it is started."""

    def __init__(self, folder: Path, port: int, environment: dict[str, str]) -> None:
        self.port = port
        self._folder = folder
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; return at once."""
        command = [sys.executable, "-m", "chatfeedback", "serve", "--no-open", "--migrate", "--port", str(self.port)]
        with (self._folder / f"{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )

    def ready(self) -> None:
        """Wait until it says that it is ready."""
        eventually(self._answers, bool)

    def kill(self) -> None:
        """Kill the process (SIGKILL)."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Suspend the process (SIGSTOP): requests arrive and are not answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> int:
        """Terminate the process as systemd does; return the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=PATIENCE)

    def said(self) -> str:
        """Return what it printed and logged since the first start."""
        return (self._folder / f"{self.port}.log").read_text()

    def _answers(self) -> bool:
        assert self.is_running, f"the replica ended: {self.said()}"
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", trust_env=False).is_success
        except httpx.TransportError:
            return False


class Fleet:
    """Two replicas and nginx, to the end of the block.

    The database, which may be empty, is the caller's. `settings` are those of both replicas.
    """

    def __init__(self, nginx: str, folder: Path, database_url: str, **settings: Any) -> None:
        ports = free_port(), free_port()
        self.front = Nginx(nginx, folder, (free_port(), free_port()), ports)
        self.database_url = database_url
        values = {
            "auth": "password",
            "database_url": database_url,
            "public_url": self.address,
            "trusted_proxies": "127.0.0.1",
            **{name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()},
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CHATFEEDBACK_")}
        environment |= {f"CHATFEEDBACK_{name.upper()}": value for name, value in values.items()}
        self.replicas = [Replica(folder, port, environment) for port in ports]

    def __enter__(self) -> Fleet:
        try:
            for replica in self.replicas:
                replica.start()
            for replica in self.replicas:
                replica.ready()
            self.front.__enter__()
        except BaseException:
            self._end_replicas()
            raise
        self.engine: Engine = open_engine(self.database_url)
        self.store = open_event_store(self.engine)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.store.writer.close()
        self.engine.dispose()
        self.front.__exit__(kind, error, trace)
        self._end_replicas()

    def heal(self) -> None:
        """Start the replicas that do not run, and wait until nginx knows."""
        for replica in self.replicas:
            if not replica.is_running:
                replica.start()
        for replica in self.replicas:
            replica.ready()
            eventually(lambda: self.replica_of(self.person()), lambda current, target=replica: current is target)

    def _end_replicas(self) -> None:
        for replica in self.replicas:
            replica.kill()

    @property
    def address(self) -> str:
        """Address for browsers."""
        return self.front.address

    # People

    def person(self) -> Person:
        """Create a new annotator, signed in."""
        user = users.add(self.engine, f"annotator {uuid4()}", "annotator", actor_id=None)
        sessions = Sessions(self.engine, lifetime=timedelta(days=1), idle=timedelta(days=1))
        return Person(user.annotator_id, {COOKIE: sessions.begin(user.annotator_id, "password")})

    def client(self, person: Person | None = None, **options: Any) -> httpx.Client:
        """Return a client for requests through nginx."""
        cookies = person.cookies if person else None
        return httpx.Client(
            base_url=self.address, verify=self.front.trust, cookies=cookies, trust_env=False, timeout=30, **options
        )

    def site(self, person: Person) -> Site:
        """Return the pages of a user, through nginx."""
        return Site(self.address, person.cookies, verify=self.front.trust)

    def replica_of(self, person: Person) -> Replica:
        """Return the replica that nginx takes the requests of this user to."""
        address = f"/pages/{uuid4()}"
        with self.client(person) as client:
            assert client.get(address).status_code == 404
        port = self.front.served(address).upstreams[-1]
        return next(replica for replica in self.replicas if replica.port == port)

    def people_at_each(self, least: int) -> list[list[Person]]:
        """Create users, at least so many at each of the two replicas; nginx assigns them by their random tokens."""
        at: dict[int, list[Person]] = {replica.port: [] for replica in self.replicas}

        def one_more() -> int:
            person = self.person()
            at[self.replica_of(person).port].append(person)
            return min(map(len, at.values()))

        eventually(one_more, lambda fewest: fewest >= least)
        return [people[:least] for people in at.values()]

    # The database

    def events(self, conversation_id: str) -> list[str]:
        """Return the log of a conversation, a line for each event."""
        return told(self.store.events_of(conversation_id))

    def conversations_of(self, person: Person) -> list[str]:
        """Return all conversations of this user, oldest first."""
        query = "SELECT conversation_id FROM conversations WHERE annotator_id = :who ORDER BY started_at"
        with self.engine.connect() as connection:
            return list(connection.execute(text(query), {"who": person.annotator_id}).scalars())

    def drafts(self) -> dict[str, tuple[str, str]]:
        """Return the running replies: the text so far and the owner, by conversation."""
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT conversation_id, text, owner FROM reply_drafts"))
            return {conversation_id: (so_far, owner) for conversation_id, so_far, owner in rows}

"""The application in a thread of the test: uvicorn on 127.0.0.1 and a free port, a real database and log."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Page
from sqlalchemy import Engine, text

from browser.page_probe import told
from chatfeedback.config.settings import Settings
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.events import Event
from chatfeedback.server.app import build_app
from chatfeedback.server.run import new_server
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log.event_store import EventStore
from chatfeedback.store.log.writer import Work, Writer
from chatfeedback.store.opening import open_event_store
from export.recording import TimedTalk
from openai_server import ScriptedServer
from ports import HOST, free_port

T = TypeVar("T")
_idle_ports: list[int] = []
"""Ports of ended applications, for reuse: browsers cache Gradio's scripts by address."""
LAN_NAME = "chat.test"
"""Host name of this machine for the browser. Over plain http it is no secure context, unlike a loopback address."""
PATIENCE = 20.0
"""Timeout of a test in seconds; the usual wait is a fraction of it."""


def eventually(look: Callable[[], T], condition: Callable[[T], object], page: Page | None = None) -> T:
    """Look until the result meets `condition`, or the time is over; return the last result.

    With a `page` its events are handled meanwhile, which Playwright does only while it waits for something.
    """
    until = time.monotonic() + PATIENCE
    while not condition(result := look()) and time.monotonic() < until:
        if page is None:
            time.sleep(0.05)
        else:
            page.wait_for_timeout(50)
    return result


def endpoint(server: ScriptedServer, name: str = "parrot", **more: Any) -> dict[str, Any]:
    """Return the settings of the scripted model. One attempt per call, so that a fault scripted once has an effect."""
    patience = {"first_token_seconds": 30, "timeout_seconds": 30, "attempts": 1}
    return {"model": name, "base_url": server.url, **patience, **more}


class Application:
    """One server and its database, which has its schema already. `settings`: those of chatfeedback.

    `at_home`: set public_url to the address of the server. `host`: the host of that address.
    """

    shutdown_seconds = 0.0
    """Grace period for running replies at shutdown."""

    def __init__(self, database_url: str, *, at_home: bool = False, host: str = HOST, **settings: Any) -> None:
        self._listening = _listen(_idle_ports.pop() if _idle_ports else free_port())
        self._host = host
        self.port: int = self._listening.getsockname()[1]
        public = {"public_url": self.address} if at_home else {}
        self.settings = Settings(database_url=database_url, **public, **settings)
        self._engine: Engine = open_engine(database_url)
        self._store = open_event_store(self._engine)
        self.app: FastAPI | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        return f"http://{self._host}:{self.port}/"

    @contextmanager
    def running(self) -> Iterator[Application]:
        """Serve until the end of the block."""
        self.start()
        try:
            yield self
        finally:
            self.close()

    def close(self) -> None:
        """Stop the server and dispose of the database engine."""
        self.stop()
        self._store.close()
        self._engine.dispose()
        _idle_ports.append(self.port)

    def start(self) -> None:
        """Start the server; return when it answers."""
        if self._listening.fileno() == -1:
            self._listening = _listen(self.port)
        self.app = build_app(self.settings)
        self._server = server = new_server(self.app, self.shutdown_seconds, grace_seconds=1)
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [self._listening]}, name="application")
        self._thread.start()
        eventually(lambda: server.started or not self._thread.is_alive(), bool)
        assert server.started, "the application did not start"

    def stop(self) -> None:
        """Stop the server as Ctrl+C does; its port stays reserved for another `start`."""
        assert self._server is not None and self._thread is not None
        self._server.should_exit = True
        self._thread.join(timeout=PATIENCE)
        assert not self._thread.is_alive(), "the application did not end"
        self._listening.close()

    # Content of the database

    @property
    def store(self) -> EventStore:
        """Open a separate store on the same database."""
        return self._store

    @property
    def annotator_id(self) -> str:
        """Return the id of the annotator at the browser."""
        with self._engine.connect() as connection:
            name = {"name": self.settings.annotator}
            return str(
                connection.execute(text("SELECT annotator_id FROM annotators WHERE name = :name"), name).scalar()
            )

    @property
    def engine(self) -> Engine:
        """Open a separate engine on the same database."""
        return self._engine

    def store_talk(self, *prompts: str, annotator_id: str | None = None, conversation_id: str | None = None) -> str:
        """Store a conversation of these prompts, each with the reply of the scripted model; return its id.

        It belongs to the annotator at the browser by default. If a conversation is given, it is continued.
        """
        a_while_ago = datetime.now(UTC) - timedelta(minutes=3 * len(prompts))
        talk = TimedTalk(self._store, annotator_id or self.annotator_id, "parrot", a_while_ago)
        talk.conversation_id = conversation_id or talk.conversation_id
        for prompt in prompts:
            talk.ask(prompt, f"You said: {prompt}")
        return talk.conversation_id

    def events(self, conversation_id: str) -> list[Event]:
        return self._store.events_of(conversation_id)

    def conversation(self, conversation_id: str) -> Conversation:
        conversation = self._store.conversation(conversation_id)
        assert conversation is not None, f"there is no conversation {conversation_id}"
        return conversation

    def conversation_ids(self) -> list[str]:
        """Return all conversation ids, oldest first."""
        with self._engine.connect() as connection:
            return list(
                connection.execute(text("SELECT conversation_id FROM conversations ORDER BY started_at")).scalars()
            )

    def assert_log(self, page: Page, conversation_id: str, expected: Sequence[str], *, in_order: bool = True) -> None:
        """Check the events of a conversation, one line each, as soon as there are as many."""
        stored = eventually(
            lambda: told(self.events(conversation_id)),
            lambda lines: len(lines) >= len(expected),
            page,
        )
        if not in_order:
            stored, expected = sorted(stored), sorted(expected)
        assert stored == list(expected)


class SlowWriter:
    """Writer on a slow disk: each commit takes half a second longer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.close = writer.close

    def submit(self, work: Work[Any]) -> Future[Any]:
        def slowly(transaction: Any) -> Any:
            time.sleep(0.5)
            return work(transaction)

        return self._writer.submit(slowly)


class HeldCommits:
    """Writers that commit nothing while they are held."""

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the writer until the end of the block."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def around(self, writer: Writer) -> Writer:
        """Wrap a writer so that it can be held."""
        submit = writer.submit

        def wait_and_submit(work: Work[Any]) -> Future[Any]:
            def when_free(transaction: Any) -> Any:
                self._free.wait()
                return work(transaction)

            return submit(when_free)

        writer.submit = wait_and_submit  # type: ignore[method-assign]
        return writer


def _listen(port: int) -> socket.socket:
    # asyncio disables Nagle's algorithm (TCP_NODELAY) only if the protocol is given.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((HOST, port))
    listening.listen(128)
    return listening

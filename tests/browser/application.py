"""The real application in a thread of the test: uvicorn on 127.0.0.1 and a free port, a real database, a real log."""

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
"""Of applications that have ended. Taken again, because browsers cache Gradio's scripts by address."""
PATIENCE = 20.0
"""Seconds that a test waits for what must come; it comes in a fraction of that."""


def eventually(look: Callable[[], T], wanted: Callable[[T], object], pause: Callable[[float], object]) -> T:
    """What `look` gives as soon as it is `wanted`, or whatever it gives when the patience is over."""
    until = time.monotonic() + PATIENCE
    while not wanted(seen := look()) and time.monotonic() < until:
        pause(0.05)
    return seen


def endpoint(server: ScriptedServer, name: str = "parrot", **more: Any) -> dict[str, Any]:
    """The settings of a model that `server` plays; asked once, so that a fault that is scripted once is one."""
    patience = {"first_token_seconds": 30, "timeout_seconds": 30, "attempts": 1}
    return {"model": name, "base_url": server.url, **patience, **more}


class Application:
    """One server and its database. `settings` are those of chatfeedback; the database has its schema already.

    `at_home`: its public_url is the address that it is at.
    """

    shutdown_seconds = 0.0
    """For which replies may still be written when it is stopped."""

    def __init__(self, database_url: str, *, at_home: bool = False, **settings: Any) -> None:
        self._listening = _listen(_idle_ports.pop() if _idle_ports else free_port())
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
        return f"http://127.0.0.1:{self.port}/"

    @contextmanager
    def running(self) -> Iterator[Application]:
        """Serves to the end of the block."""
        self.start()
        try:
            yield self
        finally:
            self.close()

    def close(self) -> None:
        """Ends it, and lets go of its database."""
        self.stop()
        self._store.close()
        self._engine.dispose()
        _idle_ports.append(self.port)

    def start(self) -> None:
        """Returns when it answers."""
        if self._listening.fileno() == -1:
            self._listening = _listen(self.port)
        self.app = build_app(self.settings)
        self._server = server = new_server(self.app, self.shutdown_seconds, grace_seconds=1)
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [self._listening]}, name="application")
        self._thread.start()
        eventually(lambda: server.started or not self._thread.is_alive(), bool, time.sleep)
        assert server.started, "the application did not start"

    def stop(self) -> None:
        """Ends it as Ctrl+C does; its port stays free for another `start`."""
        assert self._server is not None and self._thread is not None
        self._server.should_exit = True
        self._thread.join(timeout=PATIENCE)
        assert not self._thread.is_alive(), "the application did not end"
        self._listening.close()

    # What is in the database

    @property
    def store(self) -> EventStore:
        """A store of the test's own on the same database."""
        return self._store

    @property
    def annotator_id(self) -> str:
        """Whoever sits at the browser."""
        with self._engine.connect() as connection:
            name = {"name": self.settings.annotator}
            return str(
                connection.execute(text("SELECT annotator_id FROM annotators WHERE name = :name"), name).scalar()
            )

    @property
    def engine(self) -> Engine:
        """An engine of the test's own on the same database."""
        return self._engine

    def store_talk(self, *prompts: str, annotator_id: str | None = None, conversation_id: str | None = None) -> str:
        """Store a conversation of these prompts, each with the reply that the model would give; return its id.

        It is that of the annotator at the browser if no other is named. A conversation that is named goes on.
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
        found = self._store.conversation(conversation_id)
        assert found is not None, f"there is no conversation {conversation_id}"
        return found

    def conversation_ids(self) -> list[str]:
        """All of them, oldest first."""
        with self._engine.connect() as connection:
            return list(
                connection.execute(text("SELECT conversation_id FROM conversations ORDER BY started_at")).scalars()
            )

    def assert_log(self, page: Page, conversation_id: str, expected: Sequence[str], *, in_order: bool = True) -> None:
        """The events of a conversation, told line by line, are these as soon as they are as many."""
        seen = eventually(
            lambda: told(self.events(conversation_id)),
            lambda lines: len(lines) >= len(expected),
            lambda seconds: page.wait_for_timeout(seconds * 1000),
        )
        if not in_order:
            seen, expected = sorted(seen), sorted(expected)
        assert seen == list(expected)


class SlowWriter:
    """A writer on a slow disk: each commit takes half a second longer."""

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
        """To the end of the block."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def around(self, writer: Writer) -> Writer:
        """The writer, to be held."""
        submit = writer.submit

        def wait_and_submit(work: Work[Any]) -> Future[Any]:
            def when_free(transaction: Any) -> Any:
                self._free.wait()
                return work(transaction)

            return submit(when_free)

        writer.submit = wait_and_submit  # type: ignore[method-assign]
        return writer


def _listen(port: int) -> socket.socket:
    # asyncio sends small answers at once only where the protocol is named.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((HOST, port))
    listening.listen(128)
    return listening

"""A real Chromium on the real application, with a scripted server as the model."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from chatfeedback.store.writer import open_writer
from chatfeedback.web import server
from openai_server import ScriptedServer

pytest.register_assert_rewrite("browser.application", "browser.chat_page", "browser.traps")

from browser.application import Application, HeldCommits, SlowWriter, endpoint  # noqa: E402 - after what lets their assertions explain
from browser.chat_page import ChatPage  # noqa: E402
from browser.watched import Watched  # noqa: E402

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

expect.set_options(timeout=15_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gradio 6.31 calls pandas in ways that pandas 3 deprecates, in a thread of the application."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"))


@pytest.fixture(scope="session")
def browser(chromium_executable: str | None) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_executable, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedServer]:
    """What answers the prompts of this module."""
    with ScriptedServer() as server:
        server.default = lambda request, number: f"You said: {request['messages'][-1]['content']}"
        yield server


@pytest.fixture(scope="module")
def new_database(_migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Makes SQLite databases that have the schema."""

    def make() -> str:
        path = tmp_path_factory.mktemp("database") / "chatfeedback.db"
        with closing(sqlite3.connect(_migrated_sqlite)) as migrated, closing(sqlite3.connect(path)) as copy:
            migrated.backup(copy)
        return f"sqlite:///{path}"

    return make


@pytest.fixture(scope="module")
def application(new_database: Callable[[], str], model: ScriptedServer) -> Iterator[Application]:
    """One for the whole module: each test has conversations of its own."""
    with Application(new_database(), models=[endpoint(model)]).running() as application:
        yield application


@pytest.fixture
def serve(new_database: Callable[[], str]) -> Iterator[Callable[..., Application]]:
    """Starts an application of the test's own: its settings, and a database if not a new one is wanted."""
    with ExitStack() as running:

        def start(database_url: str | None = None, **settings: Any) -> Application:
            return running.enter_context(Application(database_url or new_database(), **settings).running())

        yield start


# After `serve`, so that the pages are closed before an application ends.
@pytest.fixture
def watched(browser: Browser, serve: Callable[..., Application]) -> Iterator[Watched]:
    """Makes contexts; an error on one of their pages fails the test."""
    with closing(Watched(browser)) as watched:
        yield watched
    assert watched.errors == []


@pytest.fixture
def context(watched: Watched) -> BrowserContext:
    return watched.context()


@pytest.fixture
def chat(context: BrowserContext, application: Application) -> ChatPage:
    """A tab with a new conversation."""
    return ChatPage(context.new_page(), application.address).open()


@pytest.fixture
def slow_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "open_writer", lambda engine: SlowWriter(open_writer(engine)))


@pytest.fixture
def held_commits(monkeypatch: pytest.MonkeyPatch) -> HeldCommits:
    commits = HeldCommits()
    monkeypatch.setattr(server, "open_writer", lambda engine: commits.around(open_writer(engine)))
    return commits


@pytest.fixture(autouse=True)
def _no_traceback(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """The server reports what its handlers let through on its standard error."""
    yield
    assert "Traceback" not in capfd.readouterr().err

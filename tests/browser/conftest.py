"""Fixtures: a real Chromium on the real application, with a scripted server as the model."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from chatfeedback.auth import passwords
from chatfeedback.store import opening
from chatfeedback.store.log.writer import open_writer
from openai_server import ScriptedServer

pytest.register_assert_rewrite("browser.application", "browser.chat_page", "browser.xss_traps")

from browser.application import LAN_NAME, Application, HeldCommits, SlowWriter, endpoint  # noqa: E402 - after what lets their assertions explain
from browser.browser_context import Contexts, Watched  # noqa: E402
from browser.chat_page import ChatPage  # noqa: E402
from browser.looks import SIZES  # noqa: E402
from browser.users import PASSWORD, Visitor, add_user  # noqa: E402
from log_assertions import faults  # noqa: E402
from ports import HOST  # noqa: E402

FOLDER = os.environ.get("CHATFEEDBACK_SCREENSHOTS")  # read at import: the tests run without such variables
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {LAN_NAME} {HOST}",
)

NOT_LET_IN = "Failed to load resource: the server responded with a status of 40"
"""Console messages about a response 401 or 403, which is expected."""

expect.set_options(timeout=15_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore warnings: Gradio 6.31 makes deprecated calls of pandas in a thread of the application."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the open pages show to the report of a failed test."""
    report = yield
    watched = getattr(item, "funcargs", {}).get("watched")
    if call.when == "call" and report.failed and watched is not None:
        report.sections += watched.content()
    return report


@pytest.fixture(scope="session")
def browser(chromium_executable: str | None) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_executable, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def contexts(browser: Browser) -> Iterator[Contexts]:
    with closing(Contexts(browser)) as contexts:
        yield contexts


@pytest.fixture(scope="module")
def application(new_sqlite: Callable[[], str], model: ScriptedServer) -> Iterator[Application]:
    """Return the application of the module: each test has its own conversations."""
    with Application(new_sqlite(), models=[endpoint(model)]).running() as application:
        yield application


@pytest.fixture(scope="module")
def guarded(new_sqlite: Callable[[], str], model: ScriptedServer) -> Iterator[Application]:
    """Return an application for the module with sign-in by password."""
    with Application(new_sqlite(), auth="password", models=[endpoint(model)]).running() as application:
        yield application


@pytest.fixture
def serve(new_sqlite: Callable[[], str]) -> Iterator[Callable[..., Application]]:
    """Return a function that starts an application for one test; its database is new by default."""
    with ExitStack() as running:

        def start(database_url: str | None = None, **settings: Any) -> Application:
            return running.enter_context(Application(database_url or new_sqlite(), **settings).running())

        yield start


@pytest.fixture(scope="session")
def password_hash() -> str:
    """Return the hash of the password of all users; hashed once, because hashing is slow on purpose."""
    return passwords.hash_password(PASSWORD, "nobody")


# After `serve`, so that the pages are closed before an application ends.
@pytest.fixture
def watched(contexts: Contexts, serve: Callable[..., Application]) -> Iterator[Watched]:
    """Return a factory of contexts; an error on one of their pages fails the test."""
    with closing(Watched(contexts)) as watched:
        yield watched
    assert not watched.errors, "\n".join(watched.errors)


@pytest.fixture
def context(watched: Watched) -> BrowserContext:
    return watched.context()


@pytest.fixture
def visits(watched: Watched, request: pytest.FixtureRequest, password_hash: str) -> Callable[..., Visitor]:
    """Return a function that creates a user by role, not signed in, in a context with options."""
    watched.harmless.append(NOT_LET_IN)

    def visits(role: str, application: Application | None = None, name: str | None = None, **options: Any) -> Visitor:
        there = application or request.getfixturevalue("guarded")
        return Visitor(there, add_user(there, role, password_hash, name), watched.context(**options))

    return visits


@pytest.fixture
def chat(context: BrowserContext, application: Application, request: pytest.FixtureRequest) -> ChatPage:
    """Return a tab with a new conversation, or one with the prompts of the mark `talked`."""
    talked = request.node.get_closest_marker("talked")
    chat = ChatPage(context.new_page(), application.address)
    if talked is None:
        return chat.open()
    chat.open(application.store_talk(*talked.args)).wait_until_settled()  # else the sidebar would still move the layout
    return chat


@pytest.fixture
def slow_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "open_writer", lambda engine: SlowWriter(open_writer(engine)))


@pytest.fixture(params=list(SIZES))
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder for screenshots, with a subfolder per size and scheme, like `phone-dark`."""
    return Path(FOLDER) if FOLDER else tmp_path


@pytest.fixture
def held_commits(monkeypatch: pytest.MonkeyPatch) -> HeldCommits:
    commits = HeldCommits()
    monkeypatch.setattr(opening, "open_writer", lambda engine: commits.around(open_writer(engine)))
    return commits


@pytest.fixture(autouse=True)
def _no_traceback(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail for an unexpected error in a handler, which the server logs or Gradio prints on standard error."""
    yield
    assert "Traceback" not in capfd.readouterr().err
    assert faults(caplog) == []

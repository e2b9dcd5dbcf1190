"""Fixtures of all tests: databases, real ones, and a clean environment.

Every test that asks for `database_url` runs twice, on a SQLite file and on Postgres, each time with a new
database whose schema was made by the migrations.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import Engine
from xdist.scheduler import LoadFileScheduling

import chromium
import clusters
import process_guard
from chatfeedback.store.database import migrate
from chatfeedback.store.database.engine import open_engine
from clusters import Cluster
from openai_server import ScriptedServer

# The time of an example depends on the machine.
hypothesis.settings.register_profile("chatfeedback", deadline=None)
hypothesis.settings.load_profile("chatfeedback")

# Gradio would report to its makers.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


# Used by tests of two folders: whichever is collected first, their assertions explain themselves.
pytest.register_assert_rewrite("replicas.fleet", "replicas.proxy")

BROWSER = Path(__file__).parent / "browser"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests: quick files, those that start programs, the browser.

    The browser comes last because no other test can have an event loop while Playwright runs.
    """
    items[:] = [item for item in items if not (item.get_closest_marker("sqlite") and _database_kind(item) != "sqlite")]
    slow_files = {item.path for item in items if item.get_closest_marker("process")}
    for item in items:
        if BROWSER in item.path.parents:
            item.add_marker(pytest.mark.browser)
        if _names_postgres(item):
            item.add_marker(pytest.mark.postgres)
    items.sort(key=lambda item: (BROWSER in item.path.parents, item.path in slow_files))


def _names_postgres(item: pytest.Item) -> bool:
    chosen = getattr(item, "callspec", None)
    fixtures = getattr(item, "fixturenames", ())
    kinds = map(str, chosen.params.values()) if chosen else ()
    return any("postgres" in name for name in fixtures) or any(kind in clusters.SERVERS for kind in kinds)


def _database_kind(item: pytest.Item) -> object:
    return getattr(item, "callspec", None) and item.callspec.params.get("database_kind", "sqlite")  # type: ignore[attr-defined]


class InOrder(LoadFileScheduling):
    """Scheduler that gives whole files to the workers of pytest-xdist, in the order of the collection.

    So a worker that has begun with the browser gets nothing else any more.
    """


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> InOrder:
    config.option.loadscopereorder = False  # else the files with the most tests come first
    return InOrder(config, log)


@pytest.fixture(autouse=True)
def _no_program_without_mark(request: pytest.FixtureRequest) -> Iterator[None]:
    with process_guard.started() as programs:
        yield
    if request.node.get_closest_marker("process") is None and request.node.get_closest_marker("browser") is None:
        assert programs == [], "a test that starts a program is marked: @pytest.mark.process"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("CHATFEEDBACK_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_log_of_an_earlier_test() -> Iterator[None]:
    """Restore the log: `serve` in the process of the tests sets it up with a standard error that is soon closed."""
    logger = logging.getLogger("chatfeedback")
    levels, handlers = (logging.root.level, logger.level), list(logging.root.handlers)
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(levels[0])
    logger.setLevel(levels[1])


@pytest.fixture(scope="session")
def _postgres_is_wanted(request: pytest.FixtureRequest) -> None:
    left_out = "not postgres" in request.config.option.markexpr
    assert not left_out, "a test on Postgres that no fixture or parameter of it names is marked: @pytest.mark.postgres"


@pytest.fixture(scope="session")
def postgres_server(_postgres_is_wanted: None) -> Iterator[Cluster]:
    """Return a cluster of this test run, of the newest Postgres."""
    with clusters.running(clusters.newest()) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def older_postgres_server(_postgres_is_wanted: None) -> Iterator[Cluster]:
    """Return a cluster of this test run, of the oldest supported Postgres that is here."""
    with clusters.running(clusters.older()) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _migrated_postgres(postgres_server: Cluster) -> str:
    """Return the name of a database with the schema, which the others are copies of."""
    name = postgres_server.create_database()
    migrate.upgrade(postgres_server.url(name))
    return name


@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "chatfeedback.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def new_sqlite(_migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Return a function that creates SQLite databases with the schema, and returns their addresses."""

    def make() -> str:
        path = tmp_path_factory.mktemp("database") / "chatfeedback.db"
        # A copy of the file alone could miss what is still in the write-ahead log.
        with closing(sqlite3.connect(_migrated_sqlite)) as migrated, closing(sqlite3.connect(path)) as copy:
            migrated.backup(copy)
        path.chmod(0o600)
        return f"sqlite:///{path}"

    return make


@pytest.fixture(params=["sqlite", "postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_database_url(database_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return a new database without any table; each test runs once for each kind of database."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path}/chatfeedback.db"
        return
    server: Cluster = request.getfixturevalue(clusters.SERVERS[database_kind])
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def database_url(database_kind: str, new_sqlite: Callable[[], str], request: pytest.FixtureRequest) -> Iterator[str]:
    """Return a new database with the schema of the migrations; each test runs once for each kind of database."""
    if database_kind == "sqlite":
        yield new_sqlite()
        return
    server: Cluster = request.getfixturevalue("postgres_server")
    name = server.create_database(template=request.getfixturevalue("_migrated_postgres"))
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Return an engine on a new database."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedServer]:
    """Return a scripted model for a module."""
    with ScriptedServer() as server:
        server.default = lambda request, number: f"You said: {request['messages'][-1]['content']}"
        yield server


@pytest.fixture(scope="session")
def chromium_executable() -> str | None:
    """Return the Chromium for `executable_path` of Playwright; None stands for Playwright's own."""
    return chromium.executable()

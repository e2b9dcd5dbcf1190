"""One running application with people for a whole module, on each of the two databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from browser.application import Application, endpoint
from openai_server import ScriptedServer
from people import Somebody, house
from web.visiting import MOST, settle


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gradio 6.31 calls pandas in ways that pandas 3 deprecates, in a thread of the application."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"))


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedServer]:
    """What answers the prompts of this module."""
    with ScriptedServer() as server:
        server.default = lambda request, number: f"You said: {request['messages'][-1]['content']}"
        yield server


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def inhabited(
    request: pytest.FixtureRequest, model: ScriptedServer, new_sqlite: Callable[[], str]
) -> Iterator[tuple[Application, dict[str, Somebody]]]:
    """The application and its people (`people.ROLES`, and nobody)."""
    if request.param == "sqlite":
        with house(new_sqlite(), models=[endpoint(model)]) as found:
            yield found
        return
    server = request.getfixturevalue("postgres_server")
    name = server.create_database(template=request.getfixturevalue("_migrated_postgres"))
    with house(server.url(name), models=[endpoint(model)]) as found:
        yield found
    server.drop_database(name)


@pytest.fixture
def application(inhabited: tuple[Application, dict[str, Somebody]]) -> Application:
    return inhabited[0]


@pytest.fixture
def people(inhabited: tuple[Application, dict[str, Somebody]]) -> dict[str, Somebody]:
    return inhabited[1]


@pytest.fixture(scope="module")
def new_sqlite(_migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Makes SQLite databases that have the schema."""

    def make() -> str:
        path = tmp_path_factory.mktemp("house") / "chatfeedback.db"
        with closing(sqlite3.connect(_migrated_sqlite)) as template, closing(sqlite3.connect(path)) as copy:
            template.backup(copy)
        return f"sqlite:///{path}"

    return make


@pytest.fixture(scope="module")
def lived_in(new_sqlite: Callable[[], str]) -> Iterator[tuple[Application, dict[str, Somebody]]]:
    """The same on SQLite only, for what has nothing to do with the database; requests may have MOST bytes.

    Grace has a password besides (`visiting.PASSWORD`).
    """
    with house(new_sqlite(), max_request_bytes=MOST) as found:
        settle(found[0], "grace")
        yield found


@pytest.fixture
def no_fault(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """The server writes about what it did not expect."""
    yield
    assert "Traceback" not in capfd.readouterr().err

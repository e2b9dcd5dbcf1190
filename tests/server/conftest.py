"""One running application with people for a whole module, on each of the two databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from browser.application import Application, endpoint
from cheap_hashes import cheap_hashes
from log_assertions import faults
from openai_server import ScriptedServer
from server.http_client import MOST, Visitor, settle
from users import Somebody, house


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore warnings: Gradio 6.31 makes deprecated calls of pandas in a thread of the application."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"))


@pytest.fixture(scope="module", autouse=True)
def _cheap_hashes() -> Iterator[None]:
    """Hash passwords cheaply; `auth/test_passwords.py` and `auth/test_service.py` test their real cost."""
    yield from cheap_hashes()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def inhabited(
    request: pytest.FixtureRequest, model: ScriptedServer, new_sqlite: Callable[[], str]
) -> Iterator[tuple[Application, dict[str, Somebody]]]:
    """Return the application and its people (`users.ROLES`, and nobody).

    Tests whose subject does not depend on the database take `http_client.ON_SQLITE`.
    """
    if request.param == "sqlite":
        with house(new_sqlite(), models=[endpoint(model)]) as started:
            yield started
        return
    server = request.getfixturevalue("postgres_server")
    name = server.create_database(template=request.getfixturevalue("_migrated_postgres"))
    with house(server.url(name), models=[endpoint(model)]) as started:
        yield started
    server.drop_database(name)


@pytest.fixture
def application(inhabited: tuple[Application, dict[str, Somebody]]) -> Application:
    return inhabited[0]


@pytest.fixture
def people(inhabited: tuple[Application, dict[str, Somebody]]) -> dict[str, Somebody]:
    return inhabited[1]


@pytest.fixture(scope="module")
def lived_in(new_sqlite: Callable[[], str]) -> Iterator[tuple[Application, dict[str, Somebody]]]:
    """Return the same on SQLite only, with requests of at most MOST bytes.

    Grace has a password besides (`http_client.PASSWORD`).
    """
    with house(new_sqlite(), max_request_bytes=MOST) as started:
        settle(started[0], "grace")
        yield started


@pytest.fixture(scope="module")
def settled(inhabited: tuple[Application, dict[str, Somebody]]) -> Application:
    """Return the application with Grace and Hedy, who have passwords (`http_client.PASSWORD`)."""
    settle(inhabited[0], "grace")
    settle(inhabited[0], "hedy")
    return inhabited[0]


@pytest.fixture
def with_passwords(settled: Application) -> Application:
    """Return the same without failed attempts to sign in."""
    with settled.engine.begin() as connection:
        connection.execute(text("DELETE FROM sign_in_failures"))
    return settled


@pytest.fixture
def visitor(application: Application) -> Iterator[Visitor]:
    with Visitor(application) as visitor:
        yield visitor


@pytest.fixture
def other(application: Application) -> Iterator[Visitor]:
    with Visitor(application) as visitor:
        yield visitor


@pytest.fixture
def no_fault(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail for a traceback or an unexpected error of the server."""
    yield
    assert "Traceback" not in capfd.readouterr().err
    assert faults(caplog) == []

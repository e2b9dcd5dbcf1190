"""Fixtures of a `Room` on each database, with short intervals for all periodic work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from chatfeedback.generation import checkpoints, manager, recovery, throttle
from chatfeedback.inference.client import Endpoint
from chatfeedback.store.log import writer
from conversation_builder import People
from openai_server import ScriptedServer
from services.service_harness import Room, new_people, open_room


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.02)
    monkeypatch.setattr(throttle, "UPDATE_SECONDS", 0.005)
    monkeypatch.setattr(recovery, "LEASE_GRACE_SECONDS", 0.05)
    monkeypatch.setattr(manager, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(manager, "STORE_RETRY_SECONDS", (0.01,))
    monkeypatch.setattr(writer, "RETRY_DELAYS", (0.0, 0.01))


@pytest.fixture(scope="session")
def shared_postgres_url(request: pytest.FixtureRequest) -> str:
    server = request.getfixturevalue("postgres_server")
    return str(server.url(server.create_database(template=request.getfixturevalue("_migrated_postgres"))))


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest) -> str:
    """A new SQLite file, or the shared Postgres database: a new one takes a second, so only the people are new."""
    fixture = "shared_postgres_url" if database_kind == "postgres" else "database_url"
    return str(request.getfixturevalue(fixture))


@pytest.fixture
def people(database_url: str) -> People:
    return new_people(database_url)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def endpoint(server: ScriptedServer) -> Endpoint:
    return Endpoint("zephyr", base_url=server.url, api_key="sk-not-for-the-log", attempts=1)


@pytest.fixture
async def room(database_url: str, people: People, endpoint: Endpoint) -> AsyncIterator[Room]:
    async with open_room(database_url, people, [endpoint]) as opened:
        yield opened


@pytest.fixture
async def neighbour(room: Room, database_url: str, endpoint: Endpoint) -> AsyncIterator[Room]:
    """Another process on the same database."""
    async with open_room(database_url, room.people, [endpoint]) as opened:
        yield opened

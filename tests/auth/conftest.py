"""Fixtures: an auth service with one user, a real provider, and a scripted one for false answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from auth.auth_fixtures import RIGHT
from auth.scripted_provider import SECRET, ScriptedProvider
from chatfeedback.auth import passwords
from chatfeedback.auth.oidc.client import OidcClient, ProviderSettings
from chatfeedback.auth.service import AuthService
from chatfeedback.store.accounts import users
from chatfeedback.store.accounts.users import User
from cheap_hashes import cheap_hashes
from clock import Clock
from oidc_provider import OidcProvider


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    with OidcProvider(tmp_path_factory.mktemp("provider"), "http://127.0.0.1/back") as running:
        yield running


@pytest.fixture
def scripted() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def client(scripted: ScriptedProvider) -> AsyncIterator[OidcClient]:
    """Return a client of the scripted provider."""
    opened = OidcClient(ProviderSettings(scripted.issuer, "site", SecretStr(SECRET)))
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def cheap() -> Iterator[None]:
    """Hash cheaply to the end of the module."""
    yield from cheap_hashes()


@pytest.fixture(scope="module")
def right_hash(cheap: None) -> str:
    return passwords.hash_password(RIGHT, "ada")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def auth_service(engine: Engine, clock: Clock) -> AuthService:
    return AuthService(engine, clock=clock)


@pytest.fixture
def ada(engine: Engine, right_hash: str) -> User:
    return users.add(engine, "ada", "annotator", actor_id=None, password_hash=right_hash)

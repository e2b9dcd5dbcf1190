"""A real provider for all tests here, and a scripted one for each test that wants untrue answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr

from access.scripted_provider import SECRET, ScriptedProvider
from chatfeedback.access.oidc import OidcClient, ProviderSettings
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
    """A client of the scripted provider."""
    opened = OidcClient(ProviderSettings(scripted.issuer, "site", SecretStr(SECRET)))
    yield opened
    await opened.close()

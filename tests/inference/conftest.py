"""A scripted server, an endpoint at it, and a client of the endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from chatfeedback.inference.client import Endpoint, ModelClient
from openai_server import ScriptedServer

PROXY_VARIABLES = [
    name for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for name in (variable, variable.lower())
]


@pytest.fixture(autouse=True)
def hub_token(monkeypatch: pytest.MonkeyPatch) -> str:
    """Log in to Hugging Face in all tests, without proxies."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_theUsersOwnToken")
    return "hf_theUsersOwnToken"


@pytest.fixture
def dead_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set proxies at addresses where nothing answers."""
    for name in PROXY_VARIABLES[:6]:
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def endpoint(server: ScriptedServer) -> Endpoint:
    return Endpoint("m", base_url=server.url, attempts=1)


@pytest.fixture
async def client(endpoint: Endpoint) -> AsyncIterator[ModelClient]:
    opened = ModelClient(endpoint)
    yield opened
    await opened.aclose()

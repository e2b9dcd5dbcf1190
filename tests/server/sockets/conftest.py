"""One application with people and conversations for all tests that speak to it over a socket."""

from __future__ import annotations

import pytest

from browser.application import Application
from users import Somebody


@pytest.fixture
def application(lived_in: tuple[Application, dict[str, Somebody]]) -> Application:
    return lived_in[0]


@pytest.fixture
def people(lived_in: tuple[Application, dict[str, Somebody]]) -> dict[str, Somebody]:
    return lived_in[1]


@pytest.fixture(autouse=True)
def _no_fault(no_fault: None) -> None:
    """Fail for an unexpected error of the server in any of these tests."""

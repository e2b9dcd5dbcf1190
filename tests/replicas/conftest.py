"""Fixtures for replicas behind nginx."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import nginx as nginx_program


@pytest.fixture(scope="session")
def nginx() -> str:
    """Return the path of nginx."""
    return nginx_program.wanted()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return a folder with a short path, for the files of nginx and the replicas."""
    with tempfile.TemporaryDirectory(prefix="chatfeedback-replicas-") as name:
        yield Path(name)

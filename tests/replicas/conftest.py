"""Replicas and nginx, where there is one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import nginx as nginx_program


@pytest.fixture(scope="session")
def nginx() -> str:
    """The path of nginx."""
    return nginx_program.wanted()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """For the files of nginx and the replicas, with a short path."""
    with tempfile.TemporaryDirectory(prefix="chatfeedback-replicas-") as name:
        yield Path(name)

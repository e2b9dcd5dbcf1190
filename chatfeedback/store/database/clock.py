"""The clock of the store, and the type of a replacement for tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Function that returns the current instant, aware, in UTC."""


def now() -> datetime:
    """Return the current instant, aware, in UTC."""
    return datetime.now(UTC)

"""What time it is: the one clock of the store, and the shape of another one for whoever must tell it what to say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Tells the present instant, aware, UTC."""


def now() -> datetime:
    """The present instant, by the clock of this machine."""
    return datetime.now(UTC)

"""Formatting: numbers, proportions and durations as people read them."""

from __future__ import annotations

NOTHING = "–"
"""Text for a missing value."""


def number(value: int) -> str:
    """Return a number with thousands separators."""
    return f"{value:,}"


def percent(share: float | None) -> str:
    """Return a proportion between 0 and 1 as a percentage."""
    return NOTHING if share is None else f"{share:.1%}"


def seconds(value: float | None) -> str:
    """Return a duration in seconds with its unit."""
    return NOTHING if value is None else f"{value:.2f} s" if value < 10 else f"{value:,.1f} s"


def counted(count: int, singular: str, plural: str) -> str:
    """Return a number with its noun."""
    return f"{number(count)} {singular if count == 1 else plural}"

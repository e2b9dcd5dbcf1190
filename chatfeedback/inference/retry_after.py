"""Retry-After: parse the header, and format the delay for people."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


def parse_retry_after(header: str | None) -> float | None:
    """Parse a Retry-After header, a number of seconds or a date, to seconds from now; None if it is neither."""
    if header is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", header.strip()):
        return float(header)
    try:
        date = parsedate_to_datetime(header)
        return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


def humanize_delay(seconds: float | None) -> str:
    """Format a delay: "in 17 seconds", "in 3 hours"; "in a while" if it is unknown."""
    if seconds is None:
        return "in a while"
    unit, length = next((entry for entry in _UNITS if seconds >= 2 * entry[1]), ("second", 1))
    count = max(1, math.ceil(seconds / length))
    return f"in {count} {unit if count == 1 else f'{unit}s'}"

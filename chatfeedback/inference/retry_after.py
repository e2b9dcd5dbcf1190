"""When an endpoint wants to be asked again: what its header Retry-After says, and how a person is told."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


def parse_retry_after(header: str | None) -> float | None:
    """The seconds from now that the header asks for, as a number or as a date; None where it is neither."""
    if header is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", header.strip()):
        return float(header)
    try:
        date = parsedate_to_datetime(header)
        return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


def humanize_delay(wait: float | None) -> str:
    """When to come back: "in 17 seconds", "in 3 hours"; "in a while" where nobody says."""
    if wait is None:
        return "in a while"
    unit, length = next((each for each in _UNITS if wait >= 2 * each[1]), ("second", 1))
    count = max(1, math.ceil(wait / length))
    return f"in {count} {unit if count == 1 else f'{unit}s'}"

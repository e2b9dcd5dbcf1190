"""JSON from a model server: every failure to parse is a ValueError."""

from __future__ import annotations

import json
from typing import Any

# NaN and Infinity are not JSON, but some servers send them for missing numbers.
_DECODER = json.JSONDecoder(parse_constant=lambda _name: None)


def parse_json(text: str) -> Any:
    """Parse JSON; NaN and infinite numbers become None. Raises ValueError, also for JSON that is nested too deeply."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None

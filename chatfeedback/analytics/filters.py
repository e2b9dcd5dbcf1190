"""What a person narrows figures, tables and exports down to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Filters:
    """None leaves a filter open. `since` is inclusive, `until` exclusive; both aware, UTC."""

    since: datetime | None = None
    until: datetime | None = None
    model: str | None = None
    annotator: str | None = None

"""Filters of figures, tables and exports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from chatfeedback.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filters:
    """Common fields; None leaves one open. `since` is inclusive, `until` exclusive; both are aware, in UTC.

    `study`, `condition` and `external_id` are those of the conversation.
    """

    since: datetime | None = None
    until: datetime | None = None
    model: str | None = None
    study: str | None = None
    condition: str | None = None
    external_id: str | None = None

    def __post_init__(self) -> None:
        """Check that `since` is earlier than `until`. Raises InputError."""
        if self.since and self.until and self.since >= self.until:
            raise InputError("since must be earlier than until.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters(_Filters):
    """Filters of a request. `annotator`: a name, an id or a pseudonym."""

    annotator: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedFilters(_Filters):
    """Filters of a query; `resolve` makes them of `Filters`."""

    annotator_id: str | None = None


def instant(text: str) -> datetime:
    """Parse a date or time in ISO 8601; UTC if it has no offset. Raises InputError."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InputError(f"{text!r} is neither a date (2026-11-20) nor a time (2026-11-20T08:30:00Z).") from None

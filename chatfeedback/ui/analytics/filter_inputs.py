"""Filters from the inputs of the Analytics tab, restricted to the data that the person's role may see."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

from chatfeedback.domain.roles import Permission, Person
from chatfeedback.errors import InputError
from chatfeedback.query.filters import ResolvedFilters

INCOMPLETE = "incomplete"
"""Value of a day of which a part is missing (assets/day.js)."""
YEARS = (2000, 2100)
"""First and last year of a valid day."""


def restrict_to_role(person: Person, filters: ResolvedFilters) -> ResolvedFilters:
    """Return the filters; without the permission to see all data, restricted to the person's own."""
    return filters if person.may(Permission.SEE_ALL) else replace(filters, annotator_id=person.annotator_id)


def parse_filters(since: object, until: object, model: str | None, annotator_id: str | None) -> ResolvedFilters:
    """Return the filters for two days in UTC, both inclusive, a model and an annotator. Raises InputError."""
    first, last = _parse_day(since), _parse_day(until)
    if first and last and first > last:
        raise InputError("The first day must not be after the last one.")
    return ResolvedFilters(
        since=datetime.combine(first, time(), UTC) if first else None,
        until=datetime.combine(last + timedelta(days=1), time(), UTC) if last else None,
        model=model or None,
        annotator_id=annotator_id,
    )


def _parse_day(text: object) -> date | None:
    text = str(text or "").strip()
    if not text:
        return None
    if text == INCOMPLETE:
        raise InputError("A day is incomplete; complete or delete it.")
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text!r} is not a date; write it as in 2026-11-20.") from None
    if not YEARS[0] <= day.year <= YEARS[1]:
        raise InputError(f"Choose a day between {YEARS[0]} and {YEARS[1]}.")
    return day

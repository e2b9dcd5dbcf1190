"""Filters as SQL conditions on the columns of one table."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import BindParameter, ColumnElement, bindparam, literal_column, or_, select

from chatfeedback.analytics.filters import Filters
from chatfeedback.errors import NotFound
from chatfeedback.export.snapshot import Snapshot
from chatfeedback.store.schema import annotators, messages, to_micros

_MODEL: BindParameter[str] = bindparam("of_model")
_ANNOTATOR: BindParameter[str] = bindparam("of_annotator")

_KNOWN_MODEL = select(messages.c.message_id).where(messages.c.model == _MODEL).limit(literal_column("1"))
_KNOWN_ANNOTATOR = (
    select(annotators.c.annotator_id)
    .where(or_(annotators.c.annotator_id == _ANNOTATOR, annotators.c.name == _ANNOTATOR))
    .order_by((annotators.c.annotator_id == _ANNOTATOR).desc())
)


class Conditions(NamedTuple):
    """All of these must hold; `parameters` are the values that they name."""

    clauses: list[ColumnElement[bool]]
    parameters: dict[str, Any]


def resolved(state: Snapshot, filters: Filters) -> Filters:
    """The filters with the annotator by id. Raises NotFound for a model or an annotator that the database lacks."""
    if filters.model is not None and state.one(_KNOWN_MODEL, {"of_model": filters.model}) is None:
        raise NotFound(f"There is no reply by a model named {filters.model!r} in the database.")
    if filters.annotator is None:
        return filters
    row = state.one(_KNOWN_ANNOTATOR, {"of_annotator": filters.annotator})
    if row is None:
        raise NotFound(f"There is no annotator with the name or id {filters.annotator!r} in the database.")
    return Filters(filters.since, filters.until, filters.model, row[0])


def conditions(
    filters: Filters,
    *,
    instant: ColumnElement[int],
    model: ColumnElement[str | None],
    annotator: ColumnElement[str],
) -> Conditions:
    """The filters on these columns of a table; `filters` are resolved."""
    # An index on the instant would be of no use: an export is in another order, and sorting everything that was
    # found takes memory that grows with it. Adding nothing to the column keeps the planner from trying.
    unindexed = instant + literal_column("0")
    wanted: list[tuple[str, Any, ColumnElement[bool]]] = []
    if filters.since is not None:
        wanted.append(("since", to_micros(filters.since), unindexed >= bindparam("since")))
    if filters.until is not None:
        wanted.append(("until", to_micros(filters.until), unindexed < bindparam("until")))
    if filters.model is not None:
        wanted.append(("of_model", filters.model, model == _MODEL))
    if filters.annotator is not None:
        wanted.append(("of_annotator", filters.annotator, annotator == _ANNOTATOR))
    return Conditions([clause for _, _, clause in wanted], {name: value for name, value, _ in wanted})

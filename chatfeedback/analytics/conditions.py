"""Filters as SQL conditions on the columns of a table, and the state of the database that they are asked of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, literal_column, select

from chatfeedback.analytics.filters import Filters
from chatfeedback.errors import NotFound
from chatfeedback.store import naming
from chatfeedback.store.faults import translating
from chatfeedback.store.schema import messages, to_micros


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that only reads, and sees one state of the database throughout. Raises StoreError."""
    with translating(), engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        yield connection


def resolved(engine: Engine, filters: Filters, *, by_name: bool = True) -> Filters:
    """The filters with the annotator, given by name, id or pseudonym, by id.

    Raises NotFound for an annotator or a model that the database lacks. Without `by_name` a name is nobody's: who must
    not learn names could otherwise find out the pseudonym of a name.
    """
    if filters.model is not None:
        with snapshot(engine) as connection:
            known = select(messages.c.message_id).where(messages.c.model == filters.model).limit(1)
            if connection.execute(known).first() is None:
                raise NotFound(f"There is no reply by a model named {filters.model!r} in the database.")
    if filters.annotator is None:
        return filters
    person = naming.find(engine, filters.annotator, by_name=by_name)
    if person is None:
        known_by = "name, id or pseudonym" if by_name else "id or pseudonym"
        raise NotFound(f"There is no annotator with the {known_by} {filters.annotator!r} in the database.")
    return replace(filters, annotator=person.annotator_id)


def conditions(
    filters: Filters,
    *,
    instant: ColumnElement[int],
    model: ColumnElement[Any] | None = None,
    annotator: ColumnElement[str],
) -> list[ColumnElement[bool]]:
    """What must hold of these columns; `filters` are resolved. Without `model`, that filter is left out."""
    wanted: list[ColumnElement[bool]] = []
    if filters.since is not None:
        wanted.append(instant >= to_micros(filters.since))
    if filters.until is not None:
        wanted.append(instant < to_micros(filters.until))
    if filters.model is not None and model is not None:
        wanted.append(model == filters.model)
    if filters.annotator is not None:
        wanted.append(annotator == filters.annotator)
    return wanted


def unindexed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The same value, but no column that a database would choose an index for.

    A figure that one index gives in the order that it needs would otherwise be read from another, whose rows must
    then be sorted: about ten times slower where the filter leaves most of them.
    """
    return column + literal_column("0") if column.type.python_type is int else column.concat(literal_column("''"))

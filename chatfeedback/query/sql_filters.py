"""Filters as SQL conditions on the columns of a table, and the snapshot that queries read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, literal_column, select, text

from chatfeedback.errors import NotFound
from chatfeedback.query.filters import Filters, ResolvedFilters
from chatfeedback.store.accounts import pseudonyms
from chatfeedback.store.database.errors import translating
from chatfeedback.store.schema import REPLY_WITHOUT_TEXT, conversations, messages, ratings, to_micros

EARLIEST = datetime.min.replace(tzinfo=UTC)
"""Lower bound for an open `since`."""
OF_ASSIGNMENT = ("study", "condition", "external_id")
"""Filters that are columns of `conversations`, with the same names."""


@contextmanager
def read_snapshot(engine: Engine) -> Iterator[Connection]:
    """Open a read-only connection that sees one snapshot of the database. Raises StoreError."""
    with translating(), engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        yield connection


def resolve(engine: Engine, filters: Filters, *, by_name: bool = True) -> ResolvedFilters:
    """Resolve the annotator, given by name, id or pseudonym, to an id, and check that the other values exist.

    Args:
        engine: Engine of the database.
        filters: Filters from a request.
        by_name: False: a name finds no annotator. Otherwise a person who must not see names could find the pseudonym
            of a name.

    Raises:
        NotFound: The database has no such annotator, model, study, condition or external id.
    """
    if filters.model is not None:
        with read_snapshot(engine) as connection:
            query = select(messages.c.message_id).where(messages.c.model == filters.model).limit(1)
            if connection.execute(query).first() is None:
                raise NotFound(f"There is no reply by a model named {filters.model!r} in the database.")
    for name, value in assigned(filters).items():
        with read_snapshot(engine) as connection:
            query = select(conversations.c.conversation_id).filter_by(**{name: value}).limit(1)
            if connection.execute(query).first() is None:
                label = name.replace("_", " ")
                raise NotFound(f"There is no conversation with the {label} {value!r} in the database.")
    common = {field.name: getattr(filters, field.name) for field in fields(filters) if field.name != "annotator"}
    if filters.annotator is None:
        return ResolvedFilters(**common)
    annotator = pseudonyms.find(engine, filters.annotator, by_name=by_name)
    if annotator is None:
        known_by = "name, id or pseudonym" if by_name else "id or pseudonym"
        raise NotFound(f"There is no annotator with the {known_by} {filters.annotator!r} in the database.")
    return ResolvedFilters(**common, annotator_id=annotator.annotator_id)


def conditions(
    filters: ResolvedFilters,
    *,
    instant: ColumnElement[int],
    model: ColumnElement[Any] | None = None,
    annotator: ColumnElement[str],
    conversation: ColumnElement[str] | None = None,
) -> list[ColumnElement[bool]]:
    """Return the filters as SQL conditions on these columns.

    ResolvedFilters whose column is not given are left out.
    """
    clauses: list[ColumnElement[bool]] = []
    if filters.since is not None:
        clauses.append(instant >= to_micros(filters.since))
    if filters.until is not None:
        clauses.append(instant < to_micros(filters.until))
    if filters.model is not None and model is not None:
        clauses.append(model == filters.model)
    if filters.annotator_id is not None:
        clauses.append(annotator == filters.annotator_id)
    if conversation is not None and (named := assigned(filters)):
        clauses.append(conversation.in_(select(conversations.c.conversation_id).filter_by(**named)))
    return clauses


def assigned(filters: Filters | ResolvedFilters) -> dict[str, str]:
    """Return the filters on the study assignment of conversations, by column."""
    return {name: getattr(filters, name) for name in OF_ASSIGNMENT if getattr(filters, name) is not None}


def of_replies_without_text(filters: ResolvedFilters, *figures: ColumnElement[Any]) -> Select[Any]:
    """Select figures on the thumbs of model replies without text.

    Such replies are few: the query starts from them and looks up their ratings by key.
    """
    # A bound on the time, so that SQLite uses the partial index of these replies, which is by time.
    in_time = messages.c.created_at >= to_micros(EARLIEST)
    empty = select(messages.c.message_id).where(text(REPLY_WITHOUT_TEXT), in_time).subquery("empty")
    where = conditions(
        filters,
        instant=without_index(ratings.c.updated_at),
        model=without_index(ratings.c.model),
        annotator=without_index(ratings.c.annotator_id),
    )
    joined = empty.join(ratings, ratings.c.message_id == empty.c.message_id)
    return select(*figures).select_from(joined).where(ratings.c.value.is_not(None), *where)


def without_index(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return an expression with the same value for which the database uses no index.

    Otherwise a query may read another index than the one in the required order. Then it has to sort the rows, which is
    about ten times slower if most rows pass the filter.
    """
    return column + literal_column("0") if column.type.python_type is int else column.concat(literal_column("''"))

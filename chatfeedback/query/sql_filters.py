"""Filters as SQL conditions on the columns of a table, and the state of the database that they are asked of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, literal_column, select, text

from chatfeedback.errors import NotFound
from chatfeedback.query.filters import Filters
from chatfeedback.store.accounts import pseudonyms
from chatfeedback.store.database.errors import translating
from chatfeedback.store.schema import REPLY_WITHOUT_TEXT, conversations, messages, ratings, to_micros

EARLIEST = datetime.min.replace(tzinfo=UTC)
OF_ASSIGNMENT = ("study", "condition", "external_id")
"""Filters that are columns of `conversations`, under the same names."""


@contextmanager
def read_snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that only reads, and sees one state of the database throughout. Raises StoreError."""
    with translating(), engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        yield connection


def resolve(engine: Engine, filters: Filters, *, by_name: bool = True) -> Filters:
    """The filters with the annotator, given by name, id or pseudonym, by id.

    Raises NotFound for an annotator, a model, a study, a condition or an external id that the database lacks. Without
    `by_name` a name finds no annotator: a person who must not learn names could find out the pseudonym of a name.
    """
    if filters.model is not None:
        with read_snapshot(engine) as connection:
            known = select(messages.c.message_id).where(messages.c.model == filters.model).limit(1)
            if connection.execute(known).first() is None:
                raise NotFound(f"There is no reply by a model named {filters.model!r} in the database.")
    for name, value in assigned(filters).items():
        with read_snapshot(engine) as connection:
            known = select(conversations.c.conversation_id).filter_by(**{name: value}).limit(1)
            if connection.execute(known).first() is None:
                called = name.replace("_", " ")
                raise NotFound(f"There is no conversation with the {called} {value!r} in the database.")
    if filters.annotator is None:
        return filters
    person = pseudonyms.find(engine, filters.annotator, by_name=by_name)
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
    conversation: ColumnElement[str] | None = None,
) -> list[ColumnElement[bool]]:
    """Return the SQL conditions on these columns; `filters` are resolved.

    Filters on columns that are not given are left out.
    """
    wanted: list[ColumnElement[bool]] = []
    if filters.since is not None:
        wanted.append(instant >= to_micros(filters.since))
    if filters.until is not None:
        wanted.append(instant < to_micros(filters.until))
    if filters.model is not None and model is not None:
        wanted.append(model == filters.model)
    if filters.annotator is not None:
        wanted.append(annotator == filters.annotator)
    if conversation is not None and (named := assigned(filters)):
        wanted.append(conversation.in_(select(conversations.c.conversation_id).filter_by(**named)))
    return wanted


def assigned(filters: Filters) -> dict[str, str]:
    """The filters on the assignment of conversations, by their columns."""
    return {name: getattr(filters, name) for name in OF_ASSIGNMENT if getattr(filters, name) is not None}


def of_replies_without_text(filters: Filters, *figures: ColumnElement[Any]) -> Select[Any]:
    """Select figures on the thumbs of replies by models that have no text; `filters` are resolved.

    There are few such replies, so a database is to begin with them, and to find their ratings by key.
    """
    # Bounded in time, so that SQLite takes the index of these replies, which is by time.
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
    """The same value, but no column that a database would choose an index for.

    A figure that one index gives in the order that it needs would otherwise be read from another, whose rows must
    then be sorted: about ten times slower where the filter leaves most of them.
    """
    return column + literal_column("0") if column.type.python_type is int else column.concat(literal_column("''"))

"""Annotators: the mapping from opaque actor ids to names.

The log holds ids only, because a name may change, and an annotator may ask to be erased. This table alone maps ids to
names. Every function raises StoreUnavailable when the database cannot be used.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, Engine, select
from sqlalchemy.dialects.postgresql import insert

from chatfeedback.domain.types import new_id
from chatfeedback.store.database.clock import now
from chatfeedback.store.database.transactions import read_only, read_write
from chatfeedback.store.schema import annotators, to_micros

_ANNOTATOR = select(annotators.c.annotator_id, annotators.c.name)


class Annotator(NamedTuple):
    """A person who chats with the models, or rates their replies."""

    annotator_id: str
    name: str


def ensure(engine: Engine, name: str) -> str:
    """Return the id of the annotator with this name, created if needed; concurrent calls return the same id."""
    with read_only(engine) as connection:
        if annotator := _find_by_name(connection, name):
            return annotator.annotator_id
    row = {"annotator_id": new_id(), "name": name, "created_at": to_micros(now())}
    with read_write(engine) as connection:
        # The Postgres construct for ON CONFLICT; SQLite accepts the same SQL.
        connection.execute(insert(annotators).on_conflict_do_nothing(index_elements=["name"]), row)
        annotator = _find_by_name(connection, name)
    assert annotator is not None  # noqa: S101 - inserted in this transaction
    return annotator.annotator_id


def find(engine: Engine, name_or_id: str) -> Annotator | None:
    """Return the annotator with this id, else the one with this name; None if there is neither."""
    with read_only(engine) as connection:
        row = connection.execute(_ANNOTATOR.where(annotators.c.annotator_id == name_or_id)).first()
        return Annotator(*row) if row else _find_by_name(connection, name_or_id)


def names(engine: Engine) -> dict[str, str]:
    """Return the names of all annotators by id, oldest id first."""
    with read_only(engine) as connection:
        rows = connection.execute(_ANNOTATOR.order_by(annotators.c.annotator_id))
        return {row.annotator_id: row.name for row in rows}


def _find_by_name(connection: Connection, name: str) -> Annotator | None:
    row = connection.execute(_ANNOTATOR.where(annotators.c.name == name)).first()
    return Annotator(*row) if row else None

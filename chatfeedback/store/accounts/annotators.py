"""Who is behind an actor id.

The log holds opaque ids only: a name may change, and a person may ask to be forgotten. This table is the one place
where a name and an id meet. Every function raises StoreUnavailable when the database cannot be used.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, Engine, select
from sqlalchemy.dialects.postgresql import insert

from chatfeedback.domain.types import new_id
from chatfeedback.store.database.clock import now
from chatfeedback.store.database.transactions import looking, writing
from chatfeedback.store.schema import annotators, to_micros

_ANNOTATOR = select(annotators.c.annotator_id, annotators.c.name)


class Annotator(NamedTuple):
    """A person who talks to the models, or judges what they say."""

    annotator_id: str
    name: str


def ensure(engine: Engine, name: str) -> str:
    """The id of the person of this name, made at first sight; whoever asks at the same moment gets the same."""
    with looking(engine) as connection:
        if found := _named(connection, name):
            return found.annotator_id
    row = {"annotator_id": new_id(), "name": name, "created_at": to_micros(now())}
    with writing(engine) as connection:
        # The Postgres flavour of ON CONFLICT; SQLite speaks the same words.
        connection.execute(insert(annotators).on_conflict_do_nothing(index_elements=["name"]), row)
        made = _named(connection, name)
    assert made is not None  # noqa: S101 - it was made in this transaction
    return made.annotator_id


def find(engine: Engine, name_or_id: str) -> Annotator | None:
    """The person with this id, else the one of this name; None when there is neither."""
    with looking(engine) as connection:
        row = connection.execute(_ANNOTATOR.where(annotators.c.annotator_id == name_or_id)).first()
        return Annotator(*row) if row else _named(connection, name_or_id)


def names(engine: Engine) -> dict[str, str]:
    """The name of everybody by id, oldest id first."""
    with looking(engine) as connection:
        rows = connection.execute(_ANNOTATOR.order_by(annotators.c.annotator_id))
        return {row.annotator_id: row.name for row in rows}


def _named(connection: Connection, name: str) -> Annotator | None:
    row = connection.execute(_ANNOTATOR.where(annotators.c.name == name)).first()
    return Annotator(*row) if row else None

"""Secrets of a database: random keys by name, made when they are first needed, the same for everybody from then on.

They are in the database and not in a setting, so that what is made with them lasts as long as the data does.
"""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, Engine, select
from sqlalchemy.dialects.postgresql import insert

from chatfeedback.errors import StoreUnavailable
from chatfeedback.store.database.clock import now
from chatfeedback.store.database.errors import only_reads
from chatfeedback.store.database.transactions import looking, writing
from chatfeedback.store.schema import keys, to_micros

_BYTES = 32


def find(engine: Engine, name: str) -> bytes | None:
    """The secret of this name, None while there is none. Raises StoreError."""
    with looking(engine) as connection:
        return _stored(connection, name)


def get_or_create(engine: Engine, name: str) -> bytes:
    """The secret of this name, 32 bytes, made at first need; whoever asks at the same moment gets the same.

    Raises StoreUnavailable when it is yet to be made in a database that can only be read, and StoreError.
    """
    try:
        return find(engine, name) or _create(engine, name)
    except StoreUnavailable as error:
        if error.__cause__ is None or not only_reads(error.__cause__):
            raise
        raise StoreUnavailable(
            f"The database has no key for {name} yet and can only be read; make it writable once, or do without {name}."
        ) from error


def _create(engine: Engine, name: str) -> bytes:
    row = {"name": name, "secret": secrets.token_hex(_BYTES), "created_at": to_micros(now())}
    with writing(engine) as connection:
        # The Postgres flavour of ON CONFLICT; SQLite speaks the same words.
        connection.execute(insert(keys).on_conflict_do_nothing(index_elements=["name"]), row)
        made = _stored(connection, name)
    assert made is not None  # noqa: S101 - it was made a moment ago
    return made


def _stored(connection: Connection, name: str) -> bytes | None:
    stored = connection.execute(select(keys.c.secret).where(keys.c.name == name)).scalar()
    return None if stored is None else bytes.fromhex(stored)

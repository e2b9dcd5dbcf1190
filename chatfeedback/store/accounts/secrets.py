"""Secrets of a database: random keys by name, generated when first needed, the same for all processes.

They are stored in the database and not in a setting, so that what depends on them lasts as long as the data.
"""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, Engine, select
from sqlalchemy.dialects.postgresql import insert

from chatfeedback.errors import StoreUnavailable
from chatfeedback.store.database.clock import now
from chatfeedback.store.database.errors import is_read_only
from chatfeedback.store.database.transactions import read_only, read_write
from chatfeedback.store.schema import keys, to_micros

_BYTES = 32


def find(engine: Engine, name: str) -> bytes | None:
    """Return the secret with this name; None if there is none yet. Raises StoreError."""
    with read_only(engine) as connection:
        return _stored(connection, name)


def get_or_create(engine: Engine, name: str) -> bytes:
    """Return the secret with this name (32 bytes), generated if needed; concurrent calls return the same secret.

    Raises:
        StoreUnavailable: The secret is missing and the database is read-only.
        StoreError: The database refused.
    """
    try:
        return find(engine, name) or _create(engine, name)
    except StoreUnavailable as error:
        if error.__cause__ is None or not is_read_only(error.__cause__):
            raise
        raise StoreUnavailable(
            f"The database has no key for {name} yet and can only be read; make it writable once, or do without {name}."
        ) from error


def _create(engine: Engine, name: str) -> bytes:
    row = {"name": name, "secret": secrets.token_hex(_BYTES), "created_at": to_micros(now())}
    with read_write(engine) as connection:
        # The Postgres construct for ON CONFLICT; SQLite accepts the same SQL.
        connection.execute(insert(keys).on_conflict_do_nothing(index_elements=["name"]), row)
        secret = _stored(connection, name)
    assert secret is not None  # noqa: S101 - inserted in this transaction
    return secret


def _stored(connection: Connection, name: str) -> bytes | None:
    stored = connection.execute(select(keys.c.secret).where(keys.c.name == name)).scalar()
    return None if stored is None else bytes.fromhex(stored)

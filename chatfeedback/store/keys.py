"""Secrets of a database: random keys that are made when they are first needed, and never leave it."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import insert

from chatfeedback.store.schema import keys, to_micros
from chatfeedback.store.transactions import looking, writing

SECRET_BYTES = 32


def secret(engine: Engine, name: str) -> bytes:
    """The 256 bits of this name; whoever asks at the same moment gets the same. Raises StoreUnavailable."""
    stored = select(keys.c.secret).where(keys.c.name == name)
    with looking(engine) as connection:
        if found := connection.scalar(stored):
            return bytes.fromhex(found)
    row = {"name": name, "secret": secrets.token_hex(SECRET_BYTES), "created_at": to_micros(datetime.now(UTC))}
    with writing(engine) as connection:
        # The Postgres flavour of ON CONFLICT; SQLite speaks the same words.
        connection.execute(insert(keys).on_conflict_do_nothing(index_elements=["name"]), row)
        return bytes.fromhex(connection.scalars(stored).one())

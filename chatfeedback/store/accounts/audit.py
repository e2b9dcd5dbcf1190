"""The audit: sign-ins, refusals, exports, changes of users, erasures. It only grows, and holds ids, never words.

No names, addresses, passwords, tokens or texts: an entry stays when the person that it is about has been erased.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple

import orjson
from sqlalchemy import Connection, Engine, insert, select

from chatfeedback.store.database.clock import now
from chatfeedback.store.database.transactions import looking
from chatfeedback.store.schema import audit, from_micros, to_micros

Action = Literal[
    "signed_in",
    "sign_in_failed",
    "signed_out",
    "consented",
    "refused",
    "exported",
    "user_added",
    "role_changed",
    "user_disabled",
    "user_enabled",
    "password_changed",
    "identity_linked",
    "sessions_ended",
    "conversation_erased",
    "annotator_erased",
]


class Entry(NamedTuple):
    """One thing that somebody did, or was refused."""

    position: int
    occurred_at: datetime
    action: str
    actor_id: str | None
    """None: nobody who is known, or whoever has the command line of the server."""
    subject_id: str | None
    """What it was done to: an annotator or a conversation."""
    detail: dict[str, Any]


def record(
    connection: Connection, action: Action, *, actor_id: str | None = None, subject_id: str | None = None, **detail: Any
) -> None:
    """Appends an entry in the transaction of the caller. `detail`: codes, counts and ids."""
    text = orjson.dumps(detail, option=orjson.OPT_SORT_KEYS).decode()
    row = {"action": action, "actor_id": actor_id, "subject_id": subject_id, "detail": text}
    connection.execute(insert(audit), {**row, "occurred_at": to_micros(now())})


def latest(engine: Engine, limit: int, before: int | None = None) -> list[Entry]:
    """The newest entries first, at most `limit`; with `before`, those of a lower position."""
    wanted = select(audit).order_by(audit.c.position.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(audit.c.position < before)
    with looking(engine) as connection:
        return [
            Entry(row.position, from_micros(row.occurred_at), row.action, row.actor_id, row.subject_id, _read(row))
            for row in connection.execute(wanted)
        ]


def _read(row: Any) -> dict[str, Any]:
    detail: dict[str, Any] = orjson.loads(row.detail)
    return detail

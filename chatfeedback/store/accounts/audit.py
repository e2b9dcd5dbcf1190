"""Audit trail: sign-ins, refusals, exports, changes of users, erasures. Append-only; it holds ids, never text.

No names, addresses, passwords, tokens or texts: an entry stays when its subject has been erased.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple

import orjson
from sqlalchemy import Connection, Engine, insert, select

from chatfeedback.store.database.clock import now
from chatfeedback.store.database.transactions import read_only
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
"""Actions that are recorded."""


class Entry(NamedTuple):
    """One action, or one refused action."""

    position: int
    occurred_at: datetime
    action: str
    actor_id: str | None
    """None: an unknown client, or an administrator on the command line."""
    subject_id: str | None
    """Annotator or conversation that the action is about."""
    detail: dict[str, Any]


def record(
    connection: Connection, action: Action, *, actor_id: str | None = None, subject_id: str | None = None, **detail: Any
) -> None:
    """Append an entry in the caller's transaction.

    Args:
        connection: Connection with an open transaction.
        action: Code of the action.
        actor_id: Annotator who acted, if known.
        subject_id: Annotator or conversation that the action is about.
        detail: Codes, counts and ids.
    """
    text = orjson.dumps(detail, option=orjson.OPT_SORT_KEYS).decode()
    row = {"action": action, "actor_id": actor_id, "subject_id": subject_id, "detail": text}
    connection.execute(insert(audit), {**row, "occurred_at": to_micros(now())})


def latest(engine: Engine, limit: int, before: int | None = None) -> list[Entry]:
    """Return at most `limit` entries, newest first; with `before`, those of a lower position."""
    query = select(audit).order_by(audit.c.position.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.position < before)
    with read_only(engine) as connection:
        return [
            Entry(row.position, from_micros(row.occurred_at), row.action, row.actor_id, row.subject_id, _detail(row))
            for row in connection.execute(query)
        ]


def _detail(row: Any) -> dict[str, Any]:
    detail: dict[str, Any] = orjson.loads(row.detail)
    return detail

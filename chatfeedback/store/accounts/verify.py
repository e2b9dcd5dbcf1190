"""Verification of the accounts: what the audit says about them, and whether entries of the audit are missing.

The database refuses changes of the audit. Who can drop its triggers can still delete entries; this check finds those
that leave a gap, or an account, a role or a consent that nobody has given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from sqlalchemy import Connection, func, select, text

from chatfeedback.store.schema import audit, consents, users

_OF_USERS = ("user_added", "role_changed", "user_disabled", "user_enabled")
_DISABLING = {"user_disabled": True, "user_enabled": False}


def problems(connection: Connection) -> Iterator[str]:
    """Yield one sentence for each account, role or consent that the audit does not explain, and each gap in it."""
    if connection.dialect.name == "sqlite":
        yield from _gaps(connection)
    yield from _unexplained_users(connection)
    yield from _unexplained_consents(connection)


def _gaps(connection: Connection) -> Iterator[str]:
    """Yield a sentence if positions are missing. On Postgres a transaction that was rolled back leaves a gap too."""
    count, last = connection.execute(select(func.count(), func.coalesce(func.max(audit.c.position), 0))).one()
    used = connection.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = 'audit'"))
    if missing := max(last, used or 0) - count:
        yield f"The audit lacks {missing} of its entries: they were deleted by hand."


def _unexplained_users(connection: Connection) -> Iterator[str]:
    roles: dict[str, str] = {}
    disabled: dict[str, bool] = {}
    of_users = select(audit.c.action, audit.c.subject_id, audit.c.detail).where(audit.c.action.in_(_OF_USERS))
    for action, user_id, detail in connection.execute(of_users.order_by(audit.c.position)):
        if action in _DISABLING:
            disabled[user_id] = _DISABLING[action]
        else:
            roles[user_id] = _role(detail)
    for user_id, role, disabled_at in connection.execute(
        select(users.c.annotator_id, users.c.role, users.c.disabled_at).order_by(users.c.annotator_id)
    ):
        if user_id not in roles:
            yield f"The audit does not say who added the user {user_id}."
        elif roles[user_id] != role:
            yield f"The user {user_id} is {role}, but {roles[user_id] or 'nothing'} by the audit."
        if disabled.get(user_id, False) != (disabled_at is not None):
            is_disabled = "disabled" if disabled_at is not None else "not disabled"
            yield f"The user {user_id} is {is_disabled}, which the audit does not say."


def _role(detail: str) -> str:
    values: dict[str, Any] = orjson.loads(detail)
    return str(values.get("after", values.get("role", "")))


def _unexplained_consents(connection: Connection) -> Iterator[str]:
    given = {
        (actor_id, orjson.loads(detail).get("version"))
        for actor_id, detail in connection.execute(
            select(audit.c.actor_id, audit.c.detail).where(audit.c.action == "consented")
        )
    }
    for annotator_id, version in connection.execute(
        select(consents.c.annotator_id, consents.c.version).order_by(consents.c.annotator_id, consents.c.version)
    ):
        if (annotator_id, version) not in given:
            yield f"The audit does not say that {annotator_id} agreed to version {version} of the consent text."

"""What makes the log and the audit append-only inside the database itself, and whether it is all still there.

The migrations make the guards; a batch recreation of the table, a restored dump or a careless administrator can lose
them without a word. `problems` looks at the database's own catalogue, never at what was once created. `lifted` is for
erasures alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, inspect, text

from chatfeedback.errors import StoreCorrupt

_REFUSED = "SELECT RAISE(ABORT, '{}');"
_WORDS = {"events": "events are never changed or deleted", "audit": "the audit is never changed or deleted"}


def _on_change(table: str) -> dict[str, str]:
    refused = _REFUSED.format(_WORDS[table])
    return {
        f"{table}_refuse_{change.lower()}": f"BEFORE {change} ON {table} BEGIN {refused} END"
        for change in ("UPDATE", "DELETE")
    }


SQLITE_TRIGGERS: dict[str, dict[str, str]] = {
    "events": {
        **_on_change("events"),
        "events_refuse_replace": (
            "BEFORE INSERT ON events BEGIN"
            " SELECT RAISE(ABORT, 'this event id is already stored')"
            " WHERE EXISTS (SELECT 1 FROM events WHERE event_id = NEW.event_id);"
            " SELECT RAISE(ABORT, 'this version is already stored') WHERE EXISTS ("
            " SELECT 1 FROM events WHERE conversation_id = NEW.conversation_id AND version = NEW.version );"
            " SELECT RAISE(ABORT, 'this position is already stored')"
            " WHERE EXISTS (SELECT 1 FROM events WHERE position = NEW.position); END"
        ),
    },
    "audit": {
        **_on_change("audit"),
        "audit_refuse_replace": (
            "BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'this position is already stored')"
            " WHERE EXISTS (SELECT 1 FROM audit WHERE position = NEW.position); END"
        ),
    },
}
"""By table: name -> its definition as the migrations make it, white space folded."""

_BEFORE, _ROW, _DELETE, _UPDATE, _TRUNCATE = 2, 1, 8, 16, 32  # the bits of pg_trigger.tgtype
POSTGRES_TRIGGERS: dict[str, dict[str, int]] = {
    table: {
        f"{table}_refuse_change": _BEFORE | _ROW | _DELETE | _UPDATE,
        f"{table}_refuse_truncate": _BEFORE | _TRUNCATE,
    }
    for table in SQLITE_TRIGGERS
}
"""By table: name -> its kind."""
_ALWAYS_ENABLED = "A"

_POSTGRES_TRIGGERS = text(
    """
    SELECT t.tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass(:table) AND t.tgtype = :type AND t.tgenabled = :enabled
      AND t.tgqual IS NULL AND t.tgattr = '' AND t.tgname = :name
      AND btrim(regexp_replace(p.prosrc, '\\s+', ' ', 'g')) = :body
    """
)
_POSTGRES_RULES = text("SELECT rulename FROM pg_rules WHERE tablename = :table AND schemaname = current_schema()")
_POSTGRES_BODY = "BEGIN RAISE EXCEPTION '{}' USING ERRCODE = 'restrict_violation'; END"
_POSTGRES_IDENTITY = text(
    "SELECT attidentity FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attname = 'position'"
)


def problems(connection: Connection) -> list[str]:
    """One sentence for each guard of these tables, where they exist, that is missing, disabled or altered."""
    look = _on_sqlite if connection.dialect.name == "sqlite" else _on_postgres
    inspected = inspect(connection)
    return [problem for table in SQLITE_TRIGGERS if inspected.has_table(table) for problem in look(connection, table)]


@contextmanager
def lifted(connection: Connection) -> Iterator[None]:
    """Lets the block, and nobody else, change and delete events; an erasure is the one thing that may.

    Must lie in a transaction, which is undone with the guards where they were if anything is raised. Raises
    StoreCorrupt when a guard is not as it must be, before the block or after it.
    """
    _check_installed(connection)
    if connection.dialect.name == "sqlite":
        names = _on_change("events")
        off = [f"DROP TRIGGER {name}" for name in names]
        on = [f"CREATE TRIGGER {name} {how}" for name, how in names.items()]
    else:
        off = ["ALTER TABLE events DISABLE TRIGGER events_refuse_change"]
        on = ["ALTER TABLE events ENABLE ALWAYS TRIGGER events_refuse_change"]
    for statement in off:
        connection.exec_driver_sql(statement)
    yield
    for statement in on:
        connection.exec_driver_sql(statement)
    _check_installed(connection)


def _check_installed(connection: Connection) -> None:
    if found := problems(connection):
        raise StoreCorrupt(found[0])


def _on_sqlite(connection: Connection, table: str) -> list[str]:
    listed = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE tbl_name = :table"), {"table": table})
    definitions = {name: " ".join(str(sql).split()) for name, sql in listed}
    found = [
        _missing(table, name)
        for name, how in SQLITE_TRIGGERS[table].items()
        if definitions.get(name) != f"CREATE TRIGGER {name} {how}"
    ]
    if "AUTOINCREMENT" not in definitions[table]:
        found.append(f"The table {table} has lost AUTOINCREMENT: positions could be used twice.")
    return found


def _on_postgres(connection: Connection, table: str) -> list[str]:
    wanted = {"table": table, "enabled": _ALWAYS_ENABLED, "body": _POSTGRES_BODY.format(_WORDS[table])}
    found = [
        _missing(table, name)
        for name, kind in POSTGRES_TRIGGERS[table].items()
        if connection.scalar(_POSTGRES_TRIGGERS, {"name": name, "type": kind, **wanted}) is None
    ]
    found += [
        f"The rule {name} on the table {table} changes what is written to it; drop it."
        for name in connection.scalars(_POSTGRES_RULES, {"table": table})
    ]
    if connection.scalar(_POSTGRES_IDENTITY, {"table": table}) not in ("a", b"a"):
        found.append(f"The column {table}.position is not GENERATED ALWAYS AS IDENTITY: positions could be used twice.")
    return found


def _missing(table: str, trigger: str) -> str:
    return f"The trigger {trigger} on the table {table} is missing, disabled or altered: {table} could be changed."

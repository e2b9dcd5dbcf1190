"""What makes the log append-only inside the database itself, and whether it is all still there.

The migrations make the guards; a batch recreation of the table, a restored dump or a careless administrator can lose
them without a word. `problems` looks at the database's own catalogue, never at what was once created.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

_REFUSED = "SELECT RAISE(ABORT, 'events are never changed or deleted');"
SQLITE_TRIGGERS = {
    "events_refuse_update": f"BEFORE UPDATE ON events BEGIN {_REFUSED} END",
    "events_refuse_delete": f"BEFORE DELETE ON events BEGIN {_REFUSED} END",
    "events_refuse_replace": (
        "BEFORE INSERT ON events BEGIN"
        " SELECT RAISE(ABORT, 'this event id is already stored')"
        " WHERE EXISTS (SELECT 1 FROM events WHERE event_id = NEW.event_id);"
        " SELECT RAISE(ABORT, 'this version is already stored') WHERE EXISTS ("
        " SELECT 1 FROM events WHERE conversation_id = NEW.conversation_id AND version = NEW.version );"
        " SELECT RAISE(ABORT, 'this position is already stored')"
        " WHERE EXISTS (SELECT 1 FROM events WHERE position = NEW.position); END"
    ),
}
"""Name -> its definition as the migrations make it, white space folded."""

_BEFORE, _ROW, _DELETE, _UPDATE, _TRUNCATE = 2, 1, 8, 16, 32  # the bits of pg_trigger.tgtype
POSTGRES_TRIGGERS = {
    "events_refuse_change": _BEFORE | _ROW | _DELETE | _UPDATE,
    "events_refuse_truncate": _BEFORE | _TRUNCATE,
}
_ALWAYS_ENABLED = "A"

_POSTGRES_TRIGGERS = text(
    """
    SELECT t.tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass('events') AND t.tgtype = :type AND t.tgenabled = :enabled
      AND t.tgqual IS NULL AND t.tgattr = '' AND t.tgname = :name
      AND btrim(regexp_replace(p.prosrc, '\\s+', ' ', 'g')) = :body
    """
)
_POSTGRES_RULES = text("SELECT rulename FROM pg_rules WHERE tablename = 'events' AND schemaname = current_schema()")
_POSTGRES_BODY = "BEGIN RAISE EXCEPTION 'events are never changed or deleted' USING ERRCODE = 'restrict_violation'; END"
_POSTGRES_IDENTITY = text(
    "SELECT attidentity FROM pg_attribute WHERE attrelid = to_regclass('events') AND attname = 'position'"
)


def problems(connection: Connection) -> list[str]:
    """One sentence for each guard that is missing, disabled or not what it must be; [] without a table `events`."""
    if not inspect(connection).has_table("events"):
        return []
    return _on_sqlite(connection) if connection.dialect.name == "sqlite" else _on_postgres(connection)


def _on_sqlite(connection: Connection) -> list[str]:
    listed = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE tbl_name = 'events'"))
    definitions = {name: " ".join(str(sql).split()) for name, sql in listed}
    found = [
        _missing(name)
        for name, how in SQLITE_TRIGGERS.items()
        if definitions.get(name) != f"CREATE TRIGGER {name} {how}"
    ]
    if "AUTOINCREMENT" not in definitions["events"]:
        found.append("The table events has lost AUTOINCREMENT: positions could be used twice.")
    return found


def _on_postgres(connection: Connection) -> list[str]:
    wanted = {"enabled": _ALWAYS_ENABLED, "body": _POSTGRES_BODY}
    found = [
        _missing(name)
        for name, kind in POSTGRES_TRIGGERS.items()
        if connection.scalar(_POSTGRES_TRIGGERS, {"name": name, "type": kind, **wanted}) is None
    ]
    found += [
        f"The rule {name} on the table events changes what is written to it; drop it."
        for name in connection.scalars(_POSTGRES_RULES)
    ]
    if connection.scalar(_POSTGRES_IDENTITY) not in ("a", b"a"):
        found.append("The column events.position is not GENERATED ALWAYS AS IDENTITY: positions could be used twice.")
    return found


def _missing(trigger: str) -> str:
    return f"The trigger {trigger} on the table events is missing, disabled or altered: events could be changed."

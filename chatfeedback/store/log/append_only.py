"""Append-only triggers of the log and the audit, and a check that they are all in place, and no others.

The migrations create the triggers. Recreating a table in Alembic's batch mode, a restored dump or a careless
administrator can lose them silently. A foreign trigger can ignore what is stored, or change it. `problems` therefore
reads the catalogue of the database. `triggers_disabled` is for erasures alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, inspect, text

from chatfeedback.errors import StoreCorrupt
from chatfeedback.store.schema import metadata

_RAISE_ABORT = "SELECT RAISE(ABORT, '{}');"
_MESSAGES = {"events": "events are never changed or deleted", "audit": "the audit is never changed or deleted"}


def _change_triggers(table: str) -> dict[str, str]:
    action = _RAISE_ABORT.format(_MESSAGES[table])
    return {
        f"{table}_refuse_{change.lower()}": f"BEFORE {change} ON {table} BEGIN {action} END"
        for change in ("UPDATE", "DELETE")
    }


SQLITE_TRIGGERS: dict[str, dict[str, str]] = {
    "events": {
        **_change_triggers("events"),
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
        **_change_triggers("audit"),
        "audit_refuse_replace": (
            "BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'this position is already stored')"
            " WHERE EXISTS (SELECT 1 FROM audit WHERE position = NEW.position); END"
        ),
    },
}
"""Triggers of each table: name -> definition as the migrations create it, white space folded."""

_BEFORE, _ROW, _DELETE, _UPDATE, _TRUNCATE = 2, 1, 8, 16, 32  # bits of pg_trigger.tgtype
POSTGRES_TRIGGERS: dict[str, dict[str, int]] = {
    table: {
        f"{table}_refuse_change": _BEFORE | _ROW | _DELETE | _UPDATE,
        f"{table}_refuse_truncate": _BEFORE | _TRUNCATE,
    }
    for table in SQLITE_TRIGGERS
}
"""Triggers of each table: name -> `pg_trigger.tgtype`."""
_ALWAYS_ENABLED = "A"

_POSTGRES_TRIGGERS = text(
    """
    SELECT t.tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass(:table) AND t.tgtype = :type AND t.tgenabled = :enabled
      AND t.tgqual IS NULL AND t.tgattr = '' AND t.tgname = :name
      AND btrim(regexp_replace(p.prosrc, '\\s+', ' ', 'g')) = :body
    """
)
_POSTGRES_FOREIGN = text(
    """
    SELECT c.relname AS on_table, 'trigger' AS kind, t.tgname AS name
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgrelid = ANY(CAST(:oids AS oid[])) AND t.tgname <> ALL(:own)
    UNION ALL
    SELECT c.relname, 'rule', r.rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
    WHERE r.ev_class = ANY(CAST(:oids AS oid[]))
    UNION ALL
    SELECT c.relname, 'row-level security policy', coalesce(p.polname, 'none')
    FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid
    WHERE c.oid = ANY(CAST(:oids AS oid[])) AND (c.relrowsecurity OR p.polname IS NOT NULL)
    ORDER BY 1, 2, 3
    """
)
_POSTGRES_BODY = "BEGIN RAISE EXCEPTION '{}' USING ERRCODE = 'restrict_violation'; END"
_POSTGRES_IDENTITY = text(
    "SELECT attidentity FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attname = 'position'"
)


def problems(connection: Connection) -> list[str]:
    """Return one sentence for each trigger of the existing tables that is missing, disabled, altered or foreign."""
    find = _sqlite_problems if connection.dialect.name == "sqlite" else _postgres_problems
    inspector = inspect(connection)
    defects = [
        problem for table in SQLITE_TRIGGERS if inspector.has_table(table) for problem in find(connection, table)
    ]
    return defects + [
        f"The {kind} {name} on {table} is not of chatfeedback and can change what is stored or read; drop it."
        for table, kind, name in _foreign(connection)
    ]


def _foreign(connection: Connection) -> list[tuple[str, str, str]]:
    """Return table, kind and name of what changes reads and writes and is not ours.

    On Postgres only of our tables: others may share the database.
    """
    if connection.dialect.name == "sqlite":
        triggers = connection.execute(text("SELECT tbl_name, type, name FROM sqlite_master WHERE type = 'trigger'"))
        own = {name for of_table in SQLITE_TRIGGERS.values() for name in of_table}
        return sorted((table, kind, name) for table, kind, name in triggers if name not in own)
    own_names = [name for of_table in POSTGRES_TRIGGERS.values() for name in of_table]
    oids = [
        connection.scalar(text("SELECT CAST(to_regclass(:name) AS oid)"), {"name": name}) for name in metadata.tables
    ]
    found = connection.execute(_POSTGRES_FOREIGN, {"oids": [oid for oid in oids if oid], "own": own_names})
    return [(table, kind, name) for table, kind, name in found]


@contextmanager
def triggers_disabled(connection: Connection) -> Iterator[None]:
    """Disable the triggers that refuse changes of events, for the block alone; only an erasure may do this.

    The caller holds a transaction. If anything is raised, its rollback restores the triggers.

    Raises:
        StoreCorrupt: A trigger is missing or altered, before the block or after it.
    """
    _check_installed(connection)
    if connection.dialect.name == "sqlite":
        names = _change_triggers("events")
        disable = [f"DROP TRIGGER {name}" for name in names]
        enable = [f"CREATE TRIGGER {name} {definition}" for name, definition in names.items()]
    else:
        disable = ["ALTER TABLE events DISABLE TRIGGER events_refuse_change"]
        enable = ["ALTER TABLE events ENABLE ALWAYS TRIGGER events_refuse_change"]
    for statement in disable:
        connection.exec_driver_sql(statement)
    yield
    for statement in enable:
        connection.exec_driver_sql(statement)
    _check_installed(connection)


def _check_installed(connection: Connection) -> None:
    if defects := problems(connection):
        raise StoreCorrupt(defects[0])


def _sqlite_problems(connection: Connection, table: str) -> list[str]:
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE tbl_name = :table"), {"table": table})
    definitions = {name: " ".join(str(sql).split()) for name, sql in rows}
    defects = [
        _describe_missing(table, name)
        for name, definition in SQLITE_TRIGGERS[table].items()
        if definitions.get(name) != f"CREATE TRIGGER {name} {definition}"
    ]
    if "AUTOINCREMENT" not in definitions[table]:
        defects.append(f"The table {table} has lost AUTOINCREMENT: positions could be used twice.")
    return defects


def _postgres_problems(connection: Connection, table: str) -> list[str]:
    expected = {"table": table, "enabled": _ALWAYS_ENABLED, "body": _POSTGRES_BODY.format(_MESSAGES[table])}
    defects = [
        _describe_missing(table, name)
        for name, kind in POSTGRES_TRIGGERS[table].items()
        if connection.scalar(_POSTGRES_TRIGGERS, {"name": name, "type": kind, **expected}) is None
    ]
    if connection.scalar(_POSTGRES_IDENTITY, {"table": table}) not in ("a", b"a"):
        defects.append(
            f"The column {table}.position is not GENERATED ALWAYS AS IDENTITY: positions could be used twice."
        )
    return defects


def _describe_missing(table: str, trigger: str) -> str:
    return f"The trigger {trigger} on the table {table} is missing, disabled or altered: {table} could be changed."

"""Schema objects: what a SQLite file must contain, and must not, to be a database of chatfeedback at a revision.

A backup comes from elsewhere. A file with the right revision number may have a trigger that ignores events or changes
roles, or none of those that refuse changes. It is compared with an empty database that the migrations make.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from chatfeedback.store.database import migrate

_OBJECTS = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"


def differences(connection: sqlite3.Connection, revision: str) -> Iterator[str]:
    """Yield a phrase for each object that is missing, altered or foreign; other tables and indexes are left alone."""
    present, expected = _objects(connection), _expected_objects(revision)
    for (kind, name), sql in expected.items():
        if (kind, name) not in present:
            yield f"the {kind} {name} is missing"
        elif present[kind, name] != sql:
            yield f"the {kind} {name} is altered"
    for kind, name in present.keys() - expected.keys():
        if kind in ("trigger", "view"):
            yield f"the {kind} {name} is not of chatfeedback"


def _expected_objects(revision: str) -> dict[tuple[str, str], str]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "empty.db"
        migrate.upgrade(f"sqlite:///{file}", revision)
        with closing(sqlite3.connect(file)) as connection:
            return _objects(connection)


def _objects(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Return the definitions by kind and name, white space folded."""
    return {(kind, name): " ".join(sql.split()) for kind, name, sql in connection.execute(_OBJECTS)}

"""Outages of the store that a test begins and ends."""

from __future__ import annotations

import contextlib
import sqlite3

from sqlalchemy import create_engine, event, make_url, text

from chatfeedback.errors import StoreUnavailable
from services.service_harness import PATIENCE_SECONDS, Room

TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"


class Outage:
    """Outage of the database from `begin` to `end`: SQLite is read-only, Postgres refuses connections."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._url = make_url(room.store.engine.url)
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        self._away = False
        if self._is_sqlite:
            event.listen(room.store.engine, "checkout", self._prepare)

    def begin(self) -> None:
        self._away = True
        if self._is_sqlite:
            self._room.store.writer.submit(lambda tx: self._prepare(tx.connection)).result(PATIENCE_SECONDS)
        else:
            self._allow_connections(False)

    def end(self) -> None:
        self._away = False
        if self._is_sqlite:
            with contextlib.suppress(StoreUnavailable):  # then the writer has dropped its connection
                self._room.store.writer.submit(lambda tx: self._prepare(tx.connection)).result(PATIENCE_SECONDS)
        else:
            self._allow_connections(True)

    def _prepare(self, connection: sqlite3.Connection, *_pooled: object) -> None:
        connection.execute(f"PRAGMA query_only={self._away}")

    def _allow_connections(self, allowed: bool) -> None:
        on_server(self._room, f'ALTER DATABASE "{self._url.database}" ALLOW_CONNECTIONS {allowed}', TERMINATE)


def on_server(room: Room, *statements: str) -> None:
    """Run statements on the Postgres server of the room, outside its database."""
    url = make_url(room.store.engine.url)
    engine = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement), {"name": url.database})
    engine.dispose()

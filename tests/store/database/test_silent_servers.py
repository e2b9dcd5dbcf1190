"""Silent server: it accepts connections and does not answer, as when its machine hangs."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from chatfeedback.errors import StoreUnavailable
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.opening import open_event_store

AWAY = r"^The database server cannot be reached \(connection timeout expired\); nothing was stored, try again\.$"


@pytest.mark.parametrize("addresses", [1, 2])
def test_store_logs_silent_server_once(addresses: int, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts, ports = ",".join(["127.0.0.1"] * addresses), ",".join([str(silent.getsockname()[1])] * addresses)
        engine = open_engine(f"postgresql://ada@/chat?host={hosts}&port={ports}&connect_timeout=2")
        store = open_event_store(engine)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=AWAY), store.reading():
                pass
        assert isinstance(store.availability.trouble, StoreUnavailable)
        assert store.availability.outages == 1
        assert [record.getMessage()[:31] for record in caplog.records] == ["the database cannot be used: Th"]
    store.close()
    engine.dispose()


@contextmanager
def silent_at_first(url: str) -> Iterator[str]:
    """Another address of the same server: the first connection to it is taken and not answered, all others are."""
    with tempfile.TemporaryDirectory(prefix="chatfeedback-") as folder, socket.socket(socket.AF_UNIX) as silent:
        here = Path(folder, ".s.PGSQL.5432")
        silent.bind(str(here))
        silent.listen()

        def take_one() -> None:
            with silent.accept()[0] as taken:
                here.unlink()
                here.symlink_to(Path(str(make_url(url).query["host"]), here.name))
                while taken.recv(1024):  # until the client has given up
                    pass

        threading.Thread(target=take_one, daemon=True).start()
        there = make_url(url).update_query_dict({"host": folder, "connect_timeout": "2"})
        yield there.render_as_string(hide_password=False)


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_writer_repeats_work_when_first_connection_is_silent(database_url: str) -> None:
    with silent_at_first(database_url) as url:
        engine = open_engine(url)
        store = open_event_store(engine)
        store.submit(lambda tx: tx.script("SELECT")).result(60)
        assert store.availability.outages == 0
        store.close()
        engine.dispose()

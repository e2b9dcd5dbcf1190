"""Scan for traces of a text: every byte of the files of a database, or all that a server gives away of one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import make_url

import clusters
from chatfeedback.store.database.engine import open_engine


def traces(database_url: str, texts: Iterable[str]) -> set[str]:
    """Return those of `texts` that are found."""
    everything = b"\n".join(_bytes(database_url))
    return {text for text in texts if text.encode() in everything}


def _bytes(database_url: str) -> Iterable[bytes]:
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        files = [path for path in Path(str(url.database)).parent.rglob("*") if path.is_file()]
        assert files
        return [path.read_bytes() for path in files]
    return [_dump(database_url), _statistics(database_url)]


def _dump(database_url: str) -> bytes:
    address = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    ended = subprocess.run([clusters.newest() / "pg_dump", "--dbname", address], capture_output=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _statistics(database_url: str) -> bytes:
    """Return the samples of columns that the planner keeps."""
    engine = open_engine(database_url)
    samples = "SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats WHERE schemaname = 'public'"
    try:
        with engine.connect() as connection:
            return repr(connection.exec_driver_sql(samples).all()).encode()
    finally:
        engine.dispose()

"""Export stream: the one path from the database to a file, a pipe or a browser."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

from sqlalchemy import Engine

from chatfeedback.export.registry import DATASETS, FORMATS
from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.query.sql_filters import read_snapshot
from chatfeedback.query.streaming import Row
from chatfeedback.store.accounts.pseudonyms import DisplayNames

Progress = Callable[[int, int], None]
"""Callback with the number of rows written and their total number."""

_PROGRESS_ROWS = 1000
_CHUNK_BYTES = 1 << 18


def stream(
    engine: Engine,
    kind: str,
    format: str,
    filters: ResolvedFilters,
    display_name: DisplayNames,
    progress: Progress | None = None,
) -> Generator[bytes, None, None]:
    """Yield an export in chunks of about 256 KiB.

    The first chunk takes the snapshot that all chunks read; the same snapshot always gives the same bytes. The
    connection is held until the last chunk or `close()`.

    Args:
        engine: Engine of the database.
        kind: Dataset, a key of DATASETS.
        format: A key of FORMATS.
        filters: Filters of the rows.
        display_name: Display names of annotators (`store.accounts.pseudonyms`), for all columns with their ids.
        progress: Callback for the progress.

    Raises:
        StoreUnavailable: The database cannot be read.
        SchemaBehind: The database has an older schema.
    """
    dataset, output_format = DATASETS[kind], FORMATS[format]
    with read_snapshot(engine) as connection, closing(dataset.rows(connection, dataset.selected(filters))) as stored:
        rows: Iterable[Row] = stored
        if progress is not None:
            rows = _with_progress(rows, progress, dataset.total(connection, filters))
        yield from chunked(output_format.lines(dataset.columns, rows, display_name))


def _with_progress(rows: Iterable[Row], progress: Progress, total: int) -> Iterator[Row]:
    done = 0
    progress(done, total)
    for done, row in enumerate(rows, 1):
        yield row
        if done % _PROGRESS_ROWS == 0:
            progress(done, total)
    progress(done, total)


def chunked(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines joined into chunks of about 256 KiB, to save system calls."""
    chunk: list[bytes] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line)
        if size >= _CHUNK_BYTES:
            yield b"".join(chunk)
            chunk.clear()
            size = 0
    if chunk:
        yield b"".join(chunk)

"""An export as a stream of bytes: the one way from the database to a file, a pipe or a browser."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

from sqlalchemy import Engine

from chatfeedback.export.formats.lines import FORMATS, chunked
from chatfeedback.export.tables.log import KINDS
from chatfeedback.query.filters import Filters
from chatfeedback.query.sql_filters import read_snapshot, resolve
from chatfeedback.query.streaming import Row
from chatfeedback.store.accounts.pseudonyms import DisplayNames

Progress = Callable[[int, int], None]
"""Told from time to time how many rows are done, and how many there will be."""

_ROWS_A_REPORT = 1000


def stream(
    engine: Engine, kind: str, format: str, filters: Filters, naming: DisplayNames, progress: Progress | None = None
) -> Generator[bytes, None, None]:
    """The export of `kind` (a key of KINDS) in `format` (a key of FORMATS), in chunks of about 256 KiB.

    Annotators are called what `naming` (`store.naming`) calls them, in all columns that say who somebody is.
    All of it is of one state of the database, that of the first chunk, and the same state gives the same bytes. The
    connection is held from the first chunk until the last one or `close()`. Raises NotFound before the first chunk
    for a model or an annotator (by name, id or pseudonym) that the database does not have; StoreUnavailable,
    SchemaBehind.
    """
    exported, written = KINDS[kind], FORMATS[format]
    wanted = resolve(engine, filters)
    with read_snapshot(engine) as connection, closing(exported.rows(connection, exported.selected(wanted))) as stored:
        rows: Iterable[Row] = stored
        if progress is not None:
            rows = _reported(rows, progress, exported.total(connection, wanted))
        yield from chunked(written.lines(exported.columns, rows, naming))


def _reported(rows: Iterable[Row], progress: Progress, total: int) -> Iterator[Row]:
    done = 0
    progress(done, total)
    for done, row in enumerate(rows, 1):
        yield row
        if done % _ROWS_A_REPORT == 0:
            progress(done, total)
    progress(done, total)

"""The command `export`: a stream of bytes into a file that is there whole or not at all, or into stdout."""

from __future__ import annotations

import logging
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Literal

from sqlalchemy import URL, Engine

from chatfeedback.errors import SettingsError
from chatfeedback.export.stream import Progress, stream
from chatfeedback.query.filters import Filters
from chatfeedback.store.accounts import pseudonyms, secrets
from chatfeedback.store.accounts.pseudonyms import DisplayNames
from chatfeedback.store.database import migrate
from chatfeedback.store.database.atomic_files import beside, replacing
from chatfeedback.store.database.engine import parse_url


def run(
    url: str,
    kind: str,
    format: str,
    output: Path | None,
    filters: Filters,
    annotators: Literal["pseudonyms", "names"] = "pseudonyms",
    progress: Progress | None = None,
) -> None:
    """Exports the database at `url` to the file `output`, or to stdout for None.

    Nothing is written to the database, but for the key of the pseudonyms where it has none yet. Raises SettingsError
    for a database or a file that cannot be used, NotFound for an unknown model or annotator, StoreError, and
    BrokenPipeError when the reader of stdout has gone.
    """
    if output is not None:
        _check_not_database(output, parse_url(url))
    # A rows' cursor that an interrupt left open is closed with its connection; that is no error to report.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL + 1)
    with migrate.opened(url, read_only=True, otherwise="name an existing one") as engine:
        called = pseudonyms.names(engine) if annotators == "names" else _pseudonyms(engine, url)
        with closing(stream(engine, kind, format, filters, called, progress)) as chunks:
            if output is None:
                _to_stdout(chunks)
            else:
                _to_file(chunks, output)


def _pseudonyms(engine: Engine, url: str) -> DisplayNames:
    """Those of the database at `url`, which `engine` only reads."""
    if secrets.find(engine, pseudonyms.KEY) is None:
        engine.dispose()  # SQLite tidies up its files when nobody else has them open
        with migrate.opened(url) as writing:
            secrets.get_or_create(writing, pseudonyms.KEY)
    return pseudonyms.pseudonyms(engine)


def _check_not_database(output: Path, database: URL) -> None:
    """Raises SettingsError for a file that is the database itself, or belongs to it."""
    if database.get_backend_name() != "sqlite":
        return
    own = Path(database.database or "").resolve()
    if output.resolve() in (own, *beside(own)):
        raise SettingsError(f"{output} is the database itself; name another file.")


def _to_stdout(chunks: Iterable[bytes]) -> None:
    if sys.stdout is None:
        raise SettingsError("The standard output is closed; name a file with --output.")
    try:
        sys.stdout.flush()
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SettingsError(f"The standard output cannot be written: {error.strerror or error}.") from error


def _to_file(chunks: Iterator[bytes], output: Path) -> None:
    try:
        if _is_written_into(output):
            with output.open("wb") as stream:
                stream.writelines(chunks)
            return
        target = output.resolve()  # the file behind a link is replaced, not the link
        if not target.parent.is_dir():
            raise SettingsError(f"The folder {target.parent} does not exist; make it first.")
        if target.is_dir():
            raise SettingsError(f"{output} is a folder; name a file in it.")
        first = next(chunks, b"")  # an export that is refused leaves no trace
        with replacing(target) as file:
            for chunk in chain([first], chunks):
                file.write(chunk)
    except OSError as error:
        raise SettingsError(f"{output} cannot be written: {error.strerror or error}.") from error


def _is_written_into(output: Path) -> bool:
    """Whether it is there and no file, such as /dev/null, a named pipe, or a shell's >(command)."""
    try:
        mode = output.stat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)

"""Export into a file that is written completely or not at all, or to stdout; the command `export`."""

from __future__ import annotations

import errno
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
from chatfeedback.query.sql_filters import resolve
from chatfeedback.store.accounts import pseudonyms, secrets
from chatfeedback.store.accounts.pseudonyms import DisplayNames
from chatfeedback.store.database import migrate
from chatfeedback.store.database.atomic_files import replacing, sidecar_files
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
    """Export the database at `url` to the file `output`, or to stdout for None.

    Nothing is written to the database, except the key of the pseudonyms if it is missing.

    Raises:
        SettingsError: The database or the file cannot be used.
        NotFound: The model or annotator is unknown.
        StoreError: The database refused.
        BrokenPipeError: The reader of stdout has gone.
    """
    if output is not None:
        _check_not_database(output, parse_url(url))
    # A cursor that an interrupt left open is closed with its connection: not an error to log.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL + 1)
    with migrate.opened(url, read_only=True, hint="name an existing one") as engine:
        display_name = pseudonyms.names(engine) if annotators == "names" else _pseudonyms(engine, url)
        with closing(stream(engine, kind, format, resolve(engine, filters), display_name, progress)) as chunks:
            if output is None:
                _to_stdout(chunks)
            else:
                _to_file(chunks, output)


def _pseudonyms(engine: Engine, url: str) -> DisplayNames:
    """Return the pseudonyms of the database at `url`, which `engine` only reads; create their key if it is missing."""
    if secrets.find(engine, pseudonyms.KEY) is None:
        engine.dispose()  # SQLite removes its sidecar files when the last connection closes
        with migrate.opened(url) as writable:
            secrets.get_or_create(writable, pseudonyms.KEY)
    return pseudonyms.pseudonyms(engine)


def _check_not_database(output: Path, database: URL) -> None:
    """Check that the file is not the database or one of its sidecar files. Raises SettingsError."""
    if database.get_backend_name() != "sqlite":
        return
    own = Path(database.database or "").resolve()
    if output.resolve() in (own, *sidecar_files(own)):
        raise SettingsError(f"{output} is the database itself; name another file.")


def _to_stdout(chunks: Iterable[bytes]) -> None:
    try:
        sys.stdout.flush()
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.EBADF:
            raise SettingsError("The standard output is closed; name a file with --output.") from error
        raise SettingsError(f"The standard output cannot be written: {error.strerror or error}.") from error


def _to_file(chunks: Iterator[bytes], output: Path) -> None:
    try:
        if _is_special_file(output):
            with output.open("wb") as stream:
                stream.writelines(chunks)
            return
        target = output.resolve()  # replace the file behind a link, not the link
        if not target.parent.is_dir():
            raise SettingsError(f"The folder {target.parent} does not exist; make it first.")
        if target.is_dir():
            raise SettingsError(f"{output} is a folder; name a file in it.")
        first = next(chunks, b"")  # fail before creating a file
        with replacing(target) as file:
            for chunk in chain([first], chunks):
                file.write(chunk)
    except OSError as error:
        raise SettingsError(f"{output} cannot be written: {error.strerror or error}.") from error


def _is_special_file(output: Path) -> bool:
    """Return True for an existing path that is no regular file, such as /dev/null, a named pipe or >(command)."""
    try:
        mode = output.stat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)

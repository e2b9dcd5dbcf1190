"""The command `export`: a stream of bytes into a file that is there whole or not at all, or into stdout."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from chatfeedback.analytics.filters import Filters
from chatfeedback.errors import SettingsError
from chatfeedback.export.stream import Progress, stream
from chatfeedback.store.engine import open_engine, parse_url


def run(
    url: str, kind: str, format: str, output: Path | None, filters: Filters, progress: Progress | None = None
) -> None:
    """Exports the database at `url` to the file `output`, or to stdout for None.

    Raises SettingsError for a database or a file that cannot be used, NotFound for an unknown model or annotator,
    StoreError, and BrokenPipeError when the reader of stdout has gone.
    """
    database = parse_url(url)
    if database.get_backend_name() == "sqlite" and not Path(database.database or "").exists():
        raise SettingsError(f"There is no database at {database.database}; name an existing one.")
    engine = open_engine(url)
    try:
        with closing(stream(engine, kind, format, filters, progress)) as chunks:
            if output is None:
                _to_stdout(chunks)
            else:
                _to_file(chunks, output)
    finally:
        engine.dispose()


def _to_stdout(chunks: Iterable[bytes]) -> None:
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
        target = output.resolve()  # the file behind a link is replaced, not the link
        if not target.parent.is_dir():
            raise SettingsError(f"The folder {target.parent} does not exist; make it first.")
        if target.is_dir():
            raise SettingsError(f"{output} is a folder; name a file in it.")
        first = next(chunks, b"")  # an export that is refused leaves no trace
        # What is there and no file, such as /dev/null or a named pipe, is written into.
        opened = target.open("wb") if target.exists() and not target.is_file() else _replacing(target)
        with opened as file:
            for chunk in chain([first], chunks):
                file.write(chunk)
    except OSError as error:
        raise SettingsError(f"{output} cannot be written: {error.strerror or error}.") from error


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A new file beside `target`, which takes its place when the block ends well, and is gone when not."""
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            if target.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise

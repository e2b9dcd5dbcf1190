"""The command `export`: a stream of bytes into a file that is there whole or not at all, or into stdout."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

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
    sys.stdout.flush()
    for chunk in chunks:
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _to_file(chunks: Iterator[bytes], output: Path) -> None:
    target = output.resolve()  # the file behind a link is replaced, not the link
    if not target.parent.is_dir():
        raise SettingsError(f"The folder {target.parent} does not exist; make it first.")
    if target.is_dir():
        raise SettingsError(f"{output} is a folder; name a file in it.")
    # What is there and not a file, such as /dev/null or a named pipe, cannot be replaced.
    direct = target.exists() and not target.is_file()
    written = target if direct else target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    first = next(chunks, b"")  # an export that cannot begin leaves no trace
    try:
        with _file_errors(output), written.open("wb") as file:
            file.write(first)
            for chunk in chunks:
                file.write(chunk)
            if not direct:
                if target.exists():
                    os.fchmod(file.fileno(), target.stat().st_mode)
                file.flush()
                os.fsync(file.fileno())
        if not direct:
            with _file_errors(output):
                written.replace(target)
    except BaseException:
        if not direct:
            written.unlink(missing_ok=True)
        raise


@contextmanager
def _file_errors(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{output} cannot be written: {error.strerror or error}.") from error

"""Golden records: bytes and names that others depend on, so that no change alters them unnoticed.

The input is the newest database of `tests/data/schemas/`. `python tests/golden.py` writes the records anew, for a
change that is meant to alter them; the difference is reviewed like code.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from chatfeedback.cli import app
from chatfeedback.config.settings import Settings
from chatfeedback.store.schema import PROJECTIONS
from schemas import NEWEST
from users import NOBODY, house

FOLDER = Path(__file__).parent / "data" / "golden"
TABLES = ("events", "messages", "feedback")
FORMATS = {"csv": "csv", "spreadsheet": "spreadsheet.csv", "jsonl": "jsonl"}
"""The end of the name of a file, by its format."""


def records() -> dict[str, bytes]:
    """Return all records, by file name."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/chatfeedback.db"
        NEWEST.fill(url)
        _run(url, "db", "rebuild")
        exports = {name: _run(url, *arguments) for name, arguments in _commands()}
        with closing(sqlite3.connect(f"{folder}/chatfeedback.db")) as connection:
            tables = {"projections.jsonl": _projections(connection), "schema.sql": _schema(connection)}
        metrics = _lines(_metrics(f"sqlite:///{folder}/new.db"))
    names = {"settings.txt": _lines(_settings(Settings)), "commands.txt": _lines(_options()), "metrics.txt": metrics}
    return {**exports, **tables, **names}


def _commands() -> Iterator[tuple[str, list[str]]]:
    for table in TABLES:
        for format, suffix in FORMATS.items():
            yield f"{table}.{suffix}", ["export", table, "--format", format]
    yield "feedback.names.csv", ["export", "feedback", "--annotators", "names"]
    yield "stats.json", ["stats", "--format", "json"]


def _run(url: str, *arguments: str) -> bytes:
    """Return what a command writes to the standard output."""
    result = CliRunner().invoke(app, [*arguments, "--database-url", url], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


def _projections(connection: sqlite3.Connection) -> bytes:
    lines = []
    for table in PROJECTIONS:
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        order = ", ".join(column.name for column in table.primary_key)
        for row in connection.execute(f"SELECT {columns} FROM {table.name} ORDER BY {order}"):
            lines.append(json.dumps([table.name, dict(zip(table.columns.keys(), row, strict=True))]))
    return _lines(lines)


def _schema(connection: sqlite3.Connection) -> bytes:
    statements = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name")
    return _lines(f"{statement};" for (statement,) in statements)


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the name of each setting and its choices, nested settings after a dot."""
    for name, field in model.model_fields.items():
        yield " ".join([f"{prefix}{name}", *_choices(field.annotation)])
        for nested in _nested(field.annotation):
            yield from _settings(nested, f"{prefix}{name}.")


def _choices(annotation: Any) -> tuple[str, ...]:
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return tuple(annotation)
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _nested(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _nested(argument)


def _options() -> Iterator[str]:
    """Yield each command with an argument or the flags of an option, and what may be given."""
    root = typer.main.get_command(app)
    yield from _options_of(root, "chatfeedback")


def _options_of(command: Any, path: str) -> Iterator[str]:
    for parameter in command.params:
        choices = _choices(parameter.type_descriptor.annotation)
        yield " ".join([path, *parameter.opts, *parameter.secondary_opts, *choices])
    for name, child in getattr(command, "commands", {}).items():
        yield from _options_of(child, f"{path} {name}")


def _metrics(url: str) -> Iterator[str]:
    """Yield the name and the type of each metric of our own."""
    _run(url, "db", "upgrade")
    token = secrets.token_hex()
    with house(url, metrics_token=token) as (_application, people):
        text = people[NOBODY].get("/metrics", headers={"authorization": f"Bearer {token}"}).text
    for line in text.splitlines():
        if line.startswith("# TYPE chatfeedback_"):
            yield line.removeprefix("# TYPE ")


def _lines(lines: Any) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    for name, content in records().items():
        file = FOLDER / name
        if not file.exists() or file.read_bytes() != content:
            file.write_bytes(content)
            print(f"{file.name} was written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

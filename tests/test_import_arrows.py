"""Imports point inward and down, and what is heavy is loaded by those who use it.

web → service → store, inference → domain        access, analytics, export → store → domain
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import chatfeedback

pytestmark = pytest.mark.process

PACKAGE = Path(chatfeedback.__file__).parent

# What the modules of a room may import of ours, besides their own room and `errors`.
STORE = {"store", "domain"}
READERS = STORE | {"analytics.filters", "analytics.conditions"}
SERVICE = STORE | {"inference", "service", "replies", "running", "models", "limits", "waiting"}
SERVICE |= {"keeping", "orphans", "pace"}
ALLOWED: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "errors": set(),
    "domain": set(),
    "inference": {"domain"},
    "store": STORE,
    "limits": set(),
    "waiting": set(),
    "lasting": set(),
    "pace": set(),
    "models": SERVICE,
    "running": SERVICE,
    "keeping": SERVICE,
    "orphans": SERVICE,
    "replies": SERVICE,
    "service": SERVICE,
    "access": STORE,
    "analytics": READERS,
    "export": READERS,
    "web": SERVICE | {"access", "analytics", "export"},
    "web.catalogue": SERVICE | {"settings", "model_settings"},
    "web.door": SERVICE | {"access", "settings"},
    "web.server": SERVICE | {"access", "analytics", "export", "settings", "logs", "lasting"},
    "sources": set(),
    "setting_types": set(),
    "access_settings": {"setting_types"},
    "operation_settings": {"setting_types"},
    "model_settings": {"setting_types"},
    "logs": {"operation_settings"},
    "settings": {"sources", "setting_types", "access_settings", "model_settings", "operation_settings", "store.engine"},
    "cli": {
        "lasting",
        "web.server",
        "settings",
        "store.admin",
        "store.annotators",
        "store.backup",
        "store.erasure",
        "access.command",
        "access.links",
        "export.command",
        "analytics.command",
        "analytics.filters",
    },
}

# They hand an engine on.
WITH_ENGINE = {"web.server", "web.door", "web.downloads", "web.administration"}
# Which rooms may use a library at all.
LIBRARIES: dict[str, set[str]] = {
    "argon2": {"access"},
    "asgi_correlation_id": {"web", "logs"},
    "authlib": {"access"},
    "gradio": {"web"},
    "fastapi": {"web"},
    "filelock": {"store"},
    "jinja2": {"web"},
    "uvicorn": {"web"},
    "huggingface_hub": {"inference"},
    "tenacity": {"inference"},
    "xllamacpp": {"inference"},
    "typer": {"cli"},
    "rich": {"cli"},
    "joserfc": {"access"},
    "prometheus_client": {"web"},
    "pydantic": {
        "settings",
        "sources",
        "setting_types",
        "access_settings",
        "model_settings",
        "operation_settings",
        "access",
    },
    "pydantic_settings": {"settings", "sources"},
    "alembic": {"store"},
    "sqlalchemy": {"store", "access", "analytics", "export", *WITH_ENGINE},
    "psycopg": {"store", "analytics", "export"},
    "pandas": {"analytics", "web"},
}
HEAVY = {"gradio", "fastapi", "pandas", "numpy", "sqlalchemy", "alembic", "pydantic", "huggingface_hub", "xllamacpp"}
HEAVY |= {"authlib", "joserfc", "cryptography"}


def modules() -> dict[str, Path]:
    """Every module of the package by its name below it, `store.engine` for example."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] != "migrations":
            found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """Whatever is imported anywhere in the file, inside functions too; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def lies_in(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def most_specific(name: str) -> str:
    return max((room for room in ALLOWED if lies_in(name, room)), key=len)


@pytest.mark.parametrize("name", modules())
def test_a_module_imports_only_what_lies_inward(name: str) -> None:
    own = name.split(".")[0]
    allowed = {own, "errors", "__version__"} | ALLOWED[most_specific(name)]
    ours = {imported for imported in imports(modules()[name]) if lies_in(imported, "chatfeedback")}
    inner = {imported.removeprefix("chatfeedback.") for imported in ours} - {"chatfeedback"}
    assert {target for target in inner if not any(lies_in(target, room) for room in allowed)} == set()


@pytest.mark.parametrize("name", modules())
def test_a_library_is_used_only_in_its_rooms(name: str) -> None:
    used = {imported.split(".")[0] for imported in imports(modules()[name])}
    misplaced = {
        library for library in used & LIBRARIES.keys() if not any(lies_in(name, room) for room in LIBRARIES[library])
    }
    assert misplaced == set()


def test_the_domain_needs_hardly_more_than_the_standard_library() -> None:
    used = {imported for name, path in modules().items() if lies_in(name, "domain") for imported in imports(path)}
    outside = {name.split(".")[0] for name in used} - sys.stdlib_module_names
    # Ids and JSON, both without I/O: Python has UUIDv7 from 3.14 on, and orjson writes the same bytes faster.
    assert outside <= {"chatfeedback", "uuid_utils", "orjson"}


def loaded_by(statements: str) -> set[str]:
    code = f"import sys; {statements}; print(); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ended.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("statement", ["import chatfeedback", "import chatfeedback.cli"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert HEAVY & loaded_by(statement) == set()


@pytest.mark.parametrize("command", ["", "'serve', ", "'export', ", "'erase', ", "'db', 'check', "])
def test_help_loads_nothing_heavy(command: str) -> None:
    loaded = loaded_by(f"from chatfeedback.cli import app; app([{command}'--help'], standalone_mode=False)")
    # Typer itself parses the flags of a command with pydantic.
    assert HEAVY & loaded <= ({"pydantic"} if command else set())


def test_exporting_does_not_load_the_web() -> None:
    loaded = loaded_by("import chatfeedback.export.command, chatfeedback.analytics.command")
    assert {"gradio", "fastapi", "huggingface_hub", "xllamacpp"} & loaded == set()

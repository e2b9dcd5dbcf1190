"""Imports: heavy libraries are loaded only where they are needed.

import-linter checks which module imports which (pyproject.toml).
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import chatfeedback

pytestmark = pytest.mark.process

DOMAIN = Path(chatfeedback.__file__).parent / "domain"
HEAVY = {"gradio", "fastapi", "pandas", "numpy", "sqlalchemy", "alembic", "pydantic", "huggingface_hub", "xllamacpp"}
HEAVY |= {"authlib", "joserfc", "cryptography"}


def test_domain_imports_hardly_more_than_standard_library() -> None:
    used = set()
    for path in DOMAIN.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                used.add(str(node.module))
    outside = {name.split(".")[0] for name in used} - sys.stdlib_module_names
    # Ids and JSON, both without I/O: Python has UUIDv7 from 3.14 on, and orjson writes the same bytes faster.
    assert outside == {"chatfeedback", "uuid_utils", "orjson"}


def loaded_by(statements: str) -> set[str]:
    code = f"import sys; {statements}; print(); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ended.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("statement", ["import chatfeedback", "import chatfeedback.cli"])
def test_import_loads_nothing_heavy(statement: str) -> None:
    assert HEAVY & loaded_by(statement) == set()


@pytest.mark.parametrize("command", ["", "'serve', ", "'export', ", "'erase', ", "'db', 'check', "])
def test_help_loads_nothing_heavy(command: str) -> None:
    loaded = loaded_by(f"from chatfeedback.cli import app; app([{command}'--help'], standalone_mode=False)")
    # Typer itself parses the flags of a command with pydantic.
    assert HEAVY & loaded <= ({"pydantic"} if command else set())


def test_export_does_not_load_web_libraries() -> None:
    loaded = loaded_by("import chatfeedback.export.to_file, chatfeedback.analytics.stats")
    assert {"gradio", "fastapi", "huggingface_hub", "xllamacpp"} & loaded == set()

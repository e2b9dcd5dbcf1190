"""The wheel is whole: it works outside the checkout, without a compiler, and brings its migrations."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from chatfeedback import __version__

ROOT = Path(__file__).parent.parent
UV = os.environ.get("UV", "uv")


def run(*command: str | Path, folder: Path) -> str:
    """What `command` prints, run in `folder` with nothing of this checkout or its environment in reach."""
    reachable = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    compilers = {"CC": "/bin/false", "CXX": "/bin/false"}
    ended = subprocess.run(command, cwd=folder, env=reachable | compilers, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--wheel", "--out-dir", folder, ROOT, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"chatfeedback", f"chatfeedback-{__version__}.dist-info"}
    migrations = [f"chatfeedback/{path.relative_to(ROOT)}" for path in (ROOT / "migrations").rglob("*.py")]
    assert migrations
    assert {*migrations, "chatfeedback/py.typed", f"chatfeedback-{__version__}.dist-info/licenses/LICENSE"} <= set(
        names
    )
    assert not [name for name in names if "__pycache__" in name or name.endswith(".db")]


def test_an_installed_wheel_makes_and_checks_a_database(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    run(UV, "venv", "--python", sys.executable, environment, folder=tmp_path)
    run(UV, "pip", "install", "--python", environment, wheel, folder=tmp_path)
    command = environment / ("Scripts" if os.name == "nt" else "bin") / "chatfeedback"
    url = f"sqlite:///{tmp_path}/wheel.db"

    assert run(command, "--version", folder=tmp_path) == f"chatfeedback {__version__}\n"
    assert "→" in run(command, "db", "upgrade", "--database-url", url, folder=tmp_path)
    assert run(command, "db", "check", "--database-url", url, folder=tmp_path) == "The database is as it should be.\n"

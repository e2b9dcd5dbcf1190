"""The wheel is whole: it works outside the checkout, without a compiler, and brings its migrations."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest

from chatfeedback import __version__

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent
UV = os.environ.get("UV", "uv")


def run(*command: str | Path, folder: Path) -> str:
    """Run `command` in `folder`, without this checkout and its environment in reach; return what it prints."""
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


def test_wheel_holds_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"chatfeedback", f"chatfeedback-{__version__}.dist-info"}
    migrations = [f"chatfeedback/{path.relative_to(ROOT)}" for path in (ROOT / "migrations").rglob("*.py")]
    assert migrations
    assert {*migrations, "chatfeedback/py.typed", f"chatfeedback-{__version__}.dist-info/licenses/LICENSE"} <= set(
        names
    )
    assert not [name for name in names if "__pycache__" in name or name.endswith(".db")]


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program, installed from the wheel into an environment of its own."""
    folder = tmp_path_factory.mktemp("installed")
    environment = folder / "environment"
    run(UV, "venv", "--python", sys.executable, environment, folder=folder)
    run(UV, "pip", "install", "--python", environment, wheel, folder=folder)
    return environment / ("Scripts" if os.name == "nt" else "bin") / "chatfeedback"


def test_installed_wheel_creates_and_checks_database(command: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/wheel.db"
    assert run(command, "--version", folder=tmp_path) == f"chatfeedback {__version__}\n"
    assert "→" in run(command, "db", "upgrade", "--database-url", url, folder=tmp_path)
    assert run(command, "db", "check", "--database-url", url, folder=tmp_path) == "The database is as it should be.\n"


def test_installed_wheel_serves_page(command: Path, tmp_path: Path) -> None:
    arguments = ["serve", "--port", "0", "--no-open", "--model", "any", "--base-url", "http://127.0.0.1:9/v1"]
    serving = subprocess.Popen([command, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert serving.stdout is not None
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+/", serving.stdout.readline())
        with urlopen(f"{address}healthz", timeout=60) as answer:
            assert json.load(answer) == {"status": "alive"}
        with urlopen(address, timeout=60) as page:
            assert b"Nothing is ever lost" in page.read(), "what the package brings along is on the page"
    finally:
        serving.terminate()
        serving.communicate(timeout=30)

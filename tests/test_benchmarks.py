"""Benchmarks: each runs, at a size at which its figures mean nothing, and prints its figures as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nginx
from benchmarks.run import ALL, replace_rows, rows

ROOT = Path(__file__).parents[1]
MILLIONS = ("growth", "analytics", "export_memory")
FILES = {path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")} - {"run"}


def test_benchmark_command_runs_every_benchmark() -> None:
    assert sorted(ALL) == sorted(FILES)


def run(name: str, *options: str) -> tuple[dict[str, Any], str]:
    """Run a benchmark; return its JSON and its text for people."""
    if name == "replicas":
        nginx.wanted()
    command = [sys.executable, "-m", f"benchmarks.{name}", *options, "--json", "-"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["benchmark"] == name and result["figures"]
    return result, done.stderr


@pytest.mark.process
@pytest.mark.parametrize("name", ALL)
def test_benchmark_runs_and_prints_its_figures_as_json(name: str) -> None:
    result, output = run(name, "--quick")
    assert result["quick"] is True
    for figure in result["figures"]:
        assert figure["value"] > 0 and figure["baseline"] > 0
        assert figure["ratio"] == pytest.approx(figure["value"] / figure["baseline"])
        assert figure["name"] in output
    for row, figure in zip(rows([result]), result["figures"], strict=True):
        assert row.startswith(f"| {name} | {figure['name']} | ")


def test_replace_rows_writes_one_benchmark_and_keeps_rows_of_others_in_order() -> None:
    page = "# Figures\n\n<!-- figures -->\n<!-- end of figures -->\n\nSome targets are missed.\n"
    for name, row in {"page": "| page | old |", "record": "| record | a |"}.items():
        page = replace_rows(page, name, [row])
    page = replace_rows(page, "page", ["| page | new |", "| page | another |"])
    head, order = page.split("<!-- figures -->\n\n")[0], [line for line in page.splitlines() if line.startswith("| ")]
    assert head == "# Figures\n\n"
    assert order[1:] == ["| record | a |", "| page | new |", "| page | another |"]
    assert page.endswith("\n\n<!-- end of figures -->\n\nSome targets are missed.\n")


@pytest.mark.long
@pytest.mark.process
@pytest.mark.parametrize("name", MILLIONS)
def test_benchmark_of_millions_of_rows_runs_at_its_full_size(name: str) -> None:
    result, _said = run(name)
    assert result["quick"] is False


@pytest.mark.process
def test_benchmark_fails_when_its_premise_is_broken() -> None:
    """`opening` measures a store without a cache; here it is given one."""
    program = """
from functools import partial
from benchmarks import opening
from benchmarks._measure import command
command("", partial(opening.measure, cached_conversations=1))
"""
    result = subprocess.run(
        [sys.executable, "-c", program, "--quick", "--json", "-"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == "A premise of this benchmark does not hold: the conversation comes from a cache.\n"

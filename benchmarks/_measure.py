"""Common parts of all benchmarks: taking turns, figures as ratios to a baseline, and the command line.

A benchmark is a module with a function `measure(run)` that returns figures. Subject and baseline always take turns
within one run, so that other load on the machine affects both alike; figures are medians.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """Options of a run: its sizes, and the folders of its files."""

    quick: bool
    """Only check that it works: sizes so small that the figures mean nothing."""
    folder: Path
    """Temporary folder: empty, and removed at the end."""
    data: Path
    """Folder of large databases, which are reused or generated."""
    rounds: int | None = None
    """Number of turns from the command line, if given."""
    levels: tuple[int, ...] = ()
    """Numbers of concurrent chats from the command line, if given."""

    def size(self, full: int, quick: int) -> int:
        """Return the full size, or the quick one in a quick run."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Figure:
    """Measured value beside its baseline, in one unit, and the target of their ratio."""

    name: str
    value: float
    unit: str
    baseline: float
    baseline_name: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def ratio(self) -> float:
        """The value, divided by the baseline."""
        return self.value / self.baseline

    @property
    def target(self) -> str:
        """The target as text, – without one."""
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return f"≥ {self.at_least:g}" if self.at_least is not None else "–"

    @property
    def met(self) -> bool:
        """True if the ratio meets the target."""
        return (self.at_most is None or self.ratio <= self.at_most) and (
            self.at_least is None or self.ratio >= self.at_least
        )

    def line(self) -> str:
        """Return the figure as a line of text."""
        verdict = "" if self.target == "–" else f"; target {self.target}: {'met' if self.met else 'MISSED'}"
        return (
            f"{self.name}: {self.value:.4g} {self.unit} = {self.ratio:.2f} x {self.baseline_name}"
            f" ({self.baseline:.4g} {self.unit}){verdict}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the figure as JSON values."""
        return {**asdict(self), "ratio": self.ratio, "target": self.target, "met": self.met}


Action = Callable[[], object]


def take_turns(actions: Mapping[str, Action], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each call of each action; every round runs each action once."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            started = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def medians(actions: Mapping[str, Action], rounds: int) -> dict[str, float]:
    """Return the median seconds of each action, after a warm-up of a tenth of the rounds."""
    take_turns(actions, warm_up(rounds))
    return {name: statistics.median(seconds) for name, seconds in take_turns(actions, rounds).items()}


def warm_up(rounds: int) -> int:
    """Return the warm-up runs of `medians` for each action: a tenth of the rounds."""
    return rounds // 10


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies (nearest rank)."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def paired(
    name: str, values: Sequence[float], unit: str, baselines: Sequence[float], baseline_name: str, **target: float
) -> Figure:
    """Return the medians of runs that took turns with their baseline.

    The name of the figure includes the number of runs and the interval of their median ratio.
    """
    low, high = median_interval([value / baseline for value, baseline in zip(values, baselines, strict=True)])
    described = f"{name} ({len(values)} runs, ratio {low:.2f} to {high:.2f})"
    return Figure(described, statistics.median(values), unit, statistics.median(baselines), baseline_name, **target)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of the median (order statistics; at least 6 values).

    With fewer values there is no such interval: then the smallest and the largest.
    """
    ordered, count = sorted(values), len(values)
    beyond, outside = 0, 0.5**count
    while outside + math.comb(count, beyond + 1) * 0.5**count <= 0.025:
        beyond += 1
        outside += math.comb(count, beyond) * 0.5**count
    return ordered[beyond], ordered[-1 - beyond]


def machine() -> dict[str, Any]:
    """Describe the machine in general terms."""
    return {
        "system": platform.system(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def command(module_doc: str, measure: Callable[[Run], list[Figure]]) -> None:
    """Run the command line of a benchmark."""
    parser = argparse.ArgumentParser(description=module_doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only see that it works; the figures mean nothing")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON to this file, - for stdout")
    parser.add_argument("--data", metavar="FOLDER", type=Path, help="keep the large databases here for the next run")
    parser.add_argument("--rounds", metavar="N", type=int, help="where servers take turns: how often")
    parser.add_argument("--levels", metavar="N", type=int, nargs="+", default=(), help="of load: how many chats")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chatfeedback-benchmark-") as folder, redirect_stdout(sys.stderr):
        data = options.data or Path(folder)
        data.mkdir(parents=True, exist_ok=True)
        figures = measure(Run(options.quick, Path(folder), data, options.rounds, tuple(options.levels)))
    for figure in figures:
        print(figure.line(), file=sys.stderr if options.json == "-" else sys.stdout)
    result = {
        "benchmark": Path(sys.argv[0]).stem,
        "quick": options.quick,
        "machine": machine(),
        "figures": [figure.as_json() for figure in figures],
    }
    if options.json:
        text = json.dumps(result, ensure_ascii=False, indent=2) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            Path(options.json).write_text(text, encoding="utf-8")

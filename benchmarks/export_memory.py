"""The peak memory of a CSV export, and its time.

Each export runs in a process of its own, which reports its peak resident memory (from /proc: this needs Linux); ten
times as many rows must not take more. For the time, sqlite3's own command line writes the columns of the log as CSV,
where it is installed; and a program of the usual kind, `csv.writer` over a cursor of sqlite3.

    uv run python -m benchmarks.export_memory
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks._measure import Figure, Run, command, medians
from benchmarks._stores import populated, url_of
from chatfeedback.export.kinds import KINDS

FEW, MANY = 100_000, 1_000_000
# VmHWM and not ru_maxrss, which on Linux begins with what the parent process had in memory.
_EXPORT = """
import re, sys
from pathlib import Path
from chatfeedback.analytics.filters import Filters
from chatfeedback.export.command import run

url, kind, output = sys.argv[1:]
run(url, kind, "csv", Path(output), Filters())
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""
_WRITER = """
import csv, sqlite3, sys

with open(sys.argv[2], "w", newline="") as file:
    csv.writer(file).writerows(sqlite3.connect(sys.argv[1]).execute("SELECT * FROM events ORDER BY position"))
"""


def measure(run: Run) -> list[Figure]:
    few, many = run.size(FEW, 1_000), run.size(MANY, 5_000)
    small, large = populated(run.data, few), populated(run.data, many)
    figures = [
        Figure(
            f"Peak memory of a CSV of {kind}, {many:,} events",
            _peak_kibibytes(large, kind) / 1024,
            "MiB",
            _peak_kibibytes(small, kind) / 1024,
            f"{few:,} events",
            at_most=1.2,
        )
        for kind in KINDS
    ]
    shell = shutil.which("sqlite3")
    actions: dict[str, Callable[[], object]] = {
        "export": lambda: _peak_kibibytes(large, "events"),
        "csv.writer": lambda: subprocess.run([sys.executable, "-c", _WRITER, large, os.devnull], check=True),
    }
    if shell:
        query = "SELECT * FROM events ORDER BY position"
        actions["the sqlite3 command line"] = lambda: subprocess.run(
            [shell, "-csv", "-header", large, query], check=True, stdout=subprocess.DEVNULL
        )
    seconds = medians(actions, rounds=run.size(3, 1))
    export = seconds.pop("export")
    return figures + [
        Figure(f"Time of a CSV of {many:,} events", export, "s", taken, name) for name, taken in seconds.items()
    ]


def _peak_kibibytes(database: Path, kind: str) -> int:
    arguments = [sys.executable, "-c", _EXPORT, url_of(database), kind, os.devnull]
    return int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    command(__doc__, measure)

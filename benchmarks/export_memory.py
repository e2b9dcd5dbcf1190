"""Peak memory and duration of a CSV export.

Each export runs in a separate process, which reports its peak resident memory (from /proc: this needs Linux). Ten times
as many rows must not take more memory. Baselines of the duration: sqlite3's own command line, if it is installed, which
writes the columns of the log as CSV; and a typical program, `csv.writer` over a cursor of sqlite3. The benchmark fails
unless each of them writes every row; the rows are counted in files, and the time is measured without files.

    uv run python -m benchmarks.export_memory
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from benchmarks._measure import Figure, Run, command, medians
from benchmarks._premises import require_equal
from benchmarks._stores import open_raw, populated, url_of
from chatfeedback.export.registry import DATASETS

FEW, MANY = 100_000, 1_000_000
TABLES = {"events": "events", "messages": "messages", "feedback": "ratings"}
"""By dataset, the table with as many rows."""
Program = Callable[[Path], object]
"""Function that writes the events to a file."""
# VmHWM, not ru_maxrss: on Linux that starts with the memory of the parent process.
_EXPORT = """
import re, sys
from pathlib import Path
from chatfeedback.query.filters import Filters
from chatfeedback.export.to_file import run

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
    """Measure the peak memory of each dataset, and the duration of an export of events."""
    few, many = run.size(FEW, 1_000), run.size(MANY, 5_000)
    small, large = populated(run.data, few), populated(run.data, many)
    output = run.folder / "export.csv"
    figures = [
        Figure(
            f"Peak memory of a CSV of {kind}, {many:,} events",
            _checked_peak(large, kind, output) / 1024,
            "MiB",
            _checked_peak(small, kind, output) / 1024,
            f"{few:,} events",
            at_most=1.2,
        )
        for kind in DATASETS
    ]
    programs: dict[str, Program] = {
        "export": lambda target: _peak_kibibytes(large, "events", target),
        "csv.writer": lambda target: subprocess.run([sys.executable, "-c", _WRITER, large, target], check=True),
    }
    if shell := shutil.which("sqlite3"):
        programs["the sqlite3 command line"] = lambda target: _shell(shell, large, target)
    for name, program in programs.items():
        program(output)
        header = 0 if name == "csv.writer" else 1
        require_equal(f"the rows that {name} writes", _records(output) - header, _stored(large, "events"))
    actions = {name: lambda program=program: program(Path(os.devnull)) for name, program in programs.items()}
    seconds = medians(actions, rounds=run.size(3, 1))
    export = seconds.pop("export")
    return figures + [
        Figure(f"Time of a CSV of {many:,} events", export, "s", baseline, name) for name, baseline in seconds.items()
    ]


def _checked_peak(database: Path, kind: str, output: Path) -> int:
    """Return the peak memory of an export in KiB. Ends the benchmark unless it has written all rows."""
    peak = _peak_kibibytes(database, kind, output)
    require_equal(f"the rows of an export of {kind}", _records(output) - 1, _stored(database, kind))
    return peak


def _peak_kibibytes(database: Path, kind: str, output: Path) -> int:
    arguments = [sys.executable, "-c", _EXPORT, url_of(database), kind, str(output)]
    return int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def _shell(shell: str, database: Path, output: Path) -> None:
    query = "SELECT * FROM events ORDER BY position"
    with output.open("wb") as file:
        subprocess.run([shell, "-csv", "-header", database, query], check=True, stdout=file)


def _records(file: Path) -> int:
    """Return the number of rows of a CSV file, including the header."""
    with file.open(newline="", encoding="utf-8") as text:
        return sum(1 for _ in csv.reader(text))


def _stored(database: Path, kind: str) -> int:
    with closing(open_raw(database)) as raw:
        return int(raw.execute(f"SELECT count(*) FROM {TABLES[kind]}").fetchone()[0])


if __name__ == "__main__":
    command(__doc__, measure)

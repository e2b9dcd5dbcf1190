"""Runs all benchmarks, one after the other, and prints their figures as a table in Markdown.

uv run python -m benchmarks.run            # to look at
uv run python -m benchmarks.run --write    # into docs/performance.md
uv run python -m benchmarks.run record writers
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
ALL = (
    "record", "writers", "growth", "opening", "analytics", "export_memory", "page", "help", "authorisation",
    "history", "load", "replicas",
)  # fmt: skip
_BEGIN, _END = "<!-- figures -->\n", "<!-- end of figures -->\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmarks", nargs="*", metavar="BENCHMARK", help=f"some of: {', '.join(ALL)}")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--quick", action="store_true", help="only see that they work; the figures mean nothing")
    parser.add_argument("--data", metavar="FOLDER", type=Path, help="keep the large databases here for the next run")
    options = parser.parse_args()
    if unknown := set(options.benchmarks) - set(ALL):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    if options.write and (options.quick or options.benchmarks):
        parser.error("only a full run of all benchmarks is written down")
    with tempfile.TemporaryDirectory(prefix="chatfeedback-benchmarks-") as folder:
        data = options.data or Path(folder)
        more = ["--quick"] * options.quick
        results = [_run(name, data, Path(folder), more) for name in options.benchmarks or ALL]
    found = table(results)
    print(found, end="")
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
        PAGE.write_text(f"{before}{_BEGIN}\n{found}\n{_END}{rest.partition(_END)[2]}", encoding="utf-8")


def _run(name: str, data: Path, folder: Path, more: list[str]) -> dict[str, Any]:
    print(f"{name} …", file=sys.stderr, flush=True)
    output = folder / f"{name}.json"
    arguments = ["--json", str(output), "--data", str(data), *more]
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=True, stdout=sys.stderr)
    return dict(json.loads(output.read_text(encoding="utf-8")))


def table(results: list[dict[str, Any]]) -> str:
    """The figures of these results, a row each."""
    rows = ["| benchmark | what | figure | beside | ratio | target |", "|---|---|---:|---|---:|---|"]
    for result in results:
        for figure in result["figures"]:
            verdict = "" if figure["target"] == "–" or figure["met"] else " **missed**"
            beside = f"{figure['baseline_name']}: {_amount(figure['baseline'], figure['unit'])}"
            cells = (
                result["benchmark"],
                figure["name"],
                _amount(figure["value"], figure["unit"]),
                beside,
                f"{figure['ratio']:.2f}",
                figure["target"] + verdict,
            )
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _amount(value: float, unit: str) -> str:
    # Three digits that count; whole numbers stay whole.
    text = f"{value:,.0f}" if value >= 100 else re.sub(r"\.0+$", "", f"{value:.3g}")
    return f"{text} {unit}"


if __name__ == "__main__":
    main()

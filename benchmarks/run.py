"""Run all benchmarks, one after the other, and print their figures as rows of a Markdown table.

uv run python -m benchmarks.run            # print only
uv run python -m benchmarks.run --write    # write into docs/performance.md
uv run python -m benchmarks.run record writers --write    # only these; the rows of the others stay
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
ALL = (
    "record", "writers", "growth", "opening", "drawing", "analytics", "export_memory", "page", "help", "authorisation",
    "history", "fast_streams", "sign_ins", "load", "replicas",
)  # fmt: skip
_HEAD = ("| benchmark | what | figure | beside | ratio | target |", "|---|---|---:|---|---:|---|")
_BEGIN, _END = "<!-- figures -->\n", "<!-- end of figures -->\n"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmarks", nargs="*", metavar="BENCHMARK", help=f"some of: {', '.join(ALL)}")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--quick", action="store_true", help="only see that they work; the figures mean nothing")
    parser.add_argument("--data", metavar="FOLDER", type=Path, help="keep the large databases here for the next run")
    parser.add_argument("--rounds", metavar="N", help="where servers take turns: how often")
    options = parser.parse_args()
    if unknown := set(options.benchmarks) - set(ALL):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    if options.write and options.quick:
        parser.error("the figures of --quick mean nothing: leave out --write")
    with tempfile.TemporaryDirectory(prefix="chatfeedback-benchmarks-") as folder:
        data = options.data or Path(folder)
        more = ["--quick"] * options.quick + (["--rounds", options.rounds] if options.rounds else [])
        for name in options.benchmarks or ALL:
            new_rows = rows([_run(name, data, Path(folder), more)])
            print(*new_rows, sep="\n", flush=True)
            if options.write:
                PAGE.write_text(replace_rows(PAGE.read_text(encoding="utf-8"), name, new_rows), encoding="utf-8")


def replace_rows(page: str, name: str, new_rows: list[str]) -> str:
    """Return the page with these rows in place of those of a benchmark."""
    before, _, rest = page.partition(_BEGIN)
    table, _, after = rest.partition(_END)
    by_benchmark = {known: [row for row in table.splitlines() if row.startswith(f"| {known} |")] for known in ALL}
    by_benchmark[name] = new_rows
    new_table = "\n".join([*_HEAD, *chain.from_iterable(by_benchmark.values())])
    return f"{before}{_BEGIN}\n{new_table}\n\n{_END}{after}"


def _run(name: str, data: Path, folder: Path, more: list[str]) -> dict[str, Any]:
    print(f"{name} …", file=sys.stderr, flush=True)
    output = folder / f"{name}.json"
    arguments = ["--json", str(output), "--data", str(data), *more]
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=True, stdout=sys.stderr)
    return dict(json.loads(output.read_text(encoding="utf-8")))


def rows(results: list[dict[str, Any]]) -> list[str]:
    """Return the figures of these results as rows of the table."""
    table_rows = []
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
            table_rows.append(f"| {' | '.join(cells)} |")
    return table_rows


def _amount(value: float, unit: str) -> str:
    # Three significant digits; whole numbers stay whole.
    text = f"{value:,.0f}" if value >= 100 else re.sub(r"\.0+$", "", f"{value:.3g}")
    return f"{text} {unit}"


if __name__ == "__main__":
    main()

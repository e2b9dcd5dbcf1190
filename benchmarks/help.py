"""Startup of the command line: `chatfeedback --help`, beside a Typer program of one command.

Both run in a separate process and print their help. The benchmark fails if such a process loads gradio, pandas or
sqlalchemy, which the command line must import late.

    uv run python -m benchmarks.help
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from benchmarks._measure import Figure, Run, command, medians
from benchmarks._premises import require

BASELINE = "a one-command Typer program"
_PROGRAM = """
import typer

app = typer.Typer(add_completion=False)


@app.command()
def hello(name: str = "you") -> None:
    print(f"Hello {name}")


app()
"""
_LOADED = """
import sys
from chatfeedback.cli import app
app(["--help"], standalone_mode=False)
print(*sorted({"gradio", "pandas", "sqlalchemy"} & sys.modules.keys()), file=sys.stderr, end="")
"""


def measure(run: Run) -> list[Figure]:
    """Measure the time to print the help."""
    loaded = subprocess.run([sys.executable, "-c", _LOADED], check=True, capture_output=True, text=True).stderr
    require(not loaded, f"chatfeedback --help loads {loaded}")
    program = run.folder / "hello.py"
    program.write_text(_PROGRAM)
    seconds = medians(
        {"chatfeedback": _help("-m", "chatfeedback"), "bare": _help(str(program))}, rounds=run.size(20, 2)
    )
    return [
        Figure("chatfeedback --help", seconds["chatfeedback"] * 1000, "ms", seconds["bare"] * 1000, BASELINE, at_most=2)
    ]


def _help(*program: str) -> Callable[[], object]:
    arguments = [sys.executable, *program, "--help"]

    def print_help() -> None:
        output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
        require("Usage:" in output and "--help" in output, f"{' '.join(program)} prints no help")

    return print_help


if __name__ == "__main__":
    command(__doc__, measure)

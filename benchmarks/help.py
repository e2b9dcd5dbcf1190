"""`chatfeedback --help`, beside a Typer program of one command: whether the command line imports late.

Both start in a process of their own. That neither gradio nor pandas nor sqlalchemy is loaded is asserted.

    uv run python -m benchmarks.help
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from benchmarks._measure import Figure, Run, command, medians

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
    loaded = subprocess.run([sys.executable, "-c", _LOADED], check=True, capture_output=True, text=True).stderr
    if loaded:
        raise SystemExit(f"chatfeedback --help loads {loaded}")
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
    return lambda: subprocess.run(arguments, check=True, capture_output=True)


if __name__ == "__main__":
    command(__doc__, measure)

"""The command: parse the arguments, execute a run, and report its outcome."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import subprocess
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import clusters
import torture
from torture.ledger import Ledger
from torture.model import talking
from torture.run import Plan, Run, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute the run that the arguments describe; return 1 if something is lost or wrong, else 0."""
    for name in [name for name in os.environ if name.upper().startswith("CHATFEEDBACK_")]:
        del os.environ[name]  # the application is to be set up by its file alone
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=torture.__doc__)
    parser.add_argument("--kills", type=int, default=10, help="how often something is killed; by default 10")
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite", help="by default sqlite")
    parser.add_argument("--annotators", type=int, default=8, help="how many work at the same time; by default 8")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of all that is random; by default a new one")
    parser.add_argument("--fresh", action="store_true", help="start the command `chatfeedback serve` each time; slower")
    options = parser.parse_args(arguments)
    return made(Plan(options.kills, options.database, options.seed, annotators=options.annotators, fresh=options.fresh))


def made(plan: Plan, ledger: Ledger | None = None) -> int:
    """Execute a run and report it; return 0 if nothing is lost or wrong, else 1, and then keep the files."""
    folder = Path(tempfile.mkdtemp(prefix="chatfeedback-torture-"))
    say(f"seed {plan.seed}, {plan.database}, in {folder}")
    database = clusters.running(clusters.newest()) if plan.database == "postgres" else nullcontext()
    with database as cluster, talking() as model:
        run = Run(plan, folder, cluster, model, ledger or Ledger())
        problems: list[str] = []
        try:
            problems = asyncio.run(run.go())
        except* Exception as group:  # noqa: BLE001 - every end of a run is reported with its seed and its folder
            traceback.print_exception(group)
            problems = [f"{type(error).__name__}: {error}" for error in group.exceptions]
        if problems and cluster:
            dump = [clusters.newest() / "pg_dump", f"--file={folder / 'chatfeedback.sql'}", cluster.url(run.database)]
            subprocess.run([*dump[:-1], str(dump[-1]).replace("+psycopg", "")], check=True)
    conclude(run, problems, folder)
    return 1 if problems else 0


def conclude(run: Run, problems: list[str], folder: Path) -> None:
    """Print the outcome, the figures last."""
    ledger, checks = run.ledger, run.checks
    kinds = Counter(deed[0] for deed in ledger.acknowledged.elements())
    say(f"refused: {dict(ledger.refusals.most_common())}")
    say(f"tracebacks in the log of the application: {run.server.log.read_text(errors='replace').count('Traceback')}")
    for problem in problems:
        print(problem)
    if problems:
        print(f"seed {run.plan.seed}; the files are in {folder}")
    else:
        shutil.rmtree(folder)
    print("acknowledged: " + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())))
    print(f"replies of killed processes: {len(checks.orphans)}, conversations: {len(checks.known)}")
    print(f"kills of the application {run.killed['app']}, of the database server {run.killed['server']}")
    acknowledged, logged = ledger.acknowledged.total(), ledger.found(checks.logged)
    print(
        f"kills {run.killed.total()}, acknowledged {acknowledged}, found {logged}, lost {acknowledged - logged}",
        flush=True,
    )

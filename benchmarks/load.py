"""Cost of recording under load: chats on SQLite and on Postgres, beside the same application without recording.

A level is a number of chats. Each is a page with a prompt, sent one after the other over 2.5 seconds, and a reply of 50
tokens at 20 tokens a second, read to its end over Gradio's own protocol. The three servers take turns at each level, in
an order that changes with the round. Each round starts them anew on new databases; servers are frozen between their
turns. All have the same pages, handlers, flush, access middleware and history; the baseline keeps its conversations in
memory (`_unrecorded`). Server, model and driver are separate processes, as are those of Postgres.

Chats per second: the number of chats, divided by the time from the first prompt to the end of the last reply. Time to
first token: from the call that sends the prompt to the first message with text of the reply. The benchmark fails unless
afterwards every reply is complete in the log, and the log of the baseline is empty.

    uv run python -m benchmarks.load
    uv run python -m benchmarks.load --rounds 2 --levels 10 50
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from benchmarks._chats import open_pages
from benchmarks._load import NOT_RECORDING, NOTHING, RECORDING, ROUNDS, Arm, Results, figures, settings_for, take_turns
from benchmarks._measure import Figure, Run, command
from benchmarks._servers import Server, serving, serving_all
from benchmarks._stores import url_of
from chatfeedback.domain.types import new_id
from tests import clusters
from tests.gradio_pages import Page, Site

SQLITE, POSTGRES = "SQLite", "Postgres"
LEVELS = (10, 50, 100, 200)


def measure(run: Run) -> list[Figure]:
    """Measure each level on each database, beside the baseline."""
    levels = run.levels or ((2,) if run.quick else LEVELS)
    recorded = (SQLITE,) if run.quick else (SQLITE, POSTGRES)
    results: Results = {(name, level): [] for name in (*recorded, NOTHING) for level in levels}
    with ExitStack() as running:
        model = running.enter_context(serving("benchmarks._model", "PORT"))
        create = {SQLITE: _new_file(run.folder), NOTHING: _new_file(run.folder)}
        if POSTGRES in recorded:
            cluster = running.enter_context(clusters.running(clusters.newest()))
            create[POSTGRES] = lambda: cluster.url(cluster.create_database())
        serve = ("serve", "--port", "PORT", "--no-open", "--migrate", "--config", str(settings_for(run, model)))
        for number in range(run.rounds or run.size(ROUNDS, 1)):
            databases = {name: create[name]() for name in (*recorded, NOTHING)}
            programs = {name: NOT_RECORDING if name == NOTHING else RECORDING for name in databases}
            commands = [(programs[name], *serve, "--database-url", url) for name, url in databases.items()]
            with serving_all(commands) as servers:
                arms = [
                    Arm(name, [server], databases[name], name != NOTHING, partial(_pages, server))
                    for name, server in zip(databases, servers, strict=True)
                ]
                take_turns(run, number, arms, model, results)
    return [figure for name in recorded for level in levels for figure in figures(results, name, level)]


def _new_file(folder: Path) -> Callable[[], str]:
    return lambda: url_of(folder / f"load-{new_id()}.db")


@asynccontextmanager
async def _pages(server: Server, count: int) -> AsyncIterator[list[Page]]:
    """Open pages of the local user."""
    async with Site(server.address) as site:
        yield await open_pages([site] * count)


if __name__ == "__main__":
    command(__doc__, measure)

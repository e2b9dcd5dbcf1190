"""What recording costs under load: chats on SQLite and on Postgres beside the same application that records nothing.

A level is a number of chats: pages with a prompt each, sent one after the other over 2.5 seconds, and a reply of 50
tokens at 20 tokens a second, read to its end over Gradio's own protocol. The three servers take turns at each level,
in an order that changes with the round; each round starts them anew, on new databases, and whoever's turn it is not
is frozen. All have the same pages, handlers, flush, gate and history; the baseline keeps its conversations in memory
(`_unrecorded`). Server, model and driver are three processes, and Postgres has some of its own.

Chats per second: all of them, over the time from the first prompt to the end of the last reply. Time to first token:
from the call that sends the prompt to the first message that carries text of the reply. Afterwards every reply is in
the log whole, and nothing in the baseline's, or the benchmark fails.

    uv run python -m benchmarks.load
    uv run python -m benchmarks.load --rounds 2 --levels 10 50
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from benchmarks._chats import opened
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
    levels = run.levels or ((2,) if run.quick else LEVELS)
    recorded = (SQLITE,) if run.quick else (SQLITE, POSTGRES)
    results: Results = {(name, level): [] for name in (*recorded, NOTHING) for level in levels}
    with ExitStack() as running:
        model = running.enter_context(serving("benchmarks._model", "PORT"))
        make = {SQLITE: _new_file(run.folder), NOTHING: _new_file(run.folder)}
        if POSTGRES in recorded:
            cluster = running.enter_context(clusters.running(clusters.newest()))
            make[POSTGRES] = lambda: cluster.url(cluster.create_database())
        serve = ("serve", "--port", "PORT", "--no-open", "--migrate", "--config", str(settings_for(run, model)))
        for number in range(run.rounds or run.size(ROUNDS, 1)):
            databases = {name: make[name]() for name in (*recorded, NOTHING)}
            programs = {name: NOT_RECORDING if name == NOTHING else RECORDING for name in databases}
            each = [(programs[name], *serve, "--database-url", url) for name, url in databases.items()]
            with serving_all(each) as servers:
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
    """Of the one person that there is without sign-in."""
    async with Site(server.address) as site:
        yield await opened([site] * count)


if __name__ == "__main__":
    command(__doc__, measure)

"""Cost of recording under load with two replicas that share one Postgres behind nginx.

The chats of `load`, but each by a different signed-in user: nginx, configured as in `deploy/`, sends each user to one
replica. Subject: two replicas that record. Baselines: two replicas of the same application without recording, behind
their own nginx; and one replica that records, without nginx. They take turns as in `load`. The two replicas share the
cores with nginx, Postgres, the model and the driver, so the second replica has only the rest of the CPU time. The
benchmark fails under the conditions of `load`, and unless every chat belongs to a different user and nginx has used
both replicas.

    uv run python -m benchmarks.replicas
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from benchmarks._chats import open_pages
from benchmarks._load import NOT_RECORDING, NOTHING, RECORDING, ROUNDS, Arm, Results, figures, settings_for, take_turns
from benchmarks._measure import Figure, Run, command, paired
from benchmarks._premises import require
from benchmarks._servers import serving, serving_all
from chatfeedback.domain.types import new_id
from chatfeedback.store.accounts import users
from chatfeedback.store.accounts.sessions import Sessions
from chatfeedback.store.database.engine import open_engine
from tests import clusters, nginx
from tests.gradio_pages import Page, Site
from tests.ports import free_port
from tests.replicas.proxy import Nginx

TWO, ONE = "Two replicas behind nginx", "one replica without nginx"
LEVELS = (100, 200)
SETTINGS = """\
auth = "password"
trusted_proxies = ["127.0.0.1"]
"""
COOKIE = "chatfeedback_session"


def measure(run: Run) -> list[Figure]:
    """Measure each level with two replicas, beside the baselines."""
    program = nginx.executable()
    if program is None:
        raise SystemExit("There is no nginx on this machine; install the system's.")
    levels = run.levels or ((2,) if run.quick else LEVELS)
    sizes = {TWO: 2, NOTHING: 1} if run.quick else {TWO: 2, NOTHING: 2, ONE: 1}
    results: Results = {(name, level): [] for name in sizes for level in levels}
    with serving("benchmarks._model", "PORT") as model, clusters.running(clusters.newest()) as cluster:
        serve = (
            "serve",
            "--port",
            "PORT",
            "--no-open",
            "--migrate",
            "--config",
            str(settings_for(run, model, SETTINGS)),
        )
        for number in range(run.rounds or run.size(ROUNDS, 1)):
            databases = {name: cluster.url(cluster.create_database()) for name in sizes}
            with _arms(run, program, serve, sizes, databases) as arms:
                take_turns(run, number, arms, model, results)
    beside_nothing = [figure for level in levels for figure in figures(results, TWO, level)]
    return beside_nothing + [_beside_one(results, level) for level in levels if ONE in sizes]


@contextmanager
def _arms(
    run: Run, program: str, serve: Sequence[str], sizes: dict[str, int], databases: dict[str, str]
) -> Iterator[list[Arm]]:
    commands = [
        (NOT_RECORDING if name == NOTHING else RECORDING, *serve, "--database-url", databases[name])
        for name, size in sizes.items()
        for _ in range(size)
    ]
    with ExitStack() as running:
        all_servers = iter(running.enter_context(serving_all(commands)))
        arms, proxies = [], dict[str, tuple[Nginx, set[int]]]()
        for name, size in sizes.items():
            servers = [next(all_servers) for _ in range(size)]
            engine = open_engine(databases[name])
            running.callback(engine.dispose)
            if size == 1:
                pages = partial(_pages, servers[0].address, COOKIE, ssl.create_default_context(), engine)
            else:
                folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="chatfeedback-nginx-")))
                replicas = servers[0].port, servers[1].port
                proxy = running.enter_context(Nginx(program, folder, (free_port(), free_port()), replicas))
                pages = partial(_pages, proxy.address, f"__Host-{COOKIE}", proxy.trust, engine)
                proxies[name] = proxy, {server.port for server in servers}
            arms.append(Arm(name, servers, databases[name], name != NOTHING, pages, signs_in=True))
        yield arms
        if not run.quick:  # nginx may send two users to the same replica
            for name, (proxy, ports) in proxies.items():
                require(ports <= proxy.asked(), f"{name}: nginx has asked {proxy.asked()}, and not all of {ports}")


@asynccontextmanager
async def _pages(
    address: str, cookie: str, trust: ssl.SSLContext, engine: Engine, count: int
) -> AsyncIterator[list[Page]]:
    """Open a page of each of `count` new users; the configuration of the page is read once."""
    sessions = Sessions(engine, lifetime=timedelta(days=1), idle=timedelta(days=1))
    async with AsyncExitStack() as open_sites:
        sites: list[Site] = []
        for _ in range(count):
            token = await asyncio.to_thread(_begin_session, engine, sessions)
            site = Site(address, {cookie: token}, verify=trust)
            if sites:
                site.functions = sites[0].functions
                open_sites.push_async_callback(site.http.aclose)
            else:
                await open_sites.enter_async_context(site)
            sites.append(site)
        yield await open_pages(sites)


def _begin_session(engine: Engine, sessions: Sessions) -> str:
    """Add an annotator; return the token of their session."""
    user = users.add(engine, f"annotator {new_id()}", "annotator", actor_id=None)
    return sessions.begin(user.annotator_id, "password")


def _beside_one(results: Results, level: int) -> Figure:
    two, one = ([load.chats_per_second for load in results[name, level]] for name in (TWO, ONE))
    return paired(f"{TWO}, {level} chats: chats a second", two, "/s", one, ONE)


if __name__ == "__main__":
    command(__doc__, measure)

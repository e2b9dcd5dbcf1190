"""A run: annotators work, something is killed and started again, all is checked, and so on."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from chatfeedback.domain.conversation.evolve import fold
from chatfeedback.store.accounts import users
from chatfeedback.store.accounts.sessions import Sessions
from chatfeedback.store.coordination import reply_leases
from chatfeedback.store.database import migrate
from clusters import Cluster
from gradio_pages import HandlerSpec, Site, told_to_scripts
from torture import server
from torture.annotators import COOKIE, Annotator, Gate
from torture.checks import Checks
from torture.ledger import Ledger
from torture.model import Parrot
from torture.server import Server

DELAYS = (0.2, 3.0)
"""Seconds between the first thing that is done after a start, and the kill."""
SECONDS = 120.0
"""Time limit of each step."""
OPENED = 1
"""Conversations that are opened over HTTP after each kill, besides those that the annotators come back to."""
DAY = timedelta(days=1)
Target = Literal["app", "server"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan of a run. `longest_delay`: seconds of work before a kill, at most."""

    kills: int
    database: Literal["sqlite", "postgres"]
    seed: str
    annotators: int = 8
    fresh: bool = False
    longest_delay: float = DELAYS[1]
    target: Callable[[str, str], None] = server.run

    def targets(self, rng: random.Random) -> list[Target]:
        """Return the target of each kill: with Postgres half of them are of the database server."""
        of_the_server = self.kills // 2 if self.database == "postgres" else 0
        targets: list[Target] = ["server"] * of_the_server + ["app"] * (self.kills - of_the_server)
        rng.shuffle(targets)
        return targets


class Run:
    """Run in a folder of its own. `cluster`: None with SQLite."""

    def __init__(self, plan: Plan, folder: Path, cluster: Cluster | None, model: Parrot, ledger: Ledger) -> None:
        self.plan = plan
        self._cluster = cluster
        self._random = random.Random(plan.seed)
        self.database = cluster.create_database() if cluster else str(folder / "chatfeedback.db")
        url = cluster.url(self.database) if cluster else f"sqlite:///{self.database}"
        self.ledger = ledger
        self.checks = Checks(url, ledger, model.sent)
        self.killed: Counter[Target] = Counter()
        self._gate = Gate()
        self.server = Server(folder, url, model.url, fresh=plan.fresh, target=plan.target)
        self._tokens = _people(url, plan.annotators)
        functions: dict[tuple[str, str], HandlerSpec] = {}
        self._annotators = [
            Annotator(f"annotator{number}", token, self.server.address, plan.seed, ledger, self._gate, functions)
            for number, token in enumerate(self._tokens.values(), 1)
        ]

    async def go(self) -> list[str]:
        """Kill as often as planned; return a list of problems, empty if all is well."""
        await asyncio.to_thread(self.server.start)
        try:
            async with self._working():
                for target in self.plan.targets(self._random):
                    if problems := await self._round(target):
                        return problems
                await self._work(0)
                self._gate.close()
                await self._quiet()
            return await self._end()
        finally:
            if self.server.is_alive:
                self.server.kill()

    async def _round(self, target: Target) -> list[str]:
        began = time.monotonic()
        await self._work(self._random.uniform(DELAYS[0], self.plan.longest_delay))
        self.killed[target] += 1
        if target == "app":
            self.server.kill()
            self._gate.close()
            await self._quiet()
            await asyncio.to_thread(self.server.start)
        else:
            assert self._cluster is not None
            # The annotators go on, and so does the application.
            await asyncio.to_thread(self._cluster.kill)
            await asyncio.sleep(self._random.uniform(0, 1))
            await asyncio.to_thread(self._cluster.start)
            self._gate.close()
            await asyncio.to_thread(self.server.answers)
            await self._quiet()
        problems = await asyncio.to_thread(self.checks.after_kill, app_died=target == "app")
        problems += await self._open(self._random.sample(self.checks.touched, min(OPENED, len(self.checks.touched))))
        say(
            f"{self.killed.total()}: {target} killed after {self.ledger.acknowledged.total()} acknowledgements, "
            f"{len(problems)} problems, {time.monotonic() - began:.1f} s"
        )
        return problems

    async def _work(self, seconds: float) -> None:
        """Let the annotators work until a deed of one of them is acknowledged, and a while longer."""
        self.ledger.news.clear()
        self._gate.open()
        await asyncio.wait_for(self.ledger.news.wait(), SECONDS)
        await asyncio.sleep(seconds)

    async def _quiet(self) -> None:
        try:
            await asyncio.wait_for(self._gate.quiet(), SECONDS)
        except TimeoutError:
            doing = ", ".join(self._gate.unanswered())
            raise AssertionError(f"no answer after {SECONDS:.0f} s: {doing}\n{self.server.said()}") from None

    async def _end(self) -> list[str]:
        """Wait until the leases of all dead processes have expired, and check everything."""
        until = time.monotonic() + 3 * reply_leases.LEASE.total_seconds() + SECONDS
        while await asyncio.to_thread(self.checks.writing):
            if time.monotonic() > until:
                return [
                    "Replies are still being written, though everybody who wrote them is gone.",
                    self.server.said(),
                ]
            await asyncio.sleep(0.5)
        problems = await asyncio.to_thread(self.checks.at_the_end)
        interrupted = [self.checks.conversation_of(one) for one in list(self.checks.orphans)[-OPENED:]]
        return problems + await self._open([one for one in interrupted if one])

    async def _open(self, conversation_ids: list[str]) -> list[str]:
        """Open conversations as their owners; return the problems of the pages."""
        problems = []
        for conversation_id in conversation_ids:
            stored = fold(conversation_id, self.checks.known[conversation_id])
            cookies = {COOKIE: self._tokens[stored.annotator_id]}
            async with (
                Site(self.server.address, cookies) as site,
                aclosing(site.page(conversation_id).call("", "load")) as drawn,
            ):
                page = await site.http.get("/", params={"conversation": conversation_id})
                painted = {}
                async for update in drawn:
                    if painted := update.painted:
                        break
            shown = {one["content"][0]["text"] for one in painted["chatbot"]["value"]}
            missing = [message.text for message in stored.shown() if message.text and message.text not in shown]
            if page.status_code != 200 or told_to_scripts(painted)["address"] != conversation_id or missing:
                problems.append(f"The page of conversation {conversation_id} does not show {missing}: {painted}")
        return problems

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        """Let the annotators work to the end of the block; an error of one of them ends the run."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(annotator.work()) for annotator in self._annotators]
            yield
            for task in tasks:
                task.cancel()


def _people(url: str, count: int) -> dict[str, str]:
    """Create a database with so many signed-in annotators; return the tokens of their sessions by id."""
    migrate.upgrade(url)
    with migrate.opened(url) as engine:
        sessions = Sessions(engine, lifetime=DAY, idle=DAY)
        ids = [
            users.add(engine, f"annotator{number}", "annotator", actor_id=None).annotator_id
            for number in range(1, count + 1)
        ]
        return {annotator_id: sessions.begin(annotator_id, "password") for annotator_id in ids}


def say(line: str) -> None:
    """Print a line of progress to standard error, apart from the result."""
    print(line, file=sys.stderr, flush=True)

"""Load: servers take turns at serving chats; their results are compared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from benchmarks._chats import run_ramped
from benchmarks._measure import Figure, Run, paired, percentile
from benchmarks._model import REPLY
from benchmarks._premises import require_equal
from benchmarks._servers import Server, busy_seconds
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.schema import conversations, events, messages
from tests.gradio_pages import Page

RECORDING, NOT_RECORDING = "chatfeedback", "benchmarks._unrecorded"
NOTHING = "the same application, recording nothing"
ROUNDS, WARM_UP = 11, 10
RAMP, PACE, AT_ONCE = 2.5, "20", "inf"
SETTINGS = """\
messages_per_minute = 1000000
streams_at_once = 10000
"""
MODEL = """
[[models]]
model = "{pace}"
base_url = "{address}v1"
context_tokens = 1000000
"""


@dataclass(frozen=True, slots=True)
class Load:
    """Result of one level. CPU times are shares of one core."""

    chats_per_second: float
    first_token_p50: float
    """Seconds."""
    first_token_p95: float
    server: float
    others: float
    """Driver and model together."""
    machine: float
    """All processes of the machine, Postgres included."""


@dataclass(frozen=True, slots=True)
class Arm:
    """Participant of the comparison: servers, each frozen between its turns, and the function that opens pages."""

    name: str
    servers: Sequence[Server]
    database: str
    is_recorded: bool
    pages: Callable[[int], AbstractAsyncContextManager[list[Page]]]
    signs_in: bool = False
    """True if each page belongs to a different user."""


EVENTS = ("conversation_started", "message_sent", "reply_started", "reply_finished")
"""Events of one chat."""
Results = dict[tuple[str, int], list[Load]]
"""Results by arm and level, one for each round."""


def settings_for(run: Run, model: Server, more: str = "", paces: Sequence[str] = (PACE, AT_ONCE)) -> Path:
    """Write the settings file of all servers: no limits per user, a model of each pace, and the lines `more`."""
    path = run.folder / "load.toml"
    models = (MODEL.format(pace=pace, address=model.address) for pace in paces)
    path.write_text(SETTINGS + more + "".join(models))
    return path


def take_turns(run: Run, number: int, arms: Sequence[Arm], model: Server, results: Results) -> None:
    """Run the round of this number: every arm at every level, in an order that depends on the number.

    Ends the benchmark unless every recording arm has every reply completely, and the others have recorded nothing.
    """
    for arm in arms:
        asyncio.run(_run_chats(arm, run.size(WARM_UP, 1), 0.5, AT_ONCE, model))
        for server in arm.servers:
            server.freeze()
    levels = list(dict.fromkeys(level for _, level in results))
    ramp, pace = (0.1, AT_ONCE) if run.quick else (RAMP, PACE)
    for level in levels:
        for turn in range(len(arms)):
            arm = arms[(number + turn) % len(arms)]
            with ExitStack() as awake:
                for server in arm.servers:
                    awake.enter_context(server.awake())
                results[arm.name, level].append(asyncio.run(_run_chats(arm, level, ramp, pace, model)))
    for arm in arms:
        _require_complete(arm, sum(levels) + run.size(WARM_UP, 1))


async def _run_chats(arm: Arm, chats: int, ramp: float, pace: str, model: Server) -> Load:
    """Run this many chats, each on its own page, over new connections."""
    async with arm.pages(chats) as pages:
        clocks: list[Callable[[], float]] = [
            time.perf_counter,
            lambda: sum(server.cpu_seconds() for server in arm.servers),
            lambda: time.process_time() + model.cpu_seconds(),
            busy_seconds,
        ]
        before = [clock() for clock in clocks]
        finished = await run_ramped(pages, pace, ramp)
        seconds, *cpu_seconds = (clock() - start for clock, start in zip(clocks, before, strict=True))
    waits = [chat.first_token - chat.sent for chat in finished]
    return Load(
        chats / (max(chat.ended for chat in finished) - min(chat.sent for chat in finished)),
        percentile(waits, 0.5),
        percentile(waits, 0.95),
        *(cpu / seconds for cpu in cpu_seconds),
    )


def _require_complete(arm: Arm, replies: int) -> None:
    complete = select(func.count()).where(messages.c.text == REPLY, messages.c.status == "complete")
    people = select(func.count(messages.c.author_id.distinct()))
    kinds = select(events.c.kind, func.count()).group_by(events.c.kind)
    engine = open_engine(arm.database)
    with engine.connect() as connection:
        recorded: dict[str, int] = dict(connection.execute(kinds).all())
        rows = [connection.scalar(select(func.count()).select_from(table)) for table in (conversations, messages)]
        stored, authors = connection.scalar(complete), connection.scalar(people)
    engine.dispose()
    if not arm.is_recorded:
        require_equal(f"what is recorded of {arm.name}", (recorded, rows), ({}, [0, 0]))
        return
    require_equal(f"the events of {arm.name}", recorded, dict.fromkeys(EVENTS, replies))
    require_equal(f"the replies of {arm.name} that are stored whole", stored, replies)
    require_equal(f"the people of {arm.name}", authors, replies if arm.signs_in else 1)


def figures(results: Results, name: str, level: int) -> Iterator[Figure]:
    """Yield the figures of one arm at one level, beside the arm NOTHING."""
    subject, baseline = results[name, level], results[NOTHING, level]

    def figure(quantity: str, unit: str, value_of: Callable[[Load], float], **target: float) -> Figure:
        values, baselines = [*map(value_of, subject)], [*map(value_of, baseline)]
        return paired(f"{name}, {level} chats: {quantity}", values, unit, baselines, NOTHING, **target)

    yield figure("chats a second", "/s", lambda load: load.chats_per_second, at_least=0.95)
    yield figure("time to first token, median", "ms", lambda load: 1000 * load.first_token_p50, at_most=1.05)
    yield figure("time to first token, 95th percentile", "ms", lambda load: 1000 * load.first_token_p95, at_most=1.05)
    yield figure("of a core, used by chatfeedback", "%", lambda load: 100 * load.server)
    if level == max(level for _, level in results):  # shows whether another process than the server is the bottleneck
        yield figure("of a core, used by driver and model", "%", lambda load: 100 * load.others)
        yield figure("of a core, used by all that runs on the machine", "%", lambda load: 100 * load.machine)

"""Cost of a reply in a conversation of 200 messages, beside one in a conversation of 50.

Pages show the newest 50 messages of either, and the model is sent the whole conversation. Each reply belongs to its own
conversation with exactly that many messages, on a page that has rendered it, over Gradio's own protocol and the real
server on SQLite. Two kinds take turns: one reply after the other, from a model that sends its 50 tokens at once, and a
few concurrently, at 20 tokens a second. Time runs from the call that sends the prompt to the end of the reply. Work is
the CPU time of the server process for a reply, without its idle CPU time. The benchmark fails unless both pages have
rendered 50 messages, and the model was sent the whole conversation.

    uv run python -m benchmarks.history
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from benchmarks._chats import Chat, run_chat, run_ramped
from benchmarks._load import AT_ONCE, PACE, settings_for
from benchmarks._measure import Figure, Run, command, paired
from benchmarks._model import REPLY
from benchmarks._premises import require_equal
from benchmarks._servers import Server, serving
from benchmarks._stores import open_raw, open_store, url_of
from chatfeedback.store.accounts import annotators
from tests.conversation_builder import StoredTalk
from tests.gradio_pages import Page, Site

SHORT, LONG = 50, 200
ROUNDS, EACH = 11, 4
PROMPT = "Could you say that again in other words, and with an example of your own this time? " * 2
ANSWER = "The hill is in the way of the wind, so it rains on one side of it and is dry on the other. " * 6
"""Reply of about 120 tokens."""
IDLE_SECONDS = 2.0
QUICK_PACE = "500"
DRAWN = 50
"""Number of newest messages that a page shows at first."""

_SENT = """
SELECT json_array_length(sent_ids), (SELECT count(*) FROM messages m WHERE m.conversation_id = r.conversation_id)
FROM messages r WHERE text = ?
"""
Measured = dict[tuple[int, str], list[tuple[float, float]]]
"""By number of messages and pace, for each round: seconds of a reply, and CPU seconds of the server for it."""


def measure(run: Run) -> list[Figure]:
    """Measure time and work of replies in short and long conversations."""
    rounds, each = run.rounds or run.size(ROUNDS, 1), run.size(EACH, 1)
    database = run.folder / "history.db"
    paces = (AT_ONCE, QUICK_PACE if run.quick else PACE)
    conversations = _conversations(database, rounds * each * len(paces))
    measured: Measured = {(size, pace): [] for size in (SHORT, LONG) for pace in paces}
    with serving("benchmarks._model", "PORT") as model:
        serve = (
            "chatfeedback",
            "serve",
            "--port",
            "PORT",
            "--no-open",
            "--config",
            str(settings_for(run, model, paces=paces)),
        )
        with serving(*serve, "--database-url", url_of(database)) as server:
            asyncio.run(_take_turns(server, conversations, measured, rounds, each, run.quick))
    _require_all_sent(database, rounds * each * len(paces))
    at_once, steady = paces
    return [
        _figure(measured, at_once, "Time of a reply that comes at once", 0),
        _figure(measured, steady, f"Time of a reply at {steady} tokens a second", 0),
        _figure(measured, at_once, "Server's work for a reply that comes at once", 1),
        _figure(measured, steady, f"Server's work for a reply at {steady} tokens a second", 1),
    ]


def _conversations(database: Path, count: int) -> dict[int, Iterator[str]]:
    """Create `count` conversations of either size, of the local user; return their ids by size."""
    ids_by_size: dict[int, list[str]] = {SHORT: [], LONG: []}
    with open_store(database) as store:
        person_id = annotators.ensure(store.engine, "local")
        for _ in range(count):
            for size, ids in ids_by_size.items():
                talk = StoredTalk(store, person_id)
                for _turn in range(size // 2):
                    talk.ask(PROMPT, ANSWER)
                ids.append(talk.conversation_id)
    return {size: iter(ids) for size, ids in ids_by_size.items()}


async def _take_turns(
    server: Server, conversations: dict[int, Iterator[str]], measured: Measured, rounds: int, each: int, is_quick: bool
) -> None:
    async with Site(server.address) as site:
        for _ in range(rounds):
            # CPU time is known in hundredths of a second: of one short reply, nothing might be left after subtraction.
            idle = 0.0 if is_quick else await _cpu_seconds(server, asyncio.sleep(IDLE_SECONDS)) / IDLE_SECONDS
            for (size, pace), results in measured.items():
                pages = [site.page(next(conversations[size])) for _ in range(each)]
                for page in pages:
                    rendered = (await page.done("", "load")).painted["chatbot"]["value"]
                    require_equal(f"the messages that are drawn of {size}", len(rendered), DRAWN)
                chats: list[Chat] = []
                started = time.perf_counter()
                cpu_seconds = await _cpu_seconds(server, _run_chats(pages, pace, chats))
                cpu_seconds -= idle * (time.perf_counter() - started)
                seconds = sum(chat.ended - chat.sent for chat in chats)
                results.append((seconds / each, cpu_seconds / each))


async def _cpu_seconds(server: Server, task: Awaitable[object]) -> float:
    """Run the task; return the CPU time of the server meanwhile."""
    before = server.cpu_seconds()
    await task
    return server.cpu_seconds() - before


async def _run_chats(pages: Sequence[Page], pace: str, chats: list[Chat]) -> None:
    if pace == AT_ONCE:
        chats += [await run_chat(page, pace) for page in pages]
    else:
        chats += await run_ramped(pages, pace, 1)


def _require_all_sent(database: Path, count: int) -> None:
    """End the benchmark unless `count` requests per size contained all messages of the conversation."""
    with closing(open_raw(database)) as raw:
        sizes = Counter(raw.execute(_SENT, (REPLY,)).fetchall())
    # The prompt is sent too, and stored with its reply.
    require_equal("the messages sent and stored", sizes, {(size + 1, size + 2): count for size in (SHORT, LONG)})


def _figure(measured: Measured, pace: str, name: str, index: int) -> Figure:
    values = {size: [1000 * result[index] for result in measured[size, pace]] for size in (SHORT, LONG)}
    return paired(f"{name}, {LONG} messages", values[LONG], "ms", values[SHORT], f"{SHORT} messages", at_most=1.3)


if __name__ == "__main__":
    command(__doc__, measure)

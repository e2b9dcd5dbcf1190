"""What a reply costs in a conversation of 200 messages, beside one in a conversation of 50.

Both are drawn as people see them, with the newest 50 messages, and the model is sent all of it. Each reply goes into a
conversation of its own that has just so many messages, on a page that has drawn it, over Gradio's own protocol and the
real server on SQLite. Two kinds take turns: one reply after the other, of a model that sends its 50 tokens at once, and
a few side by side, at 20 tokens a second. Time runs from the call that sends the prompt to the end of the reply. Work
is the time that the server's process is on a core for a reply, without what it uses when there is nothing to do. Both
pages must have drawn 50 messages, and the model must have been sent all of the conversation, or the benchmark fails.

    uv run python -m benchmarks.history
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from benchmarks._chats import Chat, chat, ramped
from benchmarks._load import AT_ONCE, PACE, settings_for
from benchmarks._measure import Figure, Run, command, paired
from benchmarks._model import REPLY
from benchmarks._premises import require_equal
from benchmarks._servers import Server, serving
from benchmarks._stores import open_raw, opened, url_of
from chatfeedback.store.accounts import annotators
from tests.conversation_builder import StoredTalk
from tests.gradio_pages import Page, Site

SHORT, LONG = 50, 200
ROUNDS, EACH = 11, 4
PROMPT = "Could you say that again in other words, and with an example of your own this time? " * 2
ANSWER = "The hill is in the way of the wind, so it rains on one side of it and is dry on the other. " * 6
"""Of about 120 tokens."""
IDLE_SECONDS = 2.0
QUICK_PACE = "500"
DRAWN = 50
"""The newest messages, which a page shows at first."""

_SENT = """
SELECT json_array_length(sent_ids), (SELECT count(*) FROM messages m WHERE m.conversation_id = r.conversation_id)
FROM messages r WHERE text = ?
"""
Measured = dict[tuple[int, str], list[tuple[float, float]]]
"""By messages and pace, for each round: seconds of a reply, and seconds of the server on a core for it."""


def measure(run: Run) -> list[Figure]:
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
    at_once, steadily = paces
    return [
        _figure(measured, at_once, "Time of a reply that comes at once", 0),
        _figure(measured, steadily, f"Time of a reply at {steadily} tokens a second", 0),
        _figure(measured, at_once, "Server's work for a reply that comes at once", 1),
        _figure(measured, steadily, f"Server's work for a reply at {steadily} tokens a second", 1),
    ]


def _conversations(database: Path, count: int) -> dict[int, Iterator[str]]:
    """The ids of so many conversations of either size, of the person that there is without sign-in."""
    made: dict[int, list[str]] = {SHORT: [], LONG: []}
    with opened(database) as store:
        person_id = annotators.ensure(store.engine, "local")
        for _ in range(count):
            for size, ids in made.items():
                talk = StoredTalk(store, person_id)
                for _turn in range(size // 2):
                    talk.ask(PROMPT, ANSWER)
                ids.append(talk.conversation_id)
    return {size: iter(ids) for size, ids in made.items()}


async def _take_turns(
    server: Server, conversations: dict[int, Iterator[str]], measured: Measured, rounds: int, each: int, is_quick: bool
) -> None:
    async with Site(server.address) as site:
        for _ in range(rounds):
            # Of one short reply it is known in hundredths of a second alone: nothing could be left of it.
            idle = 0.0 if is_quick else await _worked(server, asyncio.sleep(IDLE_SECONDS)) / IDLE_SECONDS
            for (size, pace), results in measured.items():
                pages = [site.page(next(conversations[size])) for _ in range(each)]
                for page in pages:
                    drawn = (await page.done("", "load")).painted["chatbot"]["value"]
                    require_equal(f"the messages that are drawn of {size}", len(drawn), DRAWN)
                chats: list[Chat] = []
                started = time.perf_counter()
                worked = await _worked(server, _hold(pages, pace, chats))
                worked -= idle * (time.perf_counter() - started)
                seconds = sum(chat.ended - chat.sent for chat in chats)
                results.append((seconds / each, worked / each))


async def _worked(server: Server, doing: Awaitable[object]) -> float:
    """The seconds that the server is on a core meanwhile."""
    before = server.cpu_seconds()
    await doing
    return server.cpu_seconds() - before


async def _hold(pages: Sequence[Page], pace: str, chats: list[Chat]) -> None:
    if pace == AT_ONCE:
        chats += [await chat(page, pace) for page in pages]
    else:
        chats += await ramped(pages, pace, 1)


def _require_all_sent(database: Path, count: int) -> None:
    """End the benchmark unless so many replies were asked for with all messages of a conversation of either size."""
    with closing(open_raw(database)) as raw:
        sizes = Counter(raw.execute(_SENT, (REPLY,)).fetchall())
    # The prompt is sent too, and stored with its reply.
    require_equal("the messages sent and stored", sizes, {(size + 1, size + 2): count for size in (SHORT, LONG)})


def _figure(measured: Measured, pace: str, name: str, which: int) -> Figure:
    values = {size: [1000 * result[which] for result in measured[size, pace]] for size in (SHORT, LONG)}
    return paired(f"{name}, {LONG} messages", values[LONG], "ms", values[SHORT], f"{SHORT} messages", at_most=1.3)


if __name__ == "__main__":
    command(__doc__, measure)

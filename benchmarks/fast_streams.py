"""Requests of other users while one reply arrives as fast as its model server can send it.

The model sends 100,000 chunks at once: empty ones, or one letter each, which is a reply of one long paragraph. Beside
it, another client asks for /readyz again and again. Baseline: the same request to the same server while nothing is
streamed, in turns. The benchmark fails unless every request is answered with 200, at least one in each stream is sent
and answered while the reply arrives, and every reply is complete.

    uv run python -m benchmarks.fast_streams
"""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
from contextlib import closing
from pathlib import Path

from benchmarks._flood import END
from benchmarks._measure import Figure, Run, command, paired, percentile
from benchmarks._premises import require, require_equal
from benchmarks._servers import Server, serving
from benchmarks._stores import url_of
from tests.gradio_pages import Site

KINDS = {"empty": "empty chunks", "letters": "chunks of one letter"}
BASELINE = "the same request while nothing is streamed"
CHUNKS = 100_000
ROUNDS = 5
PAUSE_SECONDS = 0.005
SETTINGS = """
[[models]]
model = "{name}"
base_url = "{address}v1"
max_reply_chars = 1000000
"""


def measure(run: Run) -> list[Figure]:
    """Measure the requests beside a stream of each kind."""
    names = [f"{kind}-{run.size(CHUNKS, 2_000)}" for kind in KINDS]
    with serving("benchmarks._flood", "PORT") as model:
        settings = _settings(run.folder, names, model)
        serve = ("chatfeedback", "serve", "--port", "PORT", "--no-open", "--config", str(settings))
        with serving(*serve, "--database-url", url_of(run.folder / "fast_streams.db")) as server:
            return [figure for name in names for figure in _figures(run, server, name)]


def _settings(folder: Path, names: list[str], model: Server) -> Path:
    path = folder / "fast_streams.toml"
    models = (SETTINGS.format(name=name, address=model.address) for name in names)
    path.write_text("messages_per_minute = 1000000\n" + "".join(models), encoding="utf-8")
    return path


def _figures(run: Run, server: Server, name: str) -> list[Figure]:
    busy: list[list[float]] = []
    idle: list[list[float]] = []
    for _ in range(run.rounds or run.size(ROUNDS, 1)):
        busy.append(_requests_beside(server, name))
        idle.append(_requests(server, len(busy[-1])))
    what = f"/readyz beside a stream of {KINDS[name.partition('-')[0]]}"
    return [
        paired(
            f"{what}, {label}",
            [percentile(seconds, share) * 1000 for seconds in busy],
            "ms",
            [percentile(seconds, share) * 1000 for seconds in idle],
            BASELINE,
        )
        for label, share in (("median", 0.5), ("95th percentile", 0.95), ("longest", 1.0))
    ]


def _requests_beside(server: Server, name: str) -> list[float]:
    """Return the seconds of the requests that were sent and answered while a reply arrived."""
    started, done, whole = threading.Event(), threading.Event(), list[bool]()

    def chat() -> None:
        try:
            whole.append(asyncio.run(_chat(server, name, started)))
        finally:
            started.set()
            done.set()

    thread = threading.Thread(target=chat)
    thread.start()
    started.wait()
    seconds = _requests(server, 1_000_000, done)
    thread.join()
    require(whole == [True], "a reply did not come whole")
    require(bool(seconds), "no request was answered while the reply arrived")
    return seconds


async def _chat(server: Server, name: str, started: threading.Event) -> bool:
    """Send a prompt, read the reply to its end, and return whether it is complete."""
    async with Site(server.address, patience=300) as site:
        page = site.page()
        await page.done("", "load")
        started.set()
        last = ""
        async for event in page.call("prompt", "submit", ["Go.", None, name, ""], painting=False):
            last = str(event.data[event.function.outputs.index("chatbot")]) if event.is_last and event.data else last
    return END in last


def _requests(server: Server, count: int, done: threading.Event | None = None) -> list[float]:
    """Return the seconds of up to `count` requests, one after the other, until `done`."""
    seconds: list[float] = []
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)) as connection:
        for _ in range(count):
            begun = time.perf_counter()
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            response.read()
            require_equal("the status of an answer", response.status, 200)
            if done is not None and done.is_set():
                break
            seconds.append(time.perf_counter() - begun)
            time.sleep(PAUSE_SECONDS)
    return seconds


if __name__ == "__main__":
    command(__doc__, measure)

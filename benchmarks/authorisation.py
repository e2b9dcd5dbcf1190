"""What authorisation adds to a request.

Two servers on databases of their own, the same but for how people sign in: passwords, and a cookie of a session that
is looked up for each request; or `--auth none`. The same requests go to both: the page, and the call of a function
that does nothing, sent and answered as the page does it. Each run takes the median of many requests to either server,
in turns; the figure is the median of the runs, and its interval is that of their ratios (95%, by order statistics).
Every answer must be a 200. The server with passwords must refuse who has no cookie, and the one that was measured once
its session has ended in the database, or the benchmark fails.

    uv run python -m benchmarks.authorisation
"""

from __future__ import annotations

import http.client
import json
import statistics
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from itertools import count
from pathlib import Path

from benchmarks._measure import Figure, Run, command, paired, take_turns
from benchmarks._premises import require, require_equal
from benchmarks._servers import Server, serving_all
from benchmarks._stores import url_of
from chatfeedback.store.accounts import users
from chatfeedback.store.accounts.sessions import Sessions
from chatfeedback.store.database import migrate
from chatfeedback.store.database.engine import open_engine

BASELINE = "the same request with --auth none"
RUNS = 15


class Browser:
    """One connection that stays open, with or without the cookie of a session."""

    def __init__(self, server: Server, token: str | None) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._headers: dict[str, str] = {}
        self.close = self._http.close
        if token:
            self.require_refusal("without a cookie, where people sign in")
            self._headers = {"Cookie": f"chatfeedback_session={token}"}
        page = self.get("/config")
        dependencies = json.loads(page)["dependencies"]
        wake = next(one for one in dependencies if one["api_name"] == "wake")
        self._call = {"data": [], "event_data": None, "fn_index": wake["id"], "trigger_id": wake["targets"][0][0]}
        self._pages = count()

    def get(self, path: str) -> bytes:
        self._http.request("GET", path, headers=self._headers)
        return self._answer()

    def require_refusal(self, why: str) -> None:
        """End the benchmark unless the configuration of the page is refused now."""
        self._http.request("GET", "/config", headers=self._headers)
        answer = self._http.getresponse()
        answer.read()
        require_equal(f"the status {why}", answer.status, 401)

    def call(self) -> None:
        """Calls the function and reads the stream of answers to its end.

        Each time as another page: Gradio may lose a call that comes while it still tidies up the stream before.
        """
        page = f"page{next(self._pages)}"
        headers = {**self._headers, "Content-Type": "application/json"}
        self._http.request("POST", "/gradio_api/queue/join", json.dumps({**self._call, "session_hash": page}), headers)
        self._answer()
        told = self.get(f"/gradio_api/queue/data?session_hash={page}")
        require(b"process_completed" in told and b'"success":true' in told, "the function was not called to its end")

    def _answer(self) -> bytes:
        answer = self._http.getresponse()
        body = answer.read()
        require_equal("the status of an answer", answer.status, 200)
        return body


def measure(run: Run) -> list[Figure]:
    token = _signed_in(run.folder / "password.db")
    serve = ("chatfeedback", "serve", "--port", "PORT", "--no-open", "--database-url")
    with (
        serving_all(
            [
                (*serve, url_of(run.folder / "none.db")),
                (*serve, url_of(run.folder / "password.db"), "--auth", "password"),
            ]
        ) as (none, password),
        closing(Browser(none, None)) as anybody,
        closing(Browser(password, token)) as somebody,
    ):
        figures = [
            _figure(run, "The page", lambda: somebody.get("/"), lambda: anybody.get("/"), 100),
            _figure(run, "The call of a function, sent and answered", somebody.call, anybody.call, 100),
        ]
        _end_session(run.folder / "password.db", token)
        somebody.require_refusal("after the end of the session")
        return figures


def _signed_in(path: Path) -> str:
    """Makes the database and a user; returns the token of a session."""
    migrate.upgrade(url_of(path))
    engine = open_engine(url_of(path))
    user = users.add(engine, "ada", "annotator", actor_id=None)
    token = Sessions(engine, lifetime=timedelta(days=1), idle=timedelta(days=1)).begin(user.annotator_id, "password")
    engine.dispose()
    return token


def _end_session(path: Path, token: str) -> None:
    engine = open_engine(url_of(path))
    sessions = Sessions(engine, lifetime=timedelta(days=1), idle=timedelta(days=1))
    found = sessions.person(token, None)
    assert found is not None and found[0].session_id is not None
    sessions.end(found[0].session_id)
    engine.dispose()


def _figure(
    run: Run, name: str, signed_in: Callable[[], object], open_to_all: Callable[[], object], requests: int
) -> Figure:
    actions = {"signed in": signed_in, "open": open_to_all}
    take_turns(actions, run.size(30, 1))
    values: dict[str, list[float]] = {key: [] for key in actions}
    for _ in range(run.rounds or run.size(RUNS, 3)):
        for key, seconds in take_turns(actions, run.size(requests, 2)).items():
            values[key].append(statistics.median(seconds))
    milliseconds = {key: [1000 * seconds for seconds in medians] for key, medians in values.items()}
    return paired(f"{name}, signed in", milliseconds["signed in"], "ms", milliseconds["open"], BASELINE, at_most=1.1)


if __name__ == "__main__":
    command(__doc__, measure)

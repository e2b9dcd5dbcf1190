"""Cost of authentication and authorization per request.

Two servers with separate databases differ in the authentication mode only. One uses passwords, and looks up a session
cookie for each request; the other has `--auth none`. Both get the same requests: the page, and the call of a function
that does nothing, in the protocol of the page. Each run takes the median of many requests to either server, in turns.
The figure is the median of the runs, with the interval of their ratios (95 %, by order statistics). Every response must
be a 200. The benchmark fails unless the server with passwords refuses requests without a cookie, and the measured
cookie once its session has ended in the database.

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
    """Client with one persistent connection, with or without a session cookie."""

    def __init__(self, server: Server, token: str | None) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._headers: dict[str, str] = {}
        self.close = self._http.close
        if token:
            self.require_refusal("without a cookie, where people sign in")
            self._headers = {"Cookie": f"chatfeedback_session={token}"}
        page = self.get("/config")
        dependencies = json.loads(page)["dependencies"]
        wake = next(function for function in dependencies if function["api_name"] == "wake")
        self._call = {"data": [], "event_data": None, "fn_index": wake["id"], "trigger_id": wake["targets"][0][0]}
        self._pages = count()

    def get(self, path: str) -> bytes:
        """Request a path; return the body of the response."""
        self._http.request("GET", path, headers=self._headers)
        return self._response_body()

    def require_refusal(self, why: str) -> None:
        """End the benchmark unless the configuration of the page is refused now."""
        self._http.request("GET", "/config", headers=self._headers)
        response = self._http.getresponse()
        response.read()
        require_equal(f"the status {why}", response.status, 401)

    def call(self) -> None:
        """Call the function and read the event stream to its end.

        Each call is from a new page: Gradio may lose a call that arrives while it cleans up the previous stream.
        """
        page = f"page{next(self._pages)}"
        headers = {**self._headers, "Content-Type": "application/json"}
        self._http.request("POST", "/gradio_api/queue/join", json.dumps({**self._call, "session_hash": page}), headers)
        self._response_body()
        stream = self.get(f"/gradio_api/queue/data?session_hash={page}")
        is_done = b"process_completed" in stream and b'"success":true' in stream
        require(is_done, "the function was not called to its end")

    def _response_body(self) -> bytes:
        response = self._http.getresponse()
        body = response.read()
        require_equal("the status of an answer", response.status, 200)
        return body


def measure(run: Run) -> list[Figure]:
    """Measure the page and a call, with a session and with `--auth none`."""
    token = _begin_session(run.folder / "password.db")
    serve = ("chatfeedback", "serve", "--port", "PORT", "--no-open", "--database-url")
    with (
        serving_all(
            [
                (*serve, url_of(run.folder / "none.db")),
                (*serve, url_of(run.folder / "password.db"), "--auth", "password"),
            ]
        ) as (none, password),
        closing(Browser(none, None)) as anonymous,
        closing(Browser(password, token)) as signed_in,
    ):
        figures = [
            _figure(run, "The page", lambda: signed_in.get("/"), lambda: anonymous.get("/"), 100),
            _figure(run, "The call of a function, sent and answered", signed_in.call, anonymous.call, 100),
        ]
        _end_session(run.folder / "password.db", token)
        signed_in.require_refusal("after the end of the session")
        return figures


def _begin_session(path: Path) -> str:
    """Create the database and a user; return the token of a session."""
    migrate.upgrade(url_of(path))
    engine = open_engine(url_of(path))
    user = users.add(engine, "ada", "annotator", actor_id=None)
    token = Sessions(engine, lifetime=timedelta(days=1), idle=timedelta(days=1)).begin(user.annotator_id, "password")
    engine.dispose()
    return token


def _end_session(path: Path, token: str) -> None:
    engine = open_engine(url_of(path))
    sessions = Sessions(engine, lifetime=timedelta(days=1), idle=timedelta(days=1))
    row = sessions.person(token, None)
    assert row is not None and row[0].session_id is not None
    sessions.end(row[0].session_id)
    engine.dispose()


def _figure(
    run: Run, name: str, signed_in: Callable[[], object], anonymous: Callable[[], object], requests: int
) -> Figure:
    actions = {"signed in": signed_in, "open": anonymous}
    take_turns(actions, run.size(30, 1))
    values: dict[str, list[float]] = {key: [] for key in actions}
    for _ in range(run.rounds or run.size(RUNS, 3)):
        for key, seconds in take_turns(actions, run.size(requests, 2)).items():
            values[key].append(statistics.median(seconds))
    milliseconds = {key: [1000 * seconds for seconds in medians] for key, medians in values.items()}
    return paired(f"{name}, signed in", milliseconds["signed in"], "ms", milliseconds["open"], BASELINE, at_most=1.1)


if __name__ == "__main__":
    command(__doc__, measure)

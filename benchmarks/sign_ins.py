"""Requests of a user who is signed in while ninety others try to sign in, again and again.

Each attempt has a wrong password, a name and an address of its own (the server trusts this machine as a proxy), so that
no limit on attempts stops the flood. Beside it, a user who is signed in asks for the configuration of the page, which
looks up their session. Baseline: the same request to the same server without the flood, in turns. The benchmark fails
unless every request of the user is answered with 200, at least half of the attempts are under way at each, and each
answer to an attempt is 401: its password was hashed.

    uv run python -m benchmarks.sign_ins
"""

from __future__ import annotations

import http.client
import re
import threading
import time
from contextlib import closing
from datetime import timedelta
from itertools import count
from urllib.parse import urlencode

from benchmarks._measure import Figure, Run, command, paired, percentile
from benchmarks._premises import require, require_equal
from benchmarks._servers import Server, serving
from benchmarks._stores import url_of
from chatfeedback.store.accounts import users
from chatfeedback.store.accounts.sessions import Sessions
from chatfeedback.store.database import migrate
from chatfeedback.store.database.engine import open_engine

BASELINE = "the same request without the flood"
CLIENTS, ROUNDS, REQUESTS = 90, 5, 100
PAUSE_SECONDS = 0.02
SETTINGS = (
    'auth = "password"\ntrusted_proxies = ["127.0.0.1"]\n[[models]]\nmodel = "m"\nbase_url = "http://127.0.0.1:9/v1"\n'
)


class Flood:
    """Clients that try to sign in until the end of the block."""

    def __init__(self, server: Server, clients: int) -> None:
        self._server = server
        self._numbers = count()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        self._under_way = threading.Semaphore(0)
        self.statuses: list[int] = []
        self.waiting = 0

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            self._under_way.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=300)) as connection:
            connection.request("GET", "/login")
            response = connection.getresponse()
            (token,) = re.findall(r'name="csrf" value="([^"]*)"', response.read().decode())
            cookie = str(response.headers["set-cookie"]).partition(";")[0]
            first = True
            while not self._ended.is_set():
                number = next(self._numbers)
                body = urlencode({"csrf": token, "name": f"nobody {number}", "password": "a wrong one, and long"})
                headers = {
                    "Cookie": cookie,
                    "Content-Type": "application/x-www-form-urlencoded",
                    "X-Forwarded-For": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
                    "X-Forwarded-Proto": "http",
                }
                connection.request("POST", "/login", body, headers)
                self.waiting += 1
                if first:
                    self._under_way.release()
                    first = False
                response = connection.getresponse()
                response.read()
                self.waiting -= 1
                self.statuses.append(response.status)


def measure(run: Run) -> list[Figure]:
    """Measure the requests of a signed-in user, with and without the flood."""
    url, settings = url_of(run.folder / "sign_ins.db"), run.folder / "sign_ins.toml"
    settings.write_text(SETTINGS, encoding="utf-8")
    token = _signed_in_user(url)
    clients, requests = run.size(CLIENTS, 5), run.size(REQUESTS, 5)
    busy: list[list[float]] = []
    idle: list[list[float]] = []
    with serving(
        "chatfeedback", "serve", "--port", "PORT", "--no-open", "--config", str(settings), "--database-url", url
    ) as server:
        for _ in range(run.rounds or run.size(ROUNDS, 1)):
            with Flood(server, clients) as flood:
                busy.append(_requests(server, token, requests, flood))
            require_equal("the statuses of the attempts", set(flood.statuses), {401})
            idle.append(_requests(server, token, requests, None))
    return [
        paired(
            f"/config for a user who is signed in, beside {clients} sign-ins at once, {label}",
            [percentile(seconds, share) * 1000 for seconds in busy],
            "ms",
            [percentile(seconds, share) * 1000 for seconds in idle],
            BASELINE,
            **({"at_most": 2.0} if label == "median" else {}),
        )
        for label, share in (("median", 0.5), ("95th percentile", 0.95))
    ]


def _signed_in_user(url: str) -> str:
    migrate.upgrade(url)
    engine = open_engine(url)
    user = users.add(engine, "ada", "annotator", actor_id=None)
    sessions = Sessions(engine, lifetime=timedelta(hours=1), idle=timedelta(hours=1))
    token = sessions.begin(user.annotator_id, "password")
    engine.dispose()
    return token


def _requests(server: Server, token: str, requests: int, flood: Flood | None) -> list[float]:
    """Return the seconds of requests with the session of the user."""
    seconds = []
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)) as connection:
        for _ in range(requests):
            started = time.perf_counter()
            connection.request("GET", "/config", headers={"Cookie": f"chatfeedback_session={token}"})
            response = connection.getresponse()
            response.read()
            seconds.append(time.perf_counter() - started)
            require_equal("the status of a request with a session", response.status, 200)
            if flood is not None:
                least = len(flood._threads) // 2
                require(flood.waiting >= least, f"at least {least} attempts must be under way, and {flood.waiting} are")
            time.sleep(PAUSE_SECONDS)
    return seconds


if __name__ == "__main__":
    command(__doc__, measure)

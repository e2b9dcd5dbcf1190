"""The file deploy/nginx.conf in a real nginx, before two servers that write down what reaches them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from chatfeedback.config.settings import Settings
from ports import free_port
from replicas.fleet import eventually
from replicas.proxy import Nginx
from replicas.upstream_stub import Behind

pytestmark = pytest.mark.process

MOST = Settings.model_fields["max_request_bytes"].default


class Place:
    """nginx, and the two servers behind it."""

    def __init__(self, front: Nginx, behind: list[Behind]) -> None:
        self.front = front
        self.behind = behind

    def client(self, session: str | None = None, **options: Any) -> httpx.Client:
        """Return a browser; `session`: the token of its user."""
        cookies = {"__Host-chatfeedback_session": session} if session else None
        return httpx.Client(
            base_url=self.front.address, verify=self.front.trust, cookies=cookies, trust_env=False, **options
        )

    def served_by(self, target: str) -> list[int]:
        """Return the numbers of the servers that got a request for this, as often as they did."""
        return [number for number, one in enumerate(self.behind) for got in one.got if got.target == target]

    def got(self) -> list[Any]:
        return [got for one in self.behind for got in one.got]

    def session_at(self, number: int) -> str:
        """Return a session that belongs to this one of the two."""
        for _ in range(100):
            session = secrets.token_urlsafe(32)
            with self.client(session) as client:
                client.get(f"/?{session}")
            if self.served_by(f"/?{session}") == [number]:
                return session
        raise AssertionError("everybody belongs to the other one")


@pytest.fixture
def place(nginx: str) -> Iterator[Place]:
    behind = [Behind(), Behind()]
    ports, replicas = (free_port(), free_port()), (behind[0].port, behind[1].port)
    with TemporaryDirectory() as folder, Nginx(nginx, Path(folder), ports, replicas) as front:
        yield Place(front, behind)
    for one in behind:
        one.close()


def test_nginx_limits_sign_ins_from_one_address_and_not_the_page_for_them(place: Place) -> None:
    with place.client() as client:
        for _ in range(150):
            assert client.get("/login").status_code == 200
        answers = [client.post("/login", content=b"name=ada") for _ in range(150)]
        assert client.get("/login").status_code == 200
        assert client.post("/logout").status_code == 200
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert len(answers) - len(refused) == len(place.served_by("/login")) - 151 >= 101
    for answer in refused:
        assert answer.text == "Too many people sign in at the moment; try again in a few seconds.\n"
        assert answer.headers["retry-after"] == "5"


def with_tls(session: str) -> str:
    return f"__Host-chatfeedback_session={session}"


def without_tls(session: str) -> str:
    return f"chatfeedback_session={session}"


def among_others(session: str) -> str:
    return f"a=1; not_chatfeedback_session=x; __Host-chatfeedback_session={session}; chatfeedback_form=y"


def test_nginx_keeps_session_at_one_replica_from_any_address(place: Place) -> None:
    at: list[int] = []
    for _ in range(12):
        session = secrets.token_urlsafe(32)
        for address in ("127.0.0.1", "127.0.0.2"):
            transport = httpx.HTTPTransport(verify=place.front.trust, local_address=address)
            with httpx.Client(base_url=place.front.address, transport=transport) as client:
                for cookie in (with_tls, without_tls, among_others):
                    client.get(f"/?{session}", headers={"cookie": cookie(session)})
        numbers = place.served_by(f"/?{session}")
        assert len(numbers) == 6
        assert len(set(numbers)) == 1
        at.append(numbers[0])
    assert set(at) == {0, 1}, "both have people"


def test_nginx_keeps_client_without_session_at_one_replica_by_address(place: Place) -> None:
    with place.client() as client:
        for _ in range(10):
            client.get("/login")
    assert len(place.served_by("/login")) == 10
    assert len(set(place.served_by("/login"))) == 1


def test_nginx_sets_forwarded_headers_and_drops_those_of_client(place: Place) -> None:
    made_up = {
        "X-Forwarded-For": "10.1.2.3",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "1",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-User": "ada",
        "X-Real-IP": "10.1.2.3",
        "Forwarded": "for=10.1.2.3",
        "X-Request-ID": "made-up",
    }
    with place.client() as client:
        for _ in range(2):
            client.get("/", headers=made_up)
    first, second = place.got()
    assert {name: values for name, values in first.headers.items() if name.startswith(("x-", "forwarded", "host"))} == {
        "host": [f"127.0.0.1:{place.front.port}"],
        "x-forwarded-for": ["127.0.0.1"],
        "x-forwarded-proto": ["https"],
        "x-request-id": first.headers["x-request-id"],
    }
    assert len(first.headers["x-request-id"][0]) == 32
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_nginx_passes_request_with_body_to_other_replica_when_one_is_away(place: Place) -> None:
    session = place.session_at(0)
    place.behind[0].close()
    with place.client(session) as client:
        assert client.post("/gradio_api/queue/join", content=b"a prompt").status_code == 200
    assert place.front.served("/gradio_api/queue/join").upstreams == [one.port for one in place.behind]
    assert place.behind[1].got[-1].body == b"a prompt"
    with place.client(session) as client:
        assert client.get("/config").status_code == 200
    assert place.front.served("/config").upstreams == [place.behind[1].port], "it is known by now"


def test_nginx_does_not_repeat_post_request_that_was_dropped(
    place: Place,
) -> None:
    session = place.session_at(0)
    place.behind[0].drops = True
    with place.client(session) as client:
        assert client.post("/gradio_api/queue/join", content=b"a prompt").status_code == 502, "503 asks for it"
    assert place.served_by("/gradio_api/queue/join") == [0]


def test_nginx_repeats_dropped_get_request_at_other_replica(place: Place) -> None:
    session = place.session_at(1)
    place.behind[1].drops = True
    with place.client(session) as client:
        assert client.get("/config").status_code == 200
    assert place.served_by("/config") == [0, 1]


def test_nginx_answers_with_sentence_without_any_replica(place: Place) -> None:
    for one in place.behind:
        one.close()
    with place.client() as client:
        answer = client.get("/")
    assert (answer.status_code, answer.headers["retry-after"]) == (502, "5")
    assert answer.text.startswith("chatfeedback does not answer at the moment. What was stored is safe;")


def test_nginx_passes_stream_on_while_it_is_written(place: Place) -> None:
    with place.client() as client, client.stream("GET", "/gradio_api/queue/data?session_hash=abc") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "data: first"  # the second one is not written before this was read
        for one in place.behind:
            one.first_was_read.set()
        assert [line for line in lines if line] == ["data: second"]


def test_nginx_keeps_open_streams_of_replica_taken_out_and_sends_it_nothing_new(place: Place) -> None:
    session = place.session_at(0)
    with place.client(session) as client, client.stream("GET", "/gradio_api/queue/data?session_hash=abc") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "data: first"
        place.front.take_out(place.behind[0].port)

        def where() -> int:
            with place.client(session) as another:
                another.post("/gradio_api/queue/join")
            return place.served_by("/gradio_api/queue/join").count(1)

        eventually(where, bool)
        place.behind[0].first_was_read.set()
        assert [line for line in lines if line] == ["data: second"]
    place.front.put_back()
    eventually(lambda: place.session_at(0), bool)


def test_nginx_has_same_limit_on_request_body_as_replicas(place: Place) -> None:
    with place.client() as client:
        assert client.post("/gradio_api/queue/join", content=b"x" * MOST).status_code == 200
        assert client.post("/gradio_api/queue/join", content=b"x" * (MOST + 1)).status_code == 413
    (got,) = place.got()
    assert len(got.body) == MOST


@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/./metrics", "/%6detrics", "/x/../metrics", "/metrics?a=b"])
def test_nginx_does_not_pass_metrics_on(place: Place, path: str) -> None:
    target = httpx.URL(place.front.address).copy_with(raw_path=path.encode())
    with place.client() as client:
        assert client.get(target).status_code == 404
    assert place.got() == []


def test_nginx_lets_browsers_cache_static_files_only(place: Place) -> None:
    with place.client() as client:
        for path in ("/assets/index.js", "/static/fonts/a.woff2"):
            assert client.get(path).headers["cache-control"] == "max-age=86400"
        for path in ("/", "/config", "/login", "/export/feedback.csv"):
            assert "cache-control" not in client.get(path).headers, "what the replica says of it stays"


def test_nginx_redirects_http_to_https(place: Place) -> None:
    answer = httpx.post(f"http://127.0.0.1:{place.front.plain_port}/login?next=/", content=b"secret", trust_env=False)
    assert (answer.status_code, answer.headers["location"]) == (308, "https://127.0.0.1/login?next=/")
    assert place.got() == []


@pytest.mark.parametrize("fault", [lambda one: one.close(), lambda one: setattr(one, "drops", True)])
def test_nginx_logs_have_no_page_ids_queries_and_cookies(place: Place, fault: Callable[[Behind], object]) -> None:
    marked = {"code": "marked-code", "session_hash": "marked-page"}
    for happened in ("well", "not well"):
        with place.client("marked-session") as client:
            client.get("/login/oidc/callback", params=marked, headers={"referer": "https://x/marked-referer"})
            client.get("/gradio_api/heartbeat/marked-page")
            client.post("/gradio_api/queue/join?marked-query", content=b"marked-prompt")
        if happened == "well":
            for one in place.behind:
                fault(one)
    # The last one is written when it has been answered already.
    logged = eventually(place.front.logged, lambda written: written.count("/gradio_api/queue/join") == 2)
    assert logged.count("/login/oidc/callback") == 2
    assert "marked" not in logged

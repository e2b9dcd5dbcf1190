"""Downloads over HTTP, from a real server on 127.0.0.1, on both databases."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote

import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool
from starlette.requests import Request

from chatfeedback.domain.roles import ROLES, Person
from chatfeedback.errors import NotAllowed
from chatfeedback.server.downloads import download_routes
from chatfeedback.store.accounts import pseudonyms
from chatfeedback.store.database.engine import open_engine
from chatfeedback.store.log.event_store import EventStore
from conversation_builder import People
from export.recording import START, Export, TimedTalk, gather


def person_of(request: Request) -> Person:
    """Return a person with the role of the request, by default an admin; refuse Mallory."""
    if request.headers.get("x-name") == "mallory":
        raise NotAllowed("You may not download this.")
    role = request.headers.get("x-role", "admin")
    assert role in ROLES
    return Person("a-1", "ada", role)


@contextmanager
def serving(app: FastAPI) -> Iterator[int]:
    """Serve `app`; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[
                1
            ]  # a client that connects before the server runs waits in the queue of the socket
        finally:
            server.should_exit = server.force_exit = True
            thread.join(30)
        assert not thread.is_alive()


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Site:
    """Downloads of a database, on a server."""

    def __init__(self, engine: Engine, port: int, noted: list[tuple[Person, dict[str, object]]]) -> None:
        self.engine, self.port, self.noted = engine, port, noted

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def begin(self, path: str) -> socket.socket:
        """Send a request, and read no more than the first bytes of the answer."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(("127.0.0.1", self.port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.recv(12) == b"HTTP/1.1 200"
        return client

    def in_use(self) -> int:
        assert isinstance(self.engine.pool, QueuePool)
        return self.engine.pool.checkedout()

    def comes_to_rest(self) -> bool:
        """Wait until all database connections are given back; return False after half a minute."""
        deadline = time.monotonic() + 30
        while self.in_use() and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.in_use()


@contextmanager
def site_of(database_url: str, **options: float) -> Iterator[Site]:
    engine = open_engine(database_url)
    app = FastAPI()
    noted: list[tuple[Person, dict[str, object]]] = []
    app.include_router(
        download_routes(engine, person_of, lambda person, **what: noted.append((person, what)), **options)
    )
    try:
        with serving(app) as port:
            yield Site(engine, port, noted)
    finally:
        engine.dispose()


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    with site_of(database_url) as site:
        yield site


@pytest.fixture
def gathered(store: EventStore, people: People) -> None:
    gather(store, people)


@pytest.fixture
def plenty(store: EventStore, people: People) -> None:
    """Store more than all buffers between a server and a client that does not read."""
    talk = TimedTalk(store, people.ada)
    for _ in range(20):
        talk.ask("Go on", "on and on " * 100_000)


@pytest.mark.usefixtures("gathered")
@pytest.mark.parametrize("kind", ["events", "messages", "feedback"])
def test_download_equals_export(kind: str, site: Site, export: Export) -> None:
    for format, suffix, media_type in (
        ("csv", "csv", "text/csv; charset=utf-8"),
        ("spreadsheet", "spreadsheet.csv", "text/csv; charset=utf-8"),
        ("jsonl", "jsonl", "application/x-ndjson; charset=utf-8"),
    ):
        answer = site.get(f"/export/{kind}.{suffix}")
        assert (answer.status, answer.body) == (200, export(kind, format))
        assert answer.headers["content-type"] == media_type
        name = rf'attachment; filename="chatfeedback-{kind}-\d\d\d\d-\d\d-\d\d\.{re.escape(suffix)}"'
        assert re.fullmatch(name, answer.headers["content-disposition"])
    assert site.comes_to_rest()


@pytest.mark.usefixtures("gathered")
def test_download_is_filtered_by_query(site: Site, export: Export) -> None:
    day = timedelta(days=1)
    cases = {
        "model=org/vast&annotator=bob": {"model": "org/vast", "annotator": "bob"},
        "since=2026-03-02&until=2026-03-03": {
            "since": datetime(2026, 3, 2, tzinfo=UTC),
            "until": datetime(2026, 3, 3, tzinfo=UTC),
        },
        "since=2026-03-02T12:00:00.123456Z": {"since": START + day},
        "until=2026-03-02T13:00:00.123456%2B01:00": {"until": START + day},
        "since=&until=&model=&annotator=": {},
    }
    bodies = set()
    for query, filters in cases.items():
        answer = site.get(f"/export/feedback.csv?{query}")
        assert (answer.status, answer.body) == (200, export("feedback", **filters))
        bodies.add(answer.body)
    assert len(bodies) == len(cases)


@pytest.mark.usefixtures("gathered")
def test_head_request_has_headers_of_get_and_no_body(site: Site) -> None:
    got, head = site.get("/export/feedback.csv"), site.get("/export/feedback.csv", "HEAD")
    assert (head.status, head.body) == (200, b"")
    for name in ("content-type", "content-disposition", "cache-control"):
        assert head.headers[name] == got.headers[name]
    assert site.get("/export/feedback.csv?model=smal", "HEAD").status == 404
    assert site.comes_to_rest()


NAMES = ("since", "until", "model", "annotator", "study", "condition", "external_id", "annotators")


@pytest.mark.parametrize("values", [("2026-03-02", "2026-03-03"), ("names", "names"), ("", "small")])
@pytest.mark.sqlite
def test_download_refuses_parameter_with_two_values(values: tuple[str, str], site: Site) -> None:
    for name in NAMES:
        answer = site.get("/export/feedback.csv?" + "&".join(f"{name}={value}" for value in values))
        assert answer.status == 400
        assert answer.body.decode() == f"'{name}' is given more than once in the address; give it once.\n"


@pytest.mark.parametrize("form", [str.upper, str.capitalize, "{}[]".format, " {}".format, "{}%20".format])
@pytest.mark.sqlite
def test_download_refuses_parameter_in_another_form(form: Callable[[str], str], site: Site) -> None:
    for name in NAMES:
        answer = site.get(f"/export/feedback.csv?{quote(form(name), safe='%')}=2026-03-02")
        assert answer.status == 400
        assert "is no filter; there are since, until, model," in answer.body.decode()


@pytest.mark.usefixtures("gathered")
@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("feedback.csv?since=yesterday", 400, "'yesterday' is neither a date (2026-11-20) nor a time"),
        ("feedback.csv?since=2026-03-02T12:00+01:00", 400, "In an address, + is written as %2B."),
        ("feedback.csv?until=0001-01-01T00:00%2B10:00", 400, "is neither a date (2026-11-20) nor a time"),
        ("feedback.csv?since=2026-03-02&until=2026-03-02", 400, "since must be earlier than until."),
        ("feedback.csv?modle=small", 400, "'modle' is no filter; there are since, until, model, annotator, study,"),
        ("feedback.csv?model=smal", 404, "There is no reply by a model named 'smal' in the database."),
        ("feedback.csv?annotator=%00", 404, "There is no annotator with the name, id or pseudonym '\ufffd' in the"),
        ("feedback.csv?annotators=ids", 400, "annotators is pseudonyms or names, and not 'ids'."),
        ("feedback.csv?annotators=", 400, "annotators is pseudonyms or names, and not ''."),
        ("feedback.xlsx", 404, "There is no 'feedback.xlsx'; exports are events, messages, feedback, each as csv or"),
        ("feedback.spreadsheet", 404, "There is no 'feedback.spreadsheet'; exports are"),
        ("users.csv", 404, "There is no 'users.csv'; exports are events, messages, feedback, each as csv or spread"),
    ],
)
def test_download_with_invalid_request_is_answered_with_one_sentence(
    path: str, status: int, sentence: str, site: Site
) -> None:
    answer = site.get(f"/export/{path}")
    assert answer.status == status
    assert sentence in answer.body.decode()
    assert answer.body.count(b"\n") == 1
    assert site.comes_to_rest()


def test_download_is_refused_for_unknown_person(site: Site) -> None:
    answer = site.get("/export/events.csv", **{"x-name": "mallory"})
    assert (answer.status, answer.body) == (403, b"You may not download this.\n")


@pytest.mark.parametrize("query", ["", "?annotators=pseudonyms", "?annotators=names"])
def test_download_requires_role_that_exports_and_names_require_admin(query: str, site: Site) -> None:
    allowed = {role: site.get(f"/export/events.csv{query}", **{"x-role": role}).status for role in ROLES}
    of_researcher = 403 if "names" in query else 200
    assert allowed == {"annotator": 403, "researcher": of_researcher, "admin": 200}
    assert site.get(f"/export/events.csv{query}", "HEAD", **{"x-role": "annotator"}).status == 403


@pytest.mark.usefixtures("gathered")
def test_download_has_names_when_admin_requests_them(site: Site, engine: Engine, export: Export) -> None:
    answer = site.get("/export/feedback.spreadsheet.csv?annotators=names&annotator=bob")
    assert answer.body == export("feedback", "spreadsheet", naming=pseudonyms.names(engine), annotator="bob")
    assert b'"bob"' in answer.body
    assert site.get("/export/feedback.csv").body == export("feedback")


@pytest.mark.usefixtures("gathered")
def test_download_filter_refuses_names_of_annotators_for_researcher(
    site: Site, people: People, called: People, export: Export
) -> None:
    researcher = {"x-role": "researcher"}
    for name in ("bob", "nobody"):
        answer = site.get(f"/export/feedback.csv?annotator={name}", **researcher)
        assert answer.status == 404
        assert answer.body.decode() == f"There is no annotator with the id or pseudonym '{name}' in the database.\n"
    for name_or_id in (called.bob, people.bob):
        answer = site.get(f"/export/feedback.csv?annotator={name_or_id}", **researcher)
        assert (answer.status, answer.body) == (200, export("feedback", annotator="bob"))


def test_download_of_outdated_database_is_answered_with_one_sentence(empty_database_url: str) -> None:
    with site_of(empty_database_url) as site:
        answer = site.get("/export/events.csv")
    assert (answer.status, answer.body.count(b"\n")) == (500, 1)
    assert b"chatfeedback db upgrade" in answer.body


@pytest.mark.usefixtures("plenty")
def test_download_frees_connection_when_client_goes_away(site: Site) -> None:
    client = site.begin("/export/messages.csv")
    assert site.in_use() == 1
    client.close()
    assert site.comes_to_rest()


@pytest.mark.usefixtures("plenty")
def test_download_is_cut_off_when_client_does_not_read(database_url: str) -> None:
    with site_of(database_url, stalled_seconds=0.2) as site, closing(site.begin("/export/messages.csv")) as client:
        assert site.comes_to_rest()
        received = b"".join(iter(lambda: client.recv(1 << 20), b""))
    assert not received.endswith(b"0\r\n\r\n"), "what is only half the file must not look whole"


@pytest.mark.usefixtures("gathered")
def test_download_limit_does_not_count_finished_downloads(database_url: str) -> None:
    with site_of(database_url, max_concurrent=1) as site:
        assert {site.get("/export/feedback.csv").status for _ in range(100)} == {200}


@pytest.mark.usefixtures("plenty")
def test_download_limit_refuses_too_many_at_once(database_url: str) -> None:
    with site_of(database_url, max_concurrent=2) as site:
        running = [site.begin("/export/messages.csv") for _ in range(2)]
        refused = site.get("/export/feedback.csv")
        assert (refused.status, refused.headers["retry-after"]) == (503, "60")
        assert refused.body == b"Too many downloads are running; try again in a minute.\n"
        for client in running:
            client.close()
        assert any(site.get("/export/feedback.csv").status == 200 for _ in range(1000))

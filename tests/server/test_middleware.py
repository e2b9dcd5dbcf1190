"""The access middleware alone: host names of the server, and requests from pages of other sites.

`sockets/test_other_sites.py` checks that it stands in front of the application, and what the parser of HTTP leaves
to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine
from starlette.types import Message, Receive, Scope, Send

from chatfeedback.config.settings import Settings
from chatfeedback.errors import StoreUnavailable
from chatfeedback.server.authentication.authenticators import host_name
from chatfeedback.server.authentication.setup import LOOPBACK, allowed_hosts
from chatfeedback.server.authorization.middleware import AccessMiddleware
from chatfeedback.server.authorization.policy import ROUTES
from chatfeedback.server.authorization.request_body import RequestRejected
from chatfeedback.store.database.engine import open_engine
from server.gate_harness import LET_IN, ask, build_gate

OWN_NAMES = {
    "127.0.0.1": "127.0.0.1",
    "127.0.0.1:7860": "127.0.0.1",
    "127.0.0.1:": "127.0.0.1",
    "localhost": "localhost",
    "LOCALHOST:1": "localhost",
    "[::1]": "::1",
    "[::1]:7860": "::1",
}
STRANGE = [
    "evil.example",
    "evil.example:7860",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "localhost.",
    "127.0.0.2",
    "0.0.0.0",
    "127.1",
    "2130706433",
    "[::ffff:127.0.0.1]",
    "127.0.0.1@evil.example",
    "evil.example#127.0.0.1",
    "evil.example/127.0.0.1",
    "127.0.0.1:80:80",
    "127.0.0.1:evil.example",
    "127.0.0.1, evil.example",
    "[",
    "[::1",
    "]",
    "::1",
    "[::1]evil.example",
    ":",
    ":80",
    "",
    "\xe4",
    "a" * 5000,
]
PUBLIC = "https://chat.example.org"
REQUESTS = (("GET", "/config"), ("GET", "/"), ("POST", "/gradio_api/queue/join"))


@pytest.fixture(scope="module")
def engine(new_sqlite: Callable[[], str]) -> Iterator[Engine]:
    engine = open_engine(new_sqlite())
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def gate_without_auth(engine: Engine) -> AccessMiddleware:
    return build_gate(engine, Settings(auth="none"))


@pytest.fixture(scope="module")
def gate_with_auth(engine: Engine) -> AccessMiddleware:
    return build_gate(engine, Settings(auth="password"))


# What the browser wants the response for

PARTS = (
    "audio",
    "embed",
    "font",
    "frame",
    "iframe",
    "image",
    "manifest",
    "object",
    "script",
    "style",
    "track",
    "video",
)
FILES = ("/favicon.ico", "/pages/pages.css", "/theme.css", "/assets/a.js", "/static/a.js", "/manifest.json")


@pytest.mark.parametrize("part", [*PARTS, "webidentity", "anything", "", "Document"])
async def test_only_files_of_pages_can_be_part_of_page(gate_without_auth: AccessMiddleware, part: str) -> None:
    for rule in ROUTES:
        path = rule.address.replace("{*}", "x").replace("{}", "x")
        method = "GET" if "GET" in rule.methods else "POST"
        status, text = await ask(gate_without_auth, method, path, f"Sec-Fetch-Dest: {part}")
        if path in FILES or path.startswith(("/pages/", "/assets/", "/static/", "/gradio_api/file=")):
            assert "not a part of a page" not in text, path
        else:
            assert (status, text) == (403, "This address is for people and scripts, and not a part of a page.\n"), path
    assert (await ask(gate_without_auth, "GET", "/no/such/path", f"Sec-Fetch-Dest: {part}")).status == 403


async def test_page_is_opened_by_people_and_scripts(gate_without_auth: AccessMiddleware) -> None:
    for headers in ([], ["Sec-Fetch-Dest: document"], ["Sec-Fetch-Dest: empty"]):
        for path in ("/", "/export/events.csv", "/admin", "/gradio_api/queue/data", "/conversations/x/version"):
            assert "part of a page" not in (await ask(gate_without_auth, "GET", path, *headers)).text
    twice = ("Sec-Fetch-Dest: empty", "Sec-Fetch-Dest: image")
    assert (await ask(gate_without_auth, "GET", "/admin", *twice)).status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "anything"])
async def test_export_is_not_started_by_page_of_another_site(gate_without_auth: AccessMiddleware, site: str) -> None:
    for path in ("/export/events.csv", "/export/messages.jsonl"):
        for method in ("GET", "HEAD"):
            assert await ask(gate_without_auth, method, path, f"Sec-Fetch-Site: {site}") == (
                403,
                "This request comes from a page of another site.\n",
            )
    assert (await ask(gate_without_auth, "GET", "/", f"Sec-Fetch-Site: {site}")) == (200, LET_IN)


@pytest.mark.parametrize("headers", [[], ["Sec-Fetch-Site: none"], ["Sec-Fetch-Site: same-origin"]])
async def test_export_is_started_by_own_page_address_and_program(
    gate_without_auth: AccessMiddleware, headers: list[str]
) -> None:
    assert await ask(gate_without_auth, "GET", "/export/events.csv", *headers) == (200, LET_IN)


# The host


@pytest.mark.parametrize(("host", "name"), OWN_NAMES.items())
def test_host_name_returns_name_without_port_in_small_letters(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize("host", STRANGE)
def test_host_name_takes_no_strange_host_for_this_machine(host: str) -> None:
    assert host_name(host) not in LOOPBACK


@given(st.text(st.sampled_from("127.0.0.1localhost[]:@/?#\\ \texa"), max_size=30))
def test_host_name_accepts_nothing_but_port_after_name_of_this_machine(host: str) -> None:
    name = host_name(host)
    if name in LOOPBACK:
        rest = host.lower().removeprefix("[").removeprefix(name).removeprefix("]")
        assert rest == "" or (rest[0] == ":" and (rest[1:] == "" or rest[1:].isdecimal()))


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"auth": "none"}, LOOPBACK),
        ({"auth": "none", "public_url": PUBLIC}, LOOPBACK | {"chat.example.org"}),
        ({"auth": "password"}, None),
        ({"auth": "password", "public_url": PUBLIC}, LOOPBACK | {"chat.example.org"}),
        ({"auth": "password", "public_url": "http://[2001:db8::1]:7860"}, LOOPBACK | {"2001:db8::1"}),
    ],
)
def test_allowed_hosts_are_those_of_settings(settings: dict[str, str], names: frozenset[str] | None) -> None:
    assert allowed_hosts(Settings(**settings)) == names


@pytest.mark.parametrize("host", OWN_NAMES)
async def test_host_check_accepts_names_of_this_machine_without_auth(
    gate_without_auth: AccessMiddleware, host: str
) -> None:
    assert await ask(gate_without_auth, "GET", "/config", host=host) == (200, LET_IN)


@pytest.mark.parametrize("host", STRANGE)
async def test_host_check_rejects_unknown_hosts_without_auth(gate_without_auth: AccessMiddleware, host: str) -> None:
    """Protect from DNS rebinding: a foreign site may have its own name resolved to this machine."""
    for method, path in REQUESTS:
        answer = await ask(gate_without_auth, method, path, host=host)
        assert answer.status == 421, (path, answer)
        assert "does not answer to that host name" in answer.text


async def test_host_check_rejects_requests_without_host_or_with_two(gate_without_auth: AccessMiddleware) -> None:
    for host, headers in ((None, ()), ("127.0.0.1", ("Host: evil.example",)), ("127.0.0.1", ("Host: 127.0.0.1",))):
        assert (await ask(gate_without_auth, "GET", "/config", *headers, host=host)).status == 421


async def test_host_check_is_left_out_for_probes(gate_without_auth: AccessMiddleware) -> None:
    for path in ("/healthz", "/readyz"):
        assert await ask(gate_without_auth, "GET", path, host="172.30.86.11:7861") == (200, LET_IN)


@pytest.mark.parametrize("host", STRANGE)
async def test_host_check_accepts_any_host_with_auth(gate_with_auth: AccessMiddleware, host: str) -> None:
    answer = await ask(gate_with_auth, "GET", "/config", host=host)
    assert (answer.status, answer.text[:14]) == (401, "Sign in first:")


@pytest.mark.parametrize(
    ("public_url", "host", "status"),
    [
        (PUBLIC, "chat.example.org", 401),
        (PUBLIC, "CHAT.example.org:8443", 401),
        (PUBLIC, "127.0.0.1", 401),
        (PUBLIC, "evil.example", 421),
        (PUBLIC, "example.org", 421),
        (PUBLIC, "chat.example.org.evil.example", 421),
        (f"{PUBLIC}:8443", "chat.example.org:8443", 401),
        ("http://[2001:db8::1]:7860", "[2001:db8::1]:7860", 401),
        ("http://[2001:db8::1]", "[2001:db8::1]", 401),
        ("http://[2001:db8::1]", "[2001:db8::2]", 421),
    ],
)
async def test_host_check_accepts_name_of_public_url(engine: Engine, public_url: str, host: str, status: int) -> None:
    gate = build_gate(engine, Settings(auth="password", public_url=public_url))
    assert (await ask(gate, "GET", "/config", host=host)).status == status


# The origin


@pytest.mark.parametrize(
    "headers",
    [
        ("Origin: http://evil.example",),
        ("Origin: null",),
        ("Origin: http://127.0.0.1.evil.example",),
        ("Origin: https://127.0.0.1",),
        ("Origin: http://127.0.0.1:1",),
        ("Origin: http://localhost",),
        ("Origin: ",),
        ("Origin: http://127.0.0.1", "Origin: http://evil.example"),
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-site",),
        ("Sec-Fetch-Site: whatever",),
        ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"),
        ("Origin: http://127.0.0.1", "Sec-Fetch-Site: cross-site"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_origin_check_rejects_pages_of_other_sites(
    gate_with_auth: AccessMiddleware, gate_without_auth: AccessMiddleware, headers: tuple[str, ...], method: str
) -> None:
    for gate in (gate_with_auth, gate_without_auth):
        for path in ("/login", "/logout", "/gradio_api/queue/join", "/admin/users", "/nowhere"):
            answer = await ask(gate, method, path, *headers)
            assert answer == (403, "This request comes from a page of another site.\n"), path


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("Origin: http://127.0.0.1",),
        ("Origin: HTTP://127.0.0.1",),
        ("Origin: http://127.0.0.1", "Sec-Fetch-Site: same-origin"),
        ("Sec-Fetch-Site: none",),
    ],
)
async def test_origin_check_accepts_own_pages(gate_with_auth: AccessMiddleware, headers: tuple[str, ...]) -> None:
    assert await ask(gate_with_auth, "POST", "/login", *headers) == (200, LET_IN)


async def test_origin_check_accepts_pages_of_public_url(engine: Engine) -> None:
    gate = build_gate(engine, Settings(auth="password", public_url=PUBLIC))
    for origin, status in ((PUBLIC, 200), ("https://chat.example.org:8443", 403), ("http://chat.example.org", 403)):
        assert (await ask(gate, "POST", "/login", f"Origin: {origin}")).status == status, origin


async def test_origin_check_is_left_out_for_requests_that_only_read(gate_with_auth: AccessMiddleware) -> None:
    for method in ("GET", "HEAD"):
        answer = await ask(
            gate_with_auth, method, "/login", "Origin: http://evil.example", "Sec-Fetch-Site: cross-site"
        )
        assert answer.status == 200


async def test_origin_check_uses_scheme_of_connection(gate_with_auth: AccessMiddleware) -> None:
    for origin, status in (("https://127.0.0.1", 200), ("http://127.0.0.1", 403)):
        answer = await ask(gate_with_auth, "POST", "/login", f"Origin: {origin}", scheme="https")
        assert answer.status == status


# The protocol


@pytest.mark.parametrize(
    ("length", "status", "sentence"),
    [
        ("x", 400, "The Content-Length is not a number."),
        ("-1", 400, "The Content-Length is not a number."),
        ("99999999999", 413, "This is too large to be sent."),
    ],
)
async def test_middleware_rejects_content_length_that_cannot_be_read(
    gate_without_auth: AccessMiddleware, length: str, status: int, sentence: str
) -> None:
    answer = await ask(gate_without_auth, "POST", "/gradio_api/queue/join", f"Content-Length: {length}")
    assert (answer.status, sentence in answer.text) == (status, True)


async def test_middleware_closes_web_sockets(gate_without_auth: AccessMiddleware) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await gate_without_auth({"type": "websocket", "path": "/gradio_api/queue/join", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize("error", [RequestRejected(403, "No.", "code"), StoreUnavailable("The database is away.")])
async def test_middleware_raises_error_after_response_has_started(engine: Engine, error: Exception) -> None:
    async def start_and_fail(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    gate = build_gate(engine, Settings(auth="none"), start_and_fail)
    with pytest.raises(type(error)):
        await ask(gate, "GET", "/config")

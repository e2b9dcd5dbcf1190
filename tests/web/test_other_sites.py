"""By which names the server is called, and what a page of another site can send: nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from browser.application import Application
from people import Somebody, house
from web.visiting import request, sent


@pytest.fixture
def application(lived_in: tuple[Application, dict[str, Somebody]]) -> Application:
    return lived_in[0]


@pytest.fixture
def people(lived_in: tuple[Application, dict[str, Somebody]]) -> dict[str, Somebody]:
    return lived_in[1]


@pytest.fixture(autouse=True)
def _no_fault(no_fault: None) -> None:
    """The server must not write about any of these."""


@pytest.fixture(scope="module")
def open_house(new_sqlite: Callable[[], str]) -> Iterator[Application]:
    """Without sign-in, on this machine."""
    with house(new_sqlite(), auth="none") as (application, _):
        yield application


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]", "[::1]:7860"])
def test_without_sign_in_the_server_answers_by_the_names_of_this_machine(open_house: Application, host: str) -> None:
    assert sent(open_house, request("/config", host=host)).status == 200


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
    "[",
    "[::1",
    "]",
    "[::1]evil.example",
    ":",
    ":80",
    "",
    "\xe4",
    "a" * 5000,
]


@pytest.mark.parametrize("host", STRANGE)
def test_by_any_other_name_the_server_without_sign_in_is_not_called(open_house: Application, host: str) -> None:
    """A site elsewhere may have its own name resolved to this machine, and would be the same site to the browser."""
    for path, method in (("/config", "GET"), ("/", "GET"), ("/gradio_api/queue/join", "POST")):
        answer = sent(open_house, request(path, method=method, host=host))
        assert answer.status in (400, 421), (path, answer)


def test_a_host_that_is_not_said_or_said_twice_is_none(open_house: Application) -> None:
    for hosts in (b"", b"Host: 127.0.0.1\r\nHost: evil.example\r\n"):
        answer = sent(open_house, b"GET /config HTTP/1.1\r\n" + hosts + b"\r\n")
        assert answer.status in (400, 421)
    assert sent(open_house, b"GET /config HTTP/1.0\r\n\r\n", half_closed=True).status == 421


def test_whoever_puts_the_host_into_the_target_gets_no_further(open_house: Application) -> None:
    for target in ("http://127.0.0.1/config", "http://evil.example/config", "//127.0.0.1/config"):
        assert sent(open_house, request(target, host="evil.example")).status in (400, 421)
        assert sent(open_house, request(target)).status in (400, 404)


@pytest.mark.parametrize("host", STRANGE)
def test_with_sign_in_a_strange_host_is_no_fault(application: Application, host: str) -> None:
    assert sent(application, request("/config", host=host)).status in (400, 401)


@pytest.mark.parametrize(
    ("public_url", "host", "status"),
    [
        ("https://chat.example.org", "chat.example.org", 401),
        ("https://chat.example.org", "CHAT.example.org:8443", 401),
        ("https://chat.example.org", "127.0.0.1", 401),
        ("https://chat.example.org", "evil.example", 421),
        ("https://chat.example.org", "example.org", 421),
        ("https://chat.example.org:8443", "chat.example.org:8443", 401),
        ("http://[2001:db8::1]:7860", "[2001:db8::1]:7860", 401),
        ("http://[2001:db8::1]", "[2001:db8::1]", 401),
        ("http://[2001:db8::1]", "[2001:db8::2]", 421),
    ],
)
def test_with_a_public_address_its_name_counts(
    new_sqlite: Callable[[], str], public_url: str, host: str, status: int
) -> None:
    with house(new_sqlite(), public_url=public_url) as (application, _):
        assert sent(application, request("/config", host=host)).status == status


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
@pytest.mark.parametrize("path", ["/login", "/logout", "/gradio_api/queue/join", "/admin/users", "/nowhere"])
def test_what_a_page_of_another_site_sends_is_refused(
    application: Application, people: dict[str, Somebody], headers: tuple[str, ...], path: str
) -> None:
    cookie = f"Cookie: chatfeedback_session={people['adam'].token}"
    answer = sent(application, request(path, cookie, *headers, method="POST"))
    assert answer.status == 403
    assert b"another site" in answer.body


def test_what_our_own_page_sends_is_taken(application: Application) -> None:
    for headers in ((), ("Origin: http://127.0.0.1", "Sec-Fetch-Site: same-origin"), ("Sec-Fetch-Site: none",)):
        assert sent(application, request("/login", *headers, method="POST")).status == 400  # without its token


def test_no_site_is_allowed_to_read_with_our_cookies(people: dict[str, Somebody]) -> None:
    for method in ("GET", "OPTIONS"):
        headers = {"origin": "http://evil.example", "access-control-request-method": "POST"}
        answer = people["ada"].request(method, "/config", headers=headers)
        assert "access-control-allow-origin" not in answer.headers

"""Host names and origins over a socket: names of the server, and requests from pages of other sites.

`server/test_middleware.py` tests what the access middleware decides; these tests check that it stands in front, and the
parser of HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from browser.application import Application
from server.http_client import request, sent
from users import Somebody, house


@pytest.fixture(scope="module")
def open_house(new_sqlite: Callable[[], str]) -> Iterator[Application]:
    """Return an application without sign-in, on this machine."""
    with house(new_sqlite(), auth="none") as (application, _):
        yield application


STRANGE = ["evil.example", "127.0.0.1@evil.example", "[::1", ":80", "", "\xe4", "a" * 5000]
"""Hosts that a parser of HTTP may refuse or read in another way; `server/test_middleware.py` has all others."""


def test_host_check_accepts_only_names_of_this_machine_without_sign_in(open_house: Application) -> None:
    for host in ("127.0.0.1", "LOCALHOST:1", "[::1]:7860"):
        assert sent(open_house, request("/config", host=host)).status == 200, host
    for host in STRANGE:
        for path, method in (("/config", "GET"), ("/", "GET"), ("/gradio_api/queue/join", "POST")):
            answer = sent(open_house, request(path, method=method, host=host))
            assert answer.status in (400, 421), (host, path, answer)


def test_host_check_rejects_missing_and_repeated_host(open_house: Application) -> None:
    for hosts in (b"", b"Host: 127.0.0.1\r\nHost: evil.example\r\n"):
        answer = sent(open_house, b"GET /config HTTP/1.1\r\n" + hosts + b"\r\n")
        assert answer.status in (400, 421)
    assert sent(open_house, b"GET /config HTTP/1.0\r\n\r\n", half_closed=True).status == 421


def test_host_check_is_not_bypassed_by_host_in_request_target(open_house: Application) -> None:
    for target in ("http://127.0.0.1/config", "http://evil.example/config", "//127.0.0.1/config"):
        assert sent(open_house, request(target, host="evil.example")).status in (400, 421)
        assert sent(open_house, request(target)).status in (400, 404)


def test_host_check_handles_strange_hosts_without_fault_with_sign_in(application: Application) -> None:
    for host in STRANGE:
        assert sent(application, request("/config", host=host)).status in (400, 401), host


@pytest.mark.parametrize(
    "headers",
    [
        ("Origin: http://evil.example",),
        ("Origin: ",),
        ("Origin: http://127.0.0.1", "Origin: http://evil.example"),
        ("Sec-Fetch-Site: cross-site",),
        ("Origin: http://127.0.0.1", "Sec-Fetch-Site: cross-site"),
    ],
)
def test_origin_check_rejects_requests_of_other_sites(
    application: Application, people: dict[str, Somebody], headers: tuple[str, ...]
) -> None:
    cookie = f"Cookie: chatfeedback_session={people['adam'].token}"
    for path in ("/login", "/logout", "/gradio_api/queue/join", "/admin/users", "/nowhere"):
        answer = sent(application, request(path, cookie, *headers, method="POST"))
        assert answer.status == 403, path
        assert b"another site" in answer.body


def test_origin_check_accepts_requests_of_own_page(application: Application) -> None:
    for headers in ((), ("Origin: http://127.0.0.1", "Sec-Fetch-Site: same-origin"), ("Sec-Fetch-Site: none",)):
        assert sent(application, request("/login", *headers, method="POST")).status == 400  # without its token


def test_cors_header_is_never_sent_to_other_sites(people: dict[str, Somebody]) -> None:
    for method in ("GET", "OPTIONS"):
        headers = {"origin": "http://evil.example", "access-control-request-method": "POST"}
        answer = people["ada"].request(method, "/config", headers=headers)
        assert "access-control-allow-origin" not in answer.headers

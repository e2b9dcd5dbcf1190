"""Paths and methods: no way to write them leads around the access middleware, to a file, or to a fault."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from browser.application import Application
from server.http_client import request, sent
from users import Somebody

NO = range(400, 500)


CLOSED = ("/gradio_api/info", "/gradio_api/upload", "/config", "/gradio_api/queue/status", "/admin", "/docs")


def variants(path: str) -> Iterator[str]:
    """Yield other ways to write a path."""
    first, *rest = path.lstrip("/").split("/")
    yield from (f"/{path}", f"//{path}", f"/.{path}", f"/x/..{path}", f"{path}/", f"{path}//", f"{path}/.", f"{path}.")
    yield from (f"{path};x", f"/;{path}", f"{path}%00", f"{path}%20", f"{path}%2f", f"{path}%0a", f"{path}%3f")
    yield from (path.upper(), path.title(), path.replace("/", "\\"), f"/%2e{path}", f"/%2e%2e{path}", f"/%2F{path}")
    yield from (f"/assets/..{path}", f"/static/%2e%2e{path}", f"/pages/..%2f{path[1:]}", f"/assets/../..{path}")
    yield from (f"/login/..{path}", f"/login/oidc/callback/..{path}", f"/login;{path}", f"/theme.css/..{path}")
    yield from (f"/{first[:-1]}%{ord(first[-1]):02x}" + "".join(f"/{part}" for part in rest), f"/{path}?/login")
    yield from (path.replace("/", "%2F"), path.replace("/", "%252F"), f"{path}#", f"{path}?x=/login")
    yield from (path.replace("_", "%5f"), path.replace("_", "-"), f"/queue{path}", f"/api{path}", f"/run{path}")


@pytest.mark.parametrize("path", CLOSED)
def test_access_middleware_is_not_bypassed_by_path_variants(
    application: Application, people: dict[str, Somebody], path: str
) -> None:
    opened = {}
    for target, method in itertools.product(variants(path), ("GET", "POST")):
        status = sent(application, request(target, method=method)).status
        if status not in (400, 401, 404):
            opened[method, target] = status
    assert opened == {}


@pytest.mark.parametrize("prefix", ["/assets", "/static", "/pages", "/gradio_api/file=", "/export"])
def test_static_routes_serve_no_file_from_elsewhere(
    application: Application, people: dict[str, Somebody], prefix: str
) -> None:
    cookie = f"Cookie: chatfeedback_session={people['adam'].token}"
    places = ("etc/passwd", "pyproject.toml", "chatfeedback.db", "gate.py", "__init__.py")
    ups = (
        "/",
        "//",
        "/..%2f",
        "/%2e%2e/",
        "/../../../../../../../../../",
        "/..%2f..%2f..%2f..%2f..%2f..%2f..%2f",
        "/\\..\\",
    )
    for up, place in itertools.product(ups, places):
        for headers in ((), (cookie,)):
            answer = sent(application, request(f"{prefix}{up}{place}", *headers))
            assert answer.status in NO, (up, place, answer)
            assert b"root:" not in answer.body


@pytest.mark.parametrize(
    "method",
    ["get", "Get", "gET", "post", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "X", "G" * 500],
)
def test_other_http_methods_do_nothing(application: Application, people: dict[str, Somebody], method: str) -> None:
    cookie = f"Cookie: chatfeedback_session={people['adam'].token}"
    for path in ("/", "/config", "/login", "/healthz", "/gradio_api/queue/join", "/logout", "/admin/users"):
        assert sent(application, request(path, method=method)).status in (400, 401)
        assert sent(application, request(path, cookie, method=method)).status in (400, 404)
    assert people["adam"].get("/config").status_code == 200


def test_web_socket_is_refused(application: Application, people: dict[str, Somebody]) -> None:
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    for path, headers in itertools.product(("/", "/gradio_api/queue/join", "/login"), ((), ("Origin: http://evil",))):
        answer = sent(application, request(path, *upgrade, "Sec-WebSocket-Version: 13", *headers))
        assert answer.status in (200, 401, 403, 404)
        assert b"101" not in answer.headers.partition(b"\r\n")[0]


@given(st.binary(min_size=1, max_size=60).filter(lambda path: not set(path) & {0, 9, 10, 11, 12, 13, 32}))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_server_answers_any_path_without_fault(application: Application, path: bytes) -> None:
    answer = sent(application, b"GET /" + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/html\r\n\r\n")
    assert answer.status in (303, *NO)
    assert b"\nx-injected" not in answer.headers.lower()


@given(st.text("/.%25eE\\;ga_piconfd", min_size=1, max_size=25), st.sampled_from(CLOSED))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_closed_path_stays_closed_with_any_prefix(application: Application, before: str, path: str) -> None:
    assert sent(application, request(f"/{before}{path}")).status in (400, 401, 404)

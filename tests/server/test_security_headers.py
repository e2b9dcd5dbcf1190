"""Security headers of every answer, to any request and with any status."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest

from chatfeedback.config.settings import Settings
from chatfeedback.server import security_headers
from chatfeedback.server.app import build_app
from users import UNUSED_MODELS

ASKED = [
    *(("GET", path) for path in ("/", "/config", "/theme.css", "/healthz", "/favicon.ico", "/manifest.json")),
    *(
        ("GET", path)
        for path in ("/static/js/iframeResizer.contentWindow.min.js", "/assets/nothing.js", "/static/none")
    ),
    *(("GET", path) for path in ("/export/feedback.csv", "/export/events.jsonl", "/export/nothing.csv", "/login")),
    *(("GET", path) for path in ("/export/feedback.csv?since=never", "/nowhere", "/%00", "/%2e%2e/%2e%2e/etc/passwd")),
    *(("GET", path) for path in ("/gradio_api/file=/etc/passwd", "/gradio_api/info", "/docs", "/pages/pages.css")),
    *(("GET", path) for path in ("/pages/none", "/gradio_api/queue/data?session_hash=abc", "/%2f/elsewhere.example/")),
    *(
        ("POST", path)
        for path in ("/", "/login", "/logout", "/gradio_api/queue/join", "/nowhere", "/export/events.csv")
    ),
    *(("HEAD", path) for path in ("/", "/healthz", "/export/feedback.csv", "/nowhere")),
    *((method, "/") for method in ("PUT", "DELETE", "OPTIONS", "TRACE")),
]
REFUSED: list[tuple[dict[str, str], bytes, int]] = [
    ({"host": "elsewhere.example"}, b"", 421),
    ({"origin": "https://elsewhere.example"}, b"", 403),
    ({"sec-fetch-site": "cross-site"}, b"", 403),
    ({"content-length": "99999999999"}, b"", 413),
    ({"content-type": "application/json"}, b"{", 400),
    ({"content-type": "application/json"}, b'{"data": [], "fn_index": 99999}', 404),
    ({"content-type": "text/plain"}, b"{}", 415),
]


@pytest.fixture
async def client(new_sqlite: Callable[[], str]) -> AsyncIterator[httpx2.AsyncClient]:
    app = build_app(Settings(database_url=new_sqlite(), models=UNUSED_MODELS))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        app.router.lifespan_context(app),
    ):
        yield client


def assert_security_headers(answer: httpx2.Response, what: str) -> None:
    """Check that all headers are there, once, and that the policy lets no inline script run."""
    for name, value in security_headers.ALWAYS.items():
        assert answer.headers.get_list(name) == [value], what
    (policy,) = answer.headers.get_list("content-security-policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["frame-ancestors"] == "'none'"
    assert "'unsafe-inline'" not in rules.get("script-src", "")
    assert not re.search(r"https?:|\*", policy), "nothing is loaded from elsewhere"
    assert "strict-transport-security" not in answer.headers, "there is no TLS here"


async def test_security_headers_are_on_every_answer(client: httpx2.AsyncClient) -> None:
    for method, path in ASKED:
        answer = await client.request(method, path)
        assert_security_headers(answer, f"{method} {path}")
        if answer.headers["content-security-policy"] != security_headers.OWN_PAGES:
            assert (method, path, answer.status_code) == ("GET", "/", 200), "only Gradio's page may have scripts"


async def test_security_headers_are_on_every_refusal(client: httpx2.AsyncClient) -> None:
    for headers, body, status in REFUSED:
        answer = await client.post("/gradio_api/queue/join", headers=headers, content=body)
        assert answer.status_code == status, headers
        assert_security_headers(answer, str(headers))


async def test_security_headers_are_on_unexpected_error_which_reveals_nothing(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> str:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(security_headers, "page_policy", broken)
    answer = await client.get("/")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert_security_headers(answer, "an error")


async def test_csp_of_page_names_each_inline_script_and_no_other(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/")
    inside = re.findall(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", answer.text, re.DOTALL)
    policy = answer.headers["content-security-policy"]
    assert inside and all(security_headers.source_hash(script.encode()) in policy for script in inside)
    assert security_headers.source_hash(b"alert(1)") not in policy


async def test_cache_control_keeps_files_of_gradio_build_only(client: httpx2.AsyncClient) -> None:
    page = await client.get("/")
    scripts = re.findall(r"assets/[\w.-]+\.(?:js|css)", page.text)
    assert scripts
    for script in scripts:
        answer = await client.get(f"/{script}")
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable", script
    for path in ("/", "/config", "/login", "/nowhere", "/theme.css"):
        assert (await client.get(path)).headers["cache-control"] == "no-store", path
    for path in ("/assets/nothing.js", "/static/js/iframeResizer.contentWindow.min.js"):
        assert "cache-control" not in (await client.get(path)).headers, path


async def test_streams_are_not_buffered_by_nginx(client: httpx2.AsyncClient) -> None:
    for path in ("/gradio_api/queue/data?session_hash=abc", "/export/events.csv", "/export/messages.jsonl"):
        assert (await client.get(path)).headers.get_list("x-accel-buffering") == ["no"], path
    for path in ("/", "/config", "/healthz", "/pages/pages.css", "/nowhere"):
        assert "x-accel-buffering" not in (await client.get(path)).headers, path

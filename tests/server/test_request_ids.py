"""Request ids: every answer has one, and so has every log line of the request."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import pytest

from browser.application import Application, endpoint
from openai_server import ScriptedServer
from server.http_client import ON_SQLITE
from serving import ROOT
from users import NOBODY, PLAIN, Somebody, house

ID = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"


@ON_SQLITE
def test_request_id_is_new_for_each_answer_and_ignores_header_of_browser(application: Application) -> None:
    with httpx.Client(base_url=application.address, headers={"X-Request-ID": ID}, verify=PLAIN) as browser:
        ids = [browser.get(path).headers["x-request-id"] for path in ("/healthz", "/nowhere", "/readyz")]
    assert len({*ids, ID}) == 4
    assert all(len(one) == 32 for one in ids)


@pytest.fixture(scope="module")
def behind_us(new_sqlite: Callable[[], str], model: ScriptedServer) -> Iterator[dict[str, Somebody]]:
    """Return people at an application whose proxy the tests play."""
    with house(new_sqlite(), models=[endpoint(model)], trusted_proxies=["127.0.0.1"]) as (_, people):
        yield people


def test_request_id_of_trusted_proxy_is_kept(behind_us: dict[str, Somebody]) -> None:
    proxy = behind_us[NOBODY]
    for path in ("/healthz", "/nowhere"):
        assert proxy.get(path, headers={"X-Request-ID": ID}).headers["x-request-id"] == ID
    strange = proxy.get("/healthz", headers={"X-Request-ID": "a\tb; DROP"})
    assert len(strange.headers["x-request-id"]) == 32


def test_request_id_is_logged_with_refusal_and_failure_of_call(
    behind_us: dict[str, Somebody], model: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    from chatfeedback.server.logging import RequestId

    caplog.handler.addFilter(RequestId())
    ada = behind_us["ada"]
    refused_id(ada, caplog)
    model.fail(404)
    tab = ada.tab()
    joined = tab.join("ChatHandlers.send", ["Hello", None, None, ""], headers={"X-Request-ID": OTHER})
    tab.told(joined.json()["event_id"])
    failures = [record for record in caplog.records if "failed" in record.getMessage()]
    assert [record.request_id for record in failures] == [OTHER], "a reply is written by a task of its own"


def refused_id(ada: Somebody, caplog: pytest.LogCaptureFixture) -> None:
    assert ada.get("/admin", headers={"X-Request-ID": ID}).status_code == 403
    refusals = [record for record in caplog.records if record.name == "chatfeedback.auth.refusal_log"]
    assert [record.request_id for record in refusals] == [ID], "it is noted in a thread"


CHATTER = (
    "log.info('more'); log.warning('a reply %s', 'failed', extra={'model': 'parrot'});"
    "logging.getLogger('elsewhere').info('chatter');"
    "logging.getLogger('psycopg').warning('the same connection again')"
)
FAULT = "\ntry: 1 / 0\nexcept Exception: log.exception('the handler %s failed', 'send')"


def printed(format: str, level: str = "info", what: str = CHATTER) -> str:
    code = (
        "import logging; from asgi_correlation_id import correlation_id;"
        "from chatfeedback.server import logging as logs;"
        f"logs.configure({format!r}, {level!r}); correlation_id.set({ID!r});"
        f"log = logging.getLogger('chatfeedback.generation.manager');{what}"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment).stderr


@pytest.mark.process
def test_json_log_has_one_object_per_line() -> None:
    more, failure = map(json.loads, printed("json").splitlines())
    assert more["message"] == "more"
    assert failure.pop("time")
    assert failure == {
        "level": "WARNING",
        "logger": "chatfeedback.generation.manager",
        "request_id": ID,
        "message": "a reply failed",
        "model": "parrot",
    }


@pytest.mark.process
def test_text_log_has_one_line_per_record_of_configured_level() -> None:
    (line,) = printed("text", "warning").splitlines()
    assert line.endswith(f" WARNING chatfeedback.generation.manager [{ID}] a reply failed")


@pytest.mark.process
def test_exception_is_field_in_json_log_and_follows_line_in_text_log() -> None:
    (record,) = map(json.loads, printed("json", what=FAULT).splitlines())
    assert (record["level"], record["request_id"], record["message"]) == ("ERROR", ID, "the handler send failed")
    assert record["exc_info"].startswith("Traceback")
    assert record["exc_info"].endswith("ZeroDivisionError: division by zero")
    line, *trace = printed("text", what=FAULT).splitlines()
    assert line.endswith(f" ERROR chatfeedback.generation.manager [{ID}] the handler send failed")
    assert (trace[0], trace[-1]) == ("Traceback (most recent call last):", "ZeroDivisionError: division by zero")


@pytest.fixture(autouse=True)
def _unfiltered(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

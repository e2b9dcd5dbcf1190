"""Secrets in logs: no text of a user and no key is ever logged, printed, or put into the audit.

A whole visit with everything at DEBUG: signing in, talking, rating, faults, forgeries, exports and erasures.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from browser.application import Application, endpoint
from chatfeedback.store.accounts import audit
from openai_server import ScriptedServer
from server.http_client import PASSWORD, SESSION, Visitor, logout_token, settle
from users import Somebody, Tab, house

SAID = (
    "marked-prompt",
    "marked-reply",
    "marked-edit",
    "marked-comment",
    "marked-half-reply",
    "marked-fault-of-the-model",
    "marked-forgery",
    "marked-name",
    "marked-wrong-password",
    PASSWORD,
)
PROMPT, REPLY, EDIT, COMMENT, HALF, FAULT, FORGERY, NAME, WRONG, _ = SAID
QUIET = ("sqlalchemy",)
"""Loggers that stay as they are: at DEBUG they write down every statement, and are asked to."""


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Return a function that returns all that the application has logged, with tracebacks, and printed."""
    caplog.set_level(logging.DEBUG)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and not name.startswith(QUIET):
            caplog.set_level(logging.DEBUG, logger=name)
    printed: list[str] = []

    def output() -> str:
        # The thread of the test is the browser, whose logs about its own requests do not count.
        ours = [record for record in caplog.records if record.threadName != "MainThread"]
        printed.extend(capfd.readouterr())
        form = logging.Formatter("%(levelname)s %(name)s %(message)s %(args)r")
        return "\n".join([*map(form.format, ours), *printed])

    yield output


@pytest.fixture
def model() -> Iterator[ScriptedServer]:
    """Return a scripted model for one test."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def application(model: ScriptedServer, database_url: str) -> Iterator[Application]:
    with house(database_url, models=[endpoint(model, attempts=2)]) as (started, _):
        settle(started, NAME)
        settle(started, "root", "admin")
        yield started


class Signed(Visitor):
    """Browser of a user who signs in with a password, and their page."""

    def page(self, application: Application) -> Tab:
        self.person = Somebody(application, "", None, self.cookies[SESSION])
        return self.person.tab()


def talk(application: Application, visitor: Signed, model: ScriptedServer) -> tuple[str, set[str]]:
    """Talk, rate, fail and forge; return the id of the conversation and the secrets of the page."""
    tab = visitor.page(application)
    tab.call("ChatHandlers.load")
    model.reply(REPLY)
    tab.call("ChatHandlers.send", [PROMPT, None, None, ""])
    (conversation_id,) = application.conversation_ids()
    tab.call("FeedbackHandlers.like", [None, "", ""], event_data={"index": 1, "value": [REPLY], "liked": False})
    reply_id = application.conversation(conversation_id).head_id
    tab.call("FeedbackHandlers.leave_comment", [f"{conversation_id} {reply_id}", COMMENT, 1])
    model.break_after(HALF)
    tab.call("ChatHandlers.retry", event_data={"index": 1, "value": REPLY})
    for _ in range(2):  # the server logs that it asks again
        model.fail(500, {"error": {"message": FAULT}})
    tab.call("ChatHandlers.edit", event_data={"index": 0, "value": EDIT, "previous_value": PROMPT})
    model.error_in_stream({"message": FAULT}, after=HALF)
    tab.call("ChatHandlers.send", [PROMPT, None, None, ""])
    assert not model._scripts, "a call did not reach the model"
    forge(tab)
    return conversation_id, {tab.session_hash}


def forge(tab: Tab) -> None:
    calls: list[tuple[str, list[Any] | None, Any]] = [
        ("ChatHandlers.send", [FORGERY], None),
        ("ChatHandlers.send", [FORGERY, {"ids": [FORGERY]}, None, ""], None),
        ("ChatHandlers.send", [[FORGERY], None, FORGERY, ""], None),
        ("ChatHandlers.send", ["Hello", None, FORGERY, ""], None),
        ("ChatHandlers.open", None, {"conversation": FORGERY}),
        ("FeedbackHandlers.like", [None, FORGERY, ""], {"index": 99, "value": [FORGERY], "liked": True}),
        ("FeedbackHandlers.leave_comment", [FORGERY, FORGERY, 1], None),
        ("FeedbackHandlers.choose_reason", [f"{FORGERY} {FORGERY}"], {"index": 0, "value": FORGERY, "selected": True}),
        ("AnalyticsHandlers.refresh", [FORGERY, FORGERY, FORGERY, FORGERY], {"value": FORGERY, "index": 1}),
    ]
    for name, data, event_data in calls:
        joined = tab.join(name, data, event_data=event_data)
        if joined.status_code == 200:
            tab.told(joined.json()["event_id"])
    post = tab.person.post
    post("/gradio_api/queue/join", content=f'{{"data": "{FORGERY}"'.encode())
    post("/gradio_api/queue/join", json={"data": [FORGERY], "fn_index": FORGERY, "session_hash": FORGERY})
    post(f"/gradio_api/{FORGERY}", json={FORGERY: FORGERY})
    tab.person.get(f"/gradio_api/file=/{FORGERY}", headers={"origin": FORGERY, "accept": FORGERY})
    tab.person.get("/gradio_api/queue/data", params={"session_hash": f"{FORGERY}!"})


def test_logs_and_audit_hold_no_text_and_no_key_of_visit(
    application: Application, model: ScriptedServer, everything: Callable[[], str]
) -> None:
    keys: set[str] = set()
    with Signed(application) as visitor, Signed(application) as admin:
        assert visitor.sign_in(NAME, WRONG).status_code == 401
        keys |= {visitor.hidden()["csrf"], visitor.cookies["chatfeedback_form"]}
        assert visitor.sign_in(NAME).status_code == 303
        assert admin.sign_in("root").status_code == 303
        conversation_id, secrets = talk(application, visitor, model)
        keys |= secrets
        visitor.post("/password", data={**visitor.hidden("/password"), "old": WRONG, "new": WRONG, "again": FORGERY})
        assert visitor.get(f"/admin/users/{FORGERY}").status_code == 403
        assert PROMPT in admin.get("/export/events.csv").text
        assert COMMENT in admin.get("/export/feedback.csv").text
        for query in (f"?annotator={FORGERY}", f"?since={FORGERY}", f"?{FORGERY}={FORGERY}"):
            admin.get(f"/export/messages.jsonl{query}")
        form = {**admin.hidden("/admin"), "confirmation": "erase for ever"}
        assert admin.post("/admin/erase", data={**form, "conversation": FORGERY}).status_code == 404
        assert admin.post("/admin/erase", data={**form, "conversation": conversation_id}).status_code == 200
        token = logout_token(application, visitor)
        keys |= {token, form["csrf"], visitor.cookies[SESSION], admin.cookies[SESSION]}
        visitor.post("/logout", data={"csrf": token})
        visitor.person.http.close()
    output = everything()
    for logged in ("refused: ", "did not begin to answer: ModelFailed", "failed: StreamBroken", "failed: ModelFailed"):
        assert logged in output, "this did not look at the right logs"
    assert {secret for secret in (*SAID, *keys) if secret in output} == set()
    entries = audit.latest(application.engine, limit=1000)
    assert {entry.action for entry in entries} >= {"signed_in", "sign_in_failed", "refused", "exported", "signed_out"}
    assert {secret for secret in (*SAID, *keys) if secret in repr(entries)} == set()


def test_log_of_failed_statement_has_no_parameters(application: Application, everything: Callable[[], str]) -> None:
    with Signed(application) as visitor:
        visitor.sign_in(NAME)
        tab = visitor.page(application)
        tab.call("ChatHandlers.load")
        output = ""
        for fault in ("a row that is refused", "a table that is gone"):
            break_the(application, fault)
            tab.call("ChatHandlers.send", [PROMPT, None, None, ""])
            assert visitor.sign_in(NAME, WRONG).status_code in (401, 503)
            output = everything()
        visitor.person.http.close()
    secrets = (PROMPT, NAME, WRONG, PASSWORD)
    assert {secret for secret in secrets if secret in output} == set()


def break_the(application: Application, fault: str) -> None:
    sqlite = application.engine.dialect.name == "sqlite"
    with application.engine.begin() as connection:
        if fault == "a table that is gone":
            connection.execute(text("ALTER TABLE sign_in_failures RENAME TO gone"))
        elif sqlite:
            refuse = "SELECT RAISE(ABORT, 'no more')"
            connection.execute(text(f"CREATE TRIGGER no_more BEFORE INSERT ON events BEGIN {refuse}; END"))
        else:
            connection.execute(text("ALTER TABLE events ADD CONSTRAINT no_more CHECK (kind = 'x') NOT VALID"))

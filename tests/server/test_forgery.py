"""Forged calls, by hand, of people who are signed in and of nobody: none is believed.

Each is refused with the status that it deserves, or with a sentence where it takes the store to see what is wrong; the
refusal is in the log and in the audit; and nothing is written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from browser.application import Application
from chatfeedback.store.accounts import audit
from server.http_client import ON_SQLITE
from users import Somebody, Tab

pytestmark = ON_SQLITE


@pytest.fixture
def talk(people: dict[str, Somebody]) -> tuple[Tab, str]:
    """Return Ada's page after one exchange, and the id of the conversation."""
    tab = people["ada"].tab()
    tab.call("ChatHandlers.load")
    tab.call("ChatHandlers.send", ["Hello", None, None, ""])
    return tab, newest(people["ada"])


def newest(person: Somebody) -> str:
    """Return the id of the first conversation in a person's list."""
    listed = as_text(person.tab().call("ChatHandlers.load"))
    return listed.partition('data-conversation=\\"')[2].partition('\\"')[0]


def as_text(messages: list[dict[str, Any]]) -> str:
    """Return all messages of the server about a call, as text."""
    return str(httpx.Response(200, json=messages).text)


def refusals(application: Application, person: Somebody) -> list[Any]:
    """Return what was refused of this person, newest first."""
    entries = audit.latest(application.engine, 1000)
    return [
        entry.detail["what"] for entry in entries if entry.action == "refused" and entry.actor_id == person.annotator_id
    ]


def like(index: Any, liked: Any = True, value: Any = ("You said: Hello",)) -> dict[str, Any]:
    return {"index": index, "value": list(value) if isinstance(value, tuple) else value, "liked": liked}


def chosen(code: str) -> dict[str, Any]:
    return {"index": 0, "value": code, "selected": True}


MALFORMED: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "an input of another type": ("ChatHandlers.send", [["Hi"], None, None, ""], {}),
    "a state of the browser's own": ("FeedbackHandlers.like", [{"ids": ["x"]}, "", ""], {"event_data": like(1)}),
    "an event of another shape": ("FeedbackHandlers.like", [None, "", ""], {"event_data": like(1, "<b>anything</b>")}),
    "an event of another component": ("ChatHandlers.open", [None], {"event_data": like(1)}),
    "a trigger that is no number": ("ChatHandlers.send", ["Hi", None, None, ""], {"trigger_id": "1"}),
}


def test_malformed_call_is_refused_and_writes_nothing(
    application: Application, people: dict[str, Somebody], talk: tuple[Tab, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Send one call of each kind; `ui/test_actions.py` has all shapes of them."""
    tab, conversation_id = talk
    ids, before = application.conversation_ids(), application.events(conversation_id)
    noted = refusals(application, people["ada"])
    for number, (name, (function, data, more)) in enumerate(MALFORMED.items(), start=1):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "chatfeedback"):
            answer = tab.join(function, data, **more)
        assert (answer.status_code, answer.text) == (
            400,
            "The page does not send such requests; reload it and try again.\n",
        ), name
        assert "refused: malformed" in caplog.text, name
        assert refusals(application, people["ada"]) == ["malformed"] * number + noted, name
        assert (application.conversation_ids(), application.events(conversation_id)) == (ids, before), name


def test_request_body_that_is_no_call_is_refused(people: dict[str, Somebody]) -> None:
    whole = {"data": [], "fn_index": 0, "trigger_id": None, "session_hash": "mine", "event_data": None}
    for changed in (
        {"event_id": "x"}, {"batched": True}, {"simple_format": True}, {"oauth_token": "x"}, {"request": {}},
        {"data": {}}, {"data": None}, {"session_hash": None}, {"session_hash": ""}, {"session_hash": ["mine"]},
        {"session_hash": "../x"}, {"session_hash": "x" * 65}, {"trigger_id": "1"},
    ):  # fmt: skip
        answer = people["ada"].post("/gradio_api/queue/join", json={**whole, **changed})
        assert answer.status_code == 400, changed
    for text in ("", "null", "[]", "{", '{"data": []', "NaN", '"x"', "[" * 100_000):
        answer = people["ada"].post(
            "/gradio_api/queue/join", content=text, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400, text[:20]


def test_call_with_duplicate_key_is_authorized_by_value_that_counts(people: dict[str, Somebody]) -> None:
    tab = people["rita"].tab()
    wake = next(index for index, function in tab.functions().items() if function == "wake")
    send = next(index for index, function in tab.functions().items() if function == "ChatHandlers.send")
    for first, second in ((wake, send), (send, wake)):
        answer = people["rita"].post(
            "/gradio_api/queue/join",
            content=f'{{"fn_index": {first}, "fn_index": {second}, "data": [], "session_hash": "{tab.session_hash}",'
            f' "trigger_id": {tab.trigger_of("wake")}, "event_data": null}}',
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == (403 if second == send else 200)


def test_handlers_refuse_messages_that_were_not_rendered(
    application: Application, people: dict[str, Somebody], talk: tuple[Tab, str], caplog: pytest.LogCaptureFixture
) -> None:
    tab, conversation_id = talk
    before, reply = application.events(conversation_id), application.conversation(conversation_id).head_id
    message = {"index": 99, "value": "Hello"}
    for function, data, event_data, sentence in (
        ("FeedbackHandlers.like", [None, "", ""], like(99), "not on the screen"),
        ("FeedbackHandlers.select", [None, "", ""], message, "not on the screen"),
        ("ChatHandlers.edit", [None, None], {**message, "previous_value": "x"}, "not on the screen"),
        ("FeedbackHandlers.choose_reason", [f"{conversation_id} {reply}"], chosen("bribed"), "not one of the reasons"),
    ):
        caplog.clear()
        assert sentence in as_text(tab.call(function, data, event_data=event_data)), function
        assert "refused: not_offered" in caplog.text, function
    assert "not_offered" in refusals(application, people["ada"])
    assert "Only a reply can be rated" in as_text(
        tab.call("FeedbackHandlers.like", [None, "", ""], event_data=like(0, value=("Hello",)))
    )
    assert application.events(conversation_id) == before


@pytest.mark.parametrize("stranger", ["bob", "adam"])
def test_handlers_neither_read_nor_change_conversation_of_another_user(
    application: Application, people: dict[str, Somebody], talk: tuple[Tab, str], stranger: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    _tab, conversation_id = talk
    reply = application.conversation(conversation_id).head_id
    before, theirs = application.events(conversation_id), people[stranger].tab()
    named = {"referer": f"{application.address}?conversation={conversation_id}"}
    calls: list[Callable[[], list[dict[str, Any]]]] = [
        lambda: theirs.call("ChatHandlers.open", [None], event_data={"conversation": conversation_id}),
        lambda: theirs.call(
            "FeedbackHandlers.choose_reason", [f"{conversation_id} {reply}"], event_data=chosen("correct")
        ),
        lambda: theirs.call("FeedbackHandlers.leave_comment", [f"{conversation_id} {reply}", "Mine now", 1]),
        lambda: theirs.call("FeedbackHandlers.close", [f"{conversation_id} {reply}", "Mine now", 2]),
    ]
    with caplog.at_level(logging.WARNING, "chatfeedback"):
        for call in calls:
            text = as_text(call())
            assert "belongs to another person" in text and "You said" not in text
    query = f"?conversation={conversation_id}"
    for function, data, event_data in (
        ("ChatHandlers.load", [], None),
        ("ChatHandlers.send", ["Mine now", None, None, ""], None),
        ("ChatHandlers.retry", [None, None], {"index": 1, "value": "Hello"}),
        ("ChatHandlers.undo", ["", None], {"index": 1, "value": "Hello"}),
        ("ChatHandlers.new", [None], None),
        ("FeedbackHandlers.like", [None, "", ""], like(1)),
    ):
        fresh = people[stranger].tab()
        text = as_text(fresh.call(function, data, event_data=event_data, query=query, headers=named))
        assert "You said: Hello" not in text, function
    assert application.events(conversation_id) == before
    assert "conversation_of_another" in refusals(application, people[stranger])
    assert "refused: conversation_of_another" in caplog.text


def test_page_of_another_user_is_refused(
    application: Application, people: dict[str, Somebody], talk: tuple[Tab, str]
) -> None:
    tab, conversation_id = talk
    before = application.events(conversation_id)
    for name in ("bob", "rita", "adam"):
        stolen = people[name].tab(tab.session_hash)
        answers = [
            people[name].get("/gradio_api/queue/data", params={"session_hash": tab.session_hash}),
            people[name].get(f"/gradio_api/heartbeat/{tab.session_hash}"),
            stolen.join("wake", []),
            stolen.join("AnalyticsHandlers.close", []),
        ]
        assert [answer.status_code for answer in answers] == [403] * 4
        assert refusals(application, people[name])[0] == "page_of_another"
    nobody = people["nobody"]
    assert nobody.get("/gradio_api/queue/data", params={"session_hash": tab.session_hash}).status_code == 401
    assert nobody.get(f"/gradio_api/heartbeat/{tab.session_hash}").status_code == 401
    assert application.events(conversation_id) == before
    # The page still works for its owner.
    tab.call("ChatHandlers.send", ["Again", None, None, ""])
    assert len(application.events(conversation_id)) > len(before)


@pytest.mark.parametrize("name", ["nobody", "ada", "bob", "rita", "adam"])
def test_cancel_route_is_closed_and_job_completes(people: dict[str, Somebody], name: str) -> None:
    tab = people["ada"].tab()
    job = tab.join("wake", []).json()["event_id"]
    body = {"session_hash": tab.session_hash, "fn_index": 0, "event_id": job}
    answer = people[name].post("/gradio_api/cancel", json=body)
    assert answer.status_code == (401 if name == "nobody" else 404)
    assert tab.told(job)[-1]["msg"] == "process_completed"


@pytest.mark.parametrize("name", ["nobody", "ada", "rita", "adam"])
def test_file_routes_refuse_files_that_page_does_not_show(
    application: Application, people: dict[str, Somebody], name: str
) -> None:
    database = application.settings.database_url.removeprefix("sqlite+pysqlite:///")
    for path in (
        "/etc/passwd",
        database,
        "pyproject.toml",
        "../../etc/passwd",
        "%2fetc%2fpasswd",
        "C:/windows/win.ini",
        "",
    ):
        for form in ("/gradio_api/file={}", "/gradio_api/file/{}", "/file={}", "/gradio_api/proxy={}"):
            answer = people[name].get(form.format(path))
            assert answer.status_code == (401 if name == "nobody" else 404), (form, path)


@pytest.mark.parametrize("name", ["nobody", "ada", "adam"])
def test_gradio_routes_of_history_uploads_api_and_monitoring_are_closed(people: dict[str, Somebody], name: str) -> None:
    refused = 401 if name == "nobody" else 404
    for path in ("/gradio_api/runs", "/gradio_api/info", "/gradio_api/openapi.json", "/openapi.json", "/docs",
                 "/gradio_api/deep_link", "/monitoring", "/monitoring/summary", "/gradio_api/upload_progress",
                 "/gradio_api/mcp/sse", "/gradio_api/queue/status", "/gradio_api/user"):  # fmt: skip
        assert people[name].get(path).status_code == refused, path
    for path in ("/gradio_api/upload", "/gradio_api/run/predict", "/gradio_api/api/predict", "/gradio_api/call/send",
                 "/gradio_api/component_server", "/gradio_api/reset", "/gradio_api/process_recording"):  # fmt: skip
        assert people[name].post(path, json={"data": []}).status_code == refused, path


def test_request_body_that_is_too_large_is_refused(application: Application, people: dict[str, Somebody]) -> None:
    most = application.settings.max_request_bytes
    body = b'{"data": ["' + b"x" * most + b'"], "fn_index": 0, "session_hash": "mine"}'
    headers = {"content-type": "application/json"}
    assert people["ada"].post("/gradio_api/queue/join", content=body, headers=headers).status_code == 413
    chunked = (body[start : start + 65536] for start in range(0, len(body), 65536))
    assert people["ada"].post("/gradio_api/queue/join", content=chunked, headers=headers).status_code == 413


def test_audit_of_refusals_is_throttled(application: Application, people: dict[str, Somebody]) -> None:
    before = len(refusals(application, people["bob"]))
    for _ in range(80):
        assert people["bob"].get("/gradio_api/info").status_code == 404
    assert len(refusals(application, people["bob"])) - before <= 60  # 30 of a kind in a minute, which may turn

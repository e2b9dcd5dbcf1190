"""Unexpected errors of handlers: one log record with the id of the request, one sentence on the page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import pytest

from browser.application import Application, endpoint
from chatfeedback.analytics.dashboard import DashboardQueries
from chatfeedback.server.logging import RequestId
from chatfeedback.services.chat import ChatService
from chatfeedback.services.feedback import FeedbackService
from chatfeedback.ui.chat import rendering
from chatfeedback.ui.gradio_internals import FAULT
from openai_server import ScriptedServer
from users import Somebody, Tab, house

ID = "0123456789abcdef0123456789abcdef"


class Bug(Exception):
    """Error that no code expects."""


def broken(*_given: Any, **_more: Any) -> Any:
    raise Bug("a bug")


@pytest.fixture(scope="module")
def here(new_sqlite: Callable[[], str], model: ScriptedServer) -> Iterator[tuple[Application, dict[str, Somebody]]]:
    with house(new_sqlite(), models=[endpoint(model)], trusted_proxies=["127.0.0.1"]) as started:
        yield started


@pytest.fixture
def tab(here: tuple[Application, dict[str, Somebody]]) -> Tab:
    """Return an open page of a user who may use both tabs."""
    tab = here[1]["adam"].tab()
    tab.call("ChatHandlers.load")
    return tab


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    """Return a function that returns all logged errors, of every logger."""
    caplog.handler.addFilter(RequestId())
    return lambda: [record for record in caplog.records if record.levelno >= logging.ERROR]


def called(tab: Tab, name: str, data: list[Any] | None = None, **more: Any) -> list[dict[str, Any]]:
    joined = tab.join(name, data, headers={"X-Request-ID": ID}, **more)
    return tab.told(joined.json()["event_id"])


def assert_notified_once(messages: list[dict[str, Any]]) -> None:
    """Check for one sentence, no change of the page, and no error of Gradio's own over it."""
    assert [message["log"] for message in messages if message["msg"] == "log"] == [FAULT]
    assert messages[-1]["success"]
    parts = messages[-1]["output"]["data"]
    assert [part for part in parts if part not in (None, {"__type__": "update"})] == []


def assert_logged_once(records: list[logging.LogRecord], handler: str, error: type[Exception] = Bug) -> None:
    (record,) = records
    assert (record.levelname, record.name) == ("ERROR", "chatfeedback.ui.gradio_internals")
    assert record.getMessage() == f"the handler {handler} failed"
    assert record.request_id == ID
    assert record.exc_info is not None
    assert record.exc_info[0] is error


@pytest.mark.parametrize(
    ("handler", "data", "owner", "method"),
    [
        pytest.param("ChatHandlers.send", ["precious", None, None, ""], ChatService, "send", id="an async generator"),
        pytest.param(
            "FeedbackHandlers.leave_comment", ["a b", "precious", 1], FeedbackService, "rate", id="a coroutine"
        ),
        pytest.param("AnalyticsHandlers.refresh", [""] * 4, DashboardQueries, "overview", id="a function"),
        pytest.param("ChatHandlers.put_back", ["precious", None], rendering, "excerpt", id="one without a request"),
    ],
)
def test_handler_error_gives_one_log_record_and_one_sentence(
    tab: Tab,
    records: Callable[[], list[logging.LogRecord]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    handler: str,
    data: list[Any],
    owner: Any,
    method: str,
) -> None:
    monkeypatch.setattr(owner, method, broken)
    messages = called(tab, handler, data, event_data={})
    assert_notified_once(messages)
    assert_logged_once(records(), handler)
    assert "precious" not in f"{messages}{records()[0].getMessage()}"
    assert "Traceback" not in "".join(capfd.readouterr()), "Gradio has told of it as well"


def test_page_goes_on_after_handler_error(
    here: tuple[Application, dict[str, Somebody]],
    tab: Tab,
    records: Callable[[], list[logging.LogRecord]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as bug:
        bug.setattr(ChatService, "send", broken)
        assert_notified_once(called(tab, "ChatHandlers.send", ["precious", None, None, ""]))
    before = here[0].conversation_ids()
    messages = called(tab, "ChatHandlers.send", ["precious", None, None, ""])
    assert [message for message in messages if message["msg"] == "log"] == []
    (conversation_id,) = set(here[0].conversation_ids()) - set(before)
    conversation = here[0].conversation(conversation_id)
    texts = [message.text for message in conversation.thread(conversation.head_id)]
    assert texts == ["precious", "You said: precious"]
    assert len(records()) == 1


def test_handler_error_during_reply_ends_updates_and_not_reply(
    here: tuple[Application, dict[str, Somebody]],
    tab: Tab,
    model: ScriptedServer,
    records: Callable[[], list[logging.LogRecord]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = here[0].conversation_ids()
    bubbles = rendering.bubbles

    def broken_later(*arguments: Any) -> Any:
        return broken() if len(arguments) > 2 and arguments[2] else bubbles(*arguments)

    monkeypatch.setattr(rendering, "bubbles", broken_later)
    script = model.reply("one two three", hold_after=1)
    messages = called(tab, "ChatHandlers.send", ["Count", None, None, ""])
    assert_notified_once(messages)
    assert "process_generating" in [message["msg"] for message in messages]
    assert_logged_once(records(), "ChatHandlers.send")
    monkeypatch.undo()
    script.release()
    (conversation_id,) = set(here[0].conversation_ids()) - set(before)
    messages = tab.call("ChatHandlers.load", query=f"?conversation={conversation_id}")
    assert [message for message in messages if message["msg"] == "log"] == []
    conversation = here[0].conversation(conversation_id)
    reply = conversation.messages[conversation.head_id or ""]
    assert (reply.text, reply.status) == ("one two three", "complete")


def test_update_that_gradio_cannot_process_is_reported_like_handler_error(
    tab: Tab, records: Callable[[], list[logging.LogRecord]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "chatfeedback.ui.analytics.handlers.AnalyticsHandlers._figures", lambda *_given: {gr.HTML(): "new"}
    )
    assert_notified_once(called(tab, "AnalyticsHandlers.refresh", [""] * 4, event_data={}))
    assert_logged_once(records(), "AnalyticsHandlers.refresh", ValueError)

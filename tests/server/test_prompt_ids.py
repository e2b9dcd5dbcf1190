"""Ids of prompts, made by the page: a prompt that comes twice is stored once, and anything else is no id."""

from __future__ import annotations

from typing import Any

import pytest

from browser.application import Application
from browser.page_probe import asked, told
from chatfeedback.domain import prompts
from server.http_client import ON_SQLITE
from users import Somebody, Tab

pytestmark = ON_SQLITE


@pytest.fixture
def tab(people: dict[str, Somebody]) -> Tab:
    tab = people["ada"].tab()
    tab.call("ChatHandlers.load")
    return tab


def logs(application: Application, since: int) -> list[list[str]]:
    """Return the logs of the conversations after the first `since`."""
    return [told(application.events(one)) for one in application.conversation_ids()[since:]]


def test_send_stores_prompt_once_when_repeated_with_its_id(application: Application, tab: Tab) -> None:
    before, prompt_id = len(application.conversation_ids()), prompts.new_page_id()
    for _ in range(3):
        answer = str(tab.call("ChatHandlers.send", ["one", None, None, prompt_id])[-1])
        assert "You said: one" in answer
    assert logs(application, before) == [asked("one")]


@pytest.mark.parametrize(
    "nonsense", ["", None, "0" * 31, "F" * 32, "0" * 33, "'; DROP TABLE events", "0" * 10_000, "\0"]
)
def test_send_treats_invalid_id_as_missing(application: Application, tab: Tab, nonsense: Any) -> None:
    before = len(application.conversation_ids())
    for _ in range(2):
        tab.call("ChatHandlers.send", ["one", None, None, nonsense])
    assert logs(application, before) == [asked("one", "one")]

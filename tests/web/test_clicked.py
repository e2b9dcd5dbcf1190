"""A click is one on the message whose text the page showed, in whatever order clicks and edits are dealt with."""

from __future__ import annotations

from typing import Any

import pytest

from browser.application import Application
from browser.telling import asked, told
from chatfeedback.web import feedback
from people import Somebody, Tab
from web.visiting import ON_SQLITE

pytestmark = ON_SQLITE


@pytest.fixture
def tab(application: Application, people: dict[str, Somebody]) -> Tab:
    """A page with one exchange."""
    tab = people["ada"].tab()
    tab.call("ChatHandlers.load")
    tab.call("ChatHandlers.send", ["one", None, None, ""])
    return tab


def like(tab: Tab, text: str) -> str:
    """Send a like of a reply with this text; return the id of the event."""
    clicked: dict[str, Any] = {"index": 1, "value": [text], "liked": True}
    return str(tab.join("FeedbackHandlers.like", [None, ""], event_data=clicked).json()["event_id"])


def log(application: Application) -> list[str]:
    return told(application.events(application.conversation_ids()[-1]))


def test_like_waits_for_the_edit_that_it_is_about(application: Application, tab: Tab) -> None:
    vote = like(tab, "better")
    edit = {"index": 1, "value": "better", "previous_value": "You said: one"}
    tab.join("ChatHandlers.edit", [None, None], event_data=edit)
    tab.told(vote)
    edited = "message_edited 3 after 1 instead of 2 as assistant: better"
    assert log(application) == [*asked("one"), edited, "message_rated 3: nothing -> like"]


def test_like_is_refused_for_a_text_that_is_nowhere(
    application: Application, tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "PATIENCE_SECONDS", 0.1)
    assert "This reply is another one by now" in str(tab.told(like(tab, "something else"))[-1])
    assert log(application) == asked("one")


def test_keep_leaves_a_panel_alone_that_a_click_is_opening(tab: Tab) -> None:
    parts = tab.call("FeedbackHandlers.keep", [None, ""])[-1]["output"]["data"]
    assert {"visible": True, "__type__": "update"} in parts  # what offers to comment on the last reply
    assert {"visible": False, "__type__": "update"} not in parts

"""Clicks apply to the message whose text the page showed, in any order of clicks and edits."""

from __future__ import annotations

from typing import Any

import pytest

from browser.application import Application
from browser.page_probe import asked, told
from chatfeedback.domain.conversation.decide import CHANGED_ELSEWHERE
from chatfeedback.ui.chat import feedback_panel
from conversation_builder import StoredTalk
from openai_server import ScriptedServer
from server.http_client import ON_SQLITE
from users import Somebody, Tab

pytestmark = ON_SQLITE


@pytest.fixture
def tab(application: Application, people: dict[str, Somebody]) -> Tab:
    """Return a page with one exchange."""
    tab = people["ada"].tab()
    tab.call("ChatHandlers.load")
    tab.call("ChatHandlers.send", ["one", None, None, ""])
    return tab


def like(tab: Tab, text: str) -> str:
    """Send a like of a reply with this text; return the id of the event."""
    clicked: dict[str, Any] = {"index": 1, "value": [text], "liked": True}
    return str(tab.join("FeedbackHandlers.like", [None, "", ""], event_data=clicked).json()["event_id"])


def log(application: Application) -> list[str]:
    return told(application.events(application.conversation_ids()[-1]))


def test_like_waits_for_edit_that_it_refers_to(application: Application, tab: Tab) -> None:
    vote = like(tab, "better")
    edit = {"index": 1, "value": "better", "previous_value": "You said: one"}
    tab.join("ChatHandlers.edit", [None, None], event_data=edit)
    tab.told(vote)
    edited = "message_edited 3 after 1 instead of 2 as assistant: better"
    assert log(application) == [*asked("one"), edited, "message_rated 3: nothing -> like"]


def test_like_is_refused_for_unknown_text(application: Application, tab: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_panel, "CLICK_TIMEOUT_SECONDS", 0.1)
    assert "This reply has been replaced" in str(tab.told(like(tab, "something else"))[-1])
    assert log(application) == asked("one")


def test_like_rates_named_reply_when_retry_has_rendered_another(
    application: Application, tab: Tab, model: ScriptedServer
) -> None:
    reply_id = application.conversation(application.conversation_ids()[-1]).head_id
    script = model.reply("You said: one more", hold_after=1)
    tab.join("ChatHandlers.retry", event_data={"index": 1, "value": "You said: one"})
    assert script.reached.wait(10)
    clicked = {"index": 1, "value": ["You said: one"], "liked": True}
    tab.call("FeedbackHandlers.like", [None, "", reply_id], event_data=clicked)
    script.release()
    assert "message_rated 2: nothing -> like" in log(application)


def test_like_rates_named_reply_when_another_begins_with_its_text(
    application: Application, tab: Tab, model: ScriptedServer
) -> None:
    reply_id = application.conversation(application.conversation_ids()[-1]).head_id
    model.reply("You said: one more")
    tab.call("ChatHandlers.retry", event_data={"index": 1, "value": "You said: one"})
    clicked = {"index": 1, "value": ["You said: one"], "liked": True}
    tab.call("FeedbackHandlers.like", [None, "", reply_id], event_data=clicked)
    assert log(application)[-1] == "message_rated 2: nothing -> like"


def test_undo_is_refused_when_page_cannot_have_shown_newer_messages(application: Application, tab: Tab) -> None:
    conversation_id = application.conversation_ids()[-1]
    talk = StoredTalk(application.store, application.conversation(conversation_id).annotator_id, conversation_id)
    talk.ask("two", "from elsewhere")
    before = log(application)
    tab.call("FeedbackHandlers.follow", [None, ""], event_data={"message": "newer_version"})
    assert CHANGED_ELSEWHERE in str(tab.call("ChatHandlers.undo", ["", None], event_data={"index": 3, "value": "x"}))
    assert log(application) == before


def test_keep_does_not_close_panel_that_click_is_opening(tab: Tab) -> None:
    parts = tab.call("FeedbackHandlers.keep", [None, ""])[-1]["output"]["data"]
    assert {"visible": True, "__type__": "update"} in parts  # what offers to comment on the last reply
    assert {"visible": False, "__type__": "update"} not in parts

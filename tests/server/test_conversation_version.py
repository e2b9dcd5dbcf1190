"""Open pages: they take over what other pages do, and send refused feedback again."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from browser.application import Application
from browser.page_probe import told
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.services.chat import ChatService
from conversation_builder import StoredTalk
from server.http_client import ON_SQLITE
from users import Somebody, Tab

pytestmark = ON_SQLITE

ELSEWHERE = "You have changed it elsewhere since."


@pytest.fixture
def talk(application: Application, people: dict[str, Somebody]) -> StoredTalk:
    """Return a conversation of one exchange."""
    talk = StoredTalk(application.store, str(people["ada"].annotator_id))
    talk.ask("one", "You said: one")
    return talk


@pytest.fixture
def tab(people: dict[str, Somebody], talk: StoredTalk) -> Tab:
    """Return a page of it."""
    tab = people["ada"].tab()
    tab.call("ChatHandlers.load", query=f"?conversation={talk.conversation_id}")
    return tab


def log(application: Application, talk: StoredTalk) -> list[str]:
    return told(application.events(talk.conversation_id))


def rate(talk: StoredTalk, change: RatingChange) -> str:
    """Rate the last reply elsewhere; return its id."""
    reply_id = str(talk.conversation.head_id)
    talk.rate(reply_id, talk.actor, change)
    return reply_id


def test_follow_paints_nothing_when_page_has_moved_on_meanwhile(
    tab: Tab, talk: StoredTalk, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = StoredTalk(application.store, talk.actor)
    other.ask("two", "You said: two")
    reply_id = rate(talk, RatingChange("like", comment="about one"))
    asking, go_on = threading.Event(), threading.Event()
    conversation = ChatService.conversation

    async def slowly(self: ChatService, annotator_id: str, conversation_id: str) -> Conversation:
        loaded = await conversation(self, annotator_id, conversation_id)
        if asking.is_set():
            go_on.set()  # the other conversation is being opened
        else:
            asking.set()
            await asyncio.to_thread(go_on.wait, 10)
        return loaded

    monkeypatch.setattr(ChatService, "conversation", slowly)
    about = f"{talk.conversation_id} {reply_id}"
    following = tab.join("FeedbackHandlers.follow", [None, about], event_data={"message": "newer_version"}).json()[
        "event_id"
    ]
    assert asking.wait(10)
    tab.join("ChatHandlers.open", [None], event_data={"conversation": other.conversation_id})
    painted = str(tab.told(following))
    assert "process_completed" in painted
    assert "about one" not in painted and talk.conversation_id not in painted


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ({"comment": "old"}, []),
        ({"value": "dislike"}, []),
        ({"reasons": {"clear": True}}, []),
        ({"comment": "new", "reasons": {"funny": True}}, []),
        ({"value": "dislike", "age": 5}, ["message_rated 2: funny “new” -> dislike funny “new”"]),
    ],
)
def test_send_again_yields_to_newer_feedback_from_elsewhere(
    tab: Tab, talk: StoredTalk, application: Application, sent: dict[str, Any], written: list[str]
) -> None:
    reply_id = rate(talk, RatingChange(reasons={"funny": True}, comment="new"))
    about = f"{talk.conversation_id} {reply_id}"
    before = log(application, talk)
    answer = str(
        tab.call(
            "FeedbackHandlers.send_again",
            [None, ""],
            event_data={"message": "unsaved_feedback", "about": about, "age": 3600, **sent},
        )
    )
    assert log(application, talk) == [*before, *written]
    assert (ELSEWHERE in answer) == (not written and sent.get("comment") != "new")
    if sent.get("comment") == "old":
        assert "Your comment was: “old”" in answer


def test_send_again_stores_late_feedback_when_nothing_newer_exists(
    tab: Tab, talk: StoredTalk, application: Application
) -> None:
    about = f"{talk.conversation_id} {talk.conversation.head_id}"
    resent = {"message": "unsaved_feedback", "about": about, "age": 3600.5, "value": "like", "comment": "kept"}
    tab.call("FeedbackHandlers.send_again", [None, ""], event_data=resent)
    assert log(application, talk)[-1] == "message_rated 2: nothing -> like “kept”"


def test_send_again_does_not_say_saved_when_feedback_is_refused(tab: Tab, talk: StoredTalk) -> None:
    reply_id = rate(talk, RatingChange(comment="stored"))
    clicked = {"index": 1, "value": "You said: one"}
    assert "✓ Saved" in str(tab.call("FeedbackHandlers.select", [None, "", reply_id], event_data=clicked))
    resent = {
        "message": "unsaved_feedback",
        "about": f"{talk.conversation_id} {reply_id}",
        "age": 1,
        "comment": "x" * 20_000,
    }
    painted = str(tab.call("FeedbackHandlers.send_again", [None, ""], event_data=resent))
    assert "data-refused" in painted and ">Not saved. A comment can have at most" in painted

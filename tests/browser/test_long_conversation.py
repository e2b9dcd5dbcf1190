"""A conversation of 120 messages: its end is rendered, the rest on demand, and every index means the right message."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from browser.application import Application
from browser.chat_page import ChatPage
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.feedback.decide import RatingChange
from conversation_builder import StoredTalk
from openai_server import ScriptedServer


@pytest.fixture
def long(chat: ChatPage, application: Application) -> ChatPage:
    """Return a conversation of "prompt 1" to "prompt 60", each with a reply; the tenth reply is liked."""
    talk = StoredTalk(application.store, application.annotator_id)
    replies = [talk.ask(f"prompt {number}", f"reply {number}") for number in range(1, 61)]
    talk.rate(replies[9], application.annotator_id, RatingChange(value="like"))
    return chat.open(talk.conversation_id)


def message(conversation: Conversation, text: str) -> str:
    (message_id,) = (one.message_id for one in conversation.messages.values() if one.text == text)
    return message_id


def test_page_shows_last_fifty_messages_and_earlier_ones_on_demand(long: ChatPage) -> None:
    expect(long.messages).to_have_count(50)
    expect(long.messages.first).to_have_text("prompt 36")
    expect(long.messages.last).to_be_in_viewport()
    expect(long.earlier).to_have_text("Show earlier messages (70 more)")
    long.earlier.click()
    expect(long.messages).to_have_count(100)
    expect(long.messages.first).to_have_text("prompt 11")
    long.earlier.click()
    expect(long.messages).to_have_count(120)
    expect(long.messages.first).to_have_text("prompt 1")
    expect(long.earlier).not_to_be_visible()
    long.expect_thumbs(*("like" if number == 10 else "" for number in range(1, 61)))


def test_thumbs_and_comments_land_on_right_message(long: ChatPage, application: Application) -> None:
    long.vote(0, "dislike")
    expect(long.quote).to_have_text(re.compile("You dislike reply 36"))
    long.earlier.click()
    expect(long.messages).to_have_count(100)
    long.vote(0, "like")
    expect(long.quote).to_have_text(re.compile("You like reply 11"))
    long.comment.fill("the eleventh")
    long.comment.blur()
    expect(long.saved).to_have_text("✓ Saved")
    long.expect_thumbs("like", *[""] * 24, "dislike", *[""] * 24)
    conversation = application.conversation(long.conversation_id)
    me = application.annotator_id
    rated = {key[0]: (rating.value, rating.comment) for key, rating in conversation.ratings.items() if key[1] == me}
    assert rated == {
        message(conversation, "reply 36"): ("dislike", None),
        message(conversation, "reply 11"): ("like", "the eleventh"),
        message(conversation, "reply 10"): ("like", None),
    }


def test_edit_lands_on_right_message(long: ChatPage, application: Application, model: ScriptedServer) -> None:
    long.edit(48, "the last prompt, better")
    expect(long.messages.last).to_have_text("You said: the last prompt, better")
    long.wait_until_idle()
    conversation = application.conversation(long.conversation_id)
    shown = conversation.shown()
    assert [one.text for one in shown[-3:]] == [
        "reply 59",
        "the last prompt, better",
        "You said: the last prompt, better",
    ]
    assert shown[-2].replaces_id == message(conversation, "prompt 60")
    expect(long.messages).to_have_count(50)
    assert len(model.requests[-1]["messages"]) == 120


def test_page_keeps_its_first_message_after_prompt_until_reload(long: ChatPage, application: Application) -> None:
    long.ask("prompt 61")
    expect(long.messages).to_have_count(52)
    expect(long.messages.first).to_have_text("prompt 36")
    expect(long.messages.last).to_have_text("You said: prompt 61")
    expect(long.messages.last).to_be_in_viewport()
    long.vote(0, "like")
    expect(long.quote).to_have_text(re.compile("You like reply 36"))
    long.reload()
    expect(long.messages).to_have_count(50)
    expect(long.messages.first).to_have_text("prompt 37")

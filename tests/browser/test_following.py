"""A page follows what other pages do to its conversation, by itself, and is not disturbed by what it does itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Request, expect

from browser.application import Application
from browser.chat_page import ChatPage
from browser.page_probe import asked
from browser.users import LOGIN, Visitor
from chatfeedback.domain.feedback.decide import RatingChange
from export.recording import TimedTalk
from openai_server import ScriptedServer

VERSION_URL = "**/conversations/*/version"
VISIBLE = "() => document.dispatchEvent(new Event('visibilitychange'))"


@pytest.fixture
def other(chat: ChatPage, context: BrowserContext, application: Application) -> ChatPage:
    """Return a second tab on the conversation of `chat`, which has two replies."""
    chat.ask("one")
    chat.ask("two")
    chat.wait_until_settled()
    return ChatPage(context.new_page(), application.address).open(chat.conversation_id)


def test_page_follows_ratings_of_another_tab_with_its_panel(chat: ChatPage, other: ChatPage) -> None:
    chat.select(0)
    expect(chat.panel).to_be_visible()
    other.vote(0, "dislike")
    other.reason("Unclear").check()
    other.comment.fill("from elsewhere")
    other.vote(1, "like")
    chat.expect_thumbs("dislike", "like")
    expect(chat.quote).to_have_text("You dislike You said: one")
    expect(chat.reason("Unclear")).to_be_checked()
    expect(chat.comment).to_have_value("from elsewhere")
    expect(chat.saved.locator("[data-about]")).to_have_text("✓ Saved")
    other.vote(1, "like")
    chat.expect_thumbs("dislike", "")


def test_page_follows_messages_of_another_tab_and_streams_its_reply(
    chat: ChatPage, other: ChatPage, model: ScriptedServer
) -> None:
    chat.prompt.fill("half a thought")
    script = model.reply("a long answer", hold_after=1)
    other.send("three")
    chat.expect_texts("one", "You said: one", "two", "You said: two", "three", "a lo")
    expect(chat.stop_button).to_be_visible()
    script.release()
    chat.expect_texts("one", "You said: one", "two", "You said: two", "three", "a long answer")
    chat.wait_until_idle()
    expect(chat.prompt).to_have_value("half a thought")
    other.press("Undo")
    chat.expect_texts("one", "You said: one", "two", "You said: two")


def test_page_keeps_comment_being_typed_when_another_tab_rates(
    chat: ChatPage, other: ChatPage, application: Application
) -> None:
    chat.select(0)
    chat.comment.fill("mine")
    expect(chat.saved.locator("[data-about]")).to_have_text("✓ Saved")
    other.vote(0, "like")
    chat.expect_thumbs("like", "")
    expect(chat.comment).to_have_value("mine")
    expect(chat.comment).to_be_focused()
    chat.page.keyboard.insert_text(" too")
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *asked("one", "two"),
            "message_rated 2: nothing -> “mine”",
            "message_rated 2: “mine” -> like “mine”",
            "message_rated 2: like “mine” -> like “mine too”",
        ],
    )


def test_page_keeps_open_edit_box_when_another_tab_rates(chat: ChatPage, other: ChatPage) -> None:
    chat.page.locator("#chatbot .message-buttons").nth(1).get_by_role("button", name="Edit").click()
    box = chat.page.locator("#chatbot textarea.edit-textarea")
    box.fill("half an edit")
    other.vote(1, "like")
    other.wait_until_settled()
    chat.page.evaluate(VISIBLE)  # it would ask at once
    chat.wait_until_settled()
    chat.expect_thumbs("", "")
    expect(box).to_have_value("half an edit")
    box.press("Escape")
    chat.expect_thumbs("", "like")


@pytest.mark.talked("one")
def test_page_is_not_painted_again_after_its_own_changes(chat: ChatPage) -> None:
    chat.vote(0, "like")
    chat.reason("Helpful").check()
    chat.comment.fill("good")
    chat.comment.blur()
    expect(chat.saved.locator("[data-about]")).to_have_text("✓ Saved")
    chat.wait_until_settled()
    joined: list[Request] = []
    chat.page.on("request", lambda request: joined.append(request) if "/queue/join" in request.url else None)
    for _ in range(2):
        with chat.page.expect_response(VERSION_URL) as answer:
            chat.page.evaluate(VISIBLE)
        assert answer.value.ok
        answer.value.finished()
        chat.wait_until_settled()
    assert joined == []


def test_page_does_not_poll_without_conversation(chat: ChatPage) -> None:
    requests: list[Request] = []
    chat.page.on("request", lambda request: requests.append(request) if "/conversations/" in request.url else None)
    chat.page.evaluate(VISIBLE)
    chat.wait_until_settled()
    assert requests == []


def test_page_follows_changes_of_another_process(visits: Callable[..., Visitor]) -> None:
    ada = visits("annotator")
    talk = TimedTalk(ada.application.store, ada.user.annotator_id, "parrot")
    reply = talk.ask("one", "You said: one")
    chat = ada.comes_in(talk.conversation_id)
    talk.rate(reply, talk.actor, RatingChange("like"))
    chat.expect_thumbs("like")
    talk.ask("two", "You said: two")
    chat.expect_texts("one", "You said: one", "two", "You said: two")


def test_page_follows_another_browser_of_same_user_and_end_of_sessions(visits: Callable[..., Visitor]) -> None:
    ada = visits("annotator")
    chat = ada.comes_in()
    chat.ask("one")
    elsewhere = Visitor(ada.application, ada.user, visits("annotator").context)
    other = elsewhere.comes_in(chat.conversation_id)
    other.vote(0, "dislike")
    chat.expect_thumbs("dislike")
    ada.ends_sessions("DELETE FROM sessions")
    expect(chat.page).to_have_url(LOGIN)  # nothing that was said stays on the screen

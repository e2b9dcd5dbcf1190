"""Scroll position: the end of the conversation is followed, and a user who reads further up is not moved."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from browser.application import Application
from browser.browser_context import PHONE, Watched
from browser.chat_page import ChatPage
from conversation_builder import StoredTalk
from openai_server import ScriptedServer

FROM_END = """() => {
    const box = document.querySelector('#chatbot .bubble-wrap');
    return box.scrollHeight - box.scrollTop - box.clientHeight;
}"""
AT_END = f"() => ({FROM_END})() < 5"


@pytest.fixture
def long(chat: ChatPage, application: Application) -> ChatPage:
    """Return a page with a conversation of 120 messages, open at its end."""
    talk = StoredTalk(application.store, application.annotator_id)
    for number in range(1, 61):
        talk.ask(f"prompt {number}", f"reply {number}")
    chat.open(talk.conversation_id)
    expect(chat.messages).to_have_count(50)
    chat.page.wait_for_function(AT_END)
    return chat


def scroll_up(chat: ChatPage) -> None:
    chat.page.mouse.move(*centre(chat))
    chat.page.mouse.wheel(0, -700)
    chat.page.wait_for_function(f"() => ({FROM_END})() > 650")


def centre(chat: ChatPage) -> tuple[float, float]:
    box = chat.page.locator("#chatbot").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_scroll_follows_end_while_reply_grows(long: ChatPage, model: ScriptedServer) -> None:
    model.reply("\n\n".join(f"paragraph {number}" for number in range(40)), chunk=20)
    long.ask("At length")
    expect(long.replies.last).to_contain_text("paragraph 39")
    long.page.wait_for_function(AT_END)


def test_scroll_stays_further_up_while_reply_grows(long: ChatPage, model: ScriptedServer) -> None:
    script = model.reply("\n\n".join(f"paragraph {number}" for number in range(40)), chunk=20, hold_after=5)
    long.send("At length")
    expect(long.replies.last).to_contain_text("paragraph 1")
    scroll_up(long)
    top = long.page.evaluate("document.querySelector('#chatbot .bubble-wrap').scrollTop")
    script.release()
    expect(long.replies.last).to_contain_text("paragraph 39")
    long.wait_until_idle()
    assert long.page.evaluate("document.querySelector('#chatbot .bubble-wrap').scrollTop") == top


def test_scroll_moves_to_end_when_prompt_is_sent_from_further_up(long: ChatPage) -> None:
    scroll_up(long)
    long.ask("Here I am")
    expect(long.replies.last).to_be_in_viewport()
    long.page.wait_for_function(AT_END)


def test_scroll_stays_when_earlier_messages_are_added_above(long: ChatPage) -> None:
    long.page.evaluate("document.querySelector('#chatbot .bubble-wrap').scrollTop = 0")
    expect(long.messages.first).to_be_in_viewport()
    before = long.messages.first.bounding_box()
    long.earlier.click()
    expect(long.messages).to_have_count(100)
    first = long.messages.nth(50)
    expect(first).to_have_text("prompt 36")
    expect(first).to_be_in_viewport()
    after = first.bounding_box()
    assert before is not None and after is not None
    assert abs(after["y"] - before["y"]) < 30


def test_sidebar_closes_on_phone_when_conversation_is_chosen(watched: Watched, application: Application) -> None:
    chat = ChatPage(watched.context(viewport=PHONE).new_page(), application.address).open()
    chat.ask("one")
    sidebar = chat.page.locator("#sidebar")
    toggle = sidebar.locator(".toggle-button")
    toggle.click()
    expect(chat.page.locator("#new-conversation")).to_be_in_viewport(ratio=1)
    chat.page.locator("#new-conversation").click()
    chat.expect_texts()
    expect(chat.page.locator("#new-conversation")).not_to_be_in_viewport()
    toggle.click()
    chat.page.locator("#conversations button[data-conversation]").first.click()
    chat.expect_texts("one", "You said: one")
    expect(chat.page.locator("#new-conversation")).not_to_be_in_viewport()


@pytest.mark.talked("one")
def test_escape_ends_edit_and_closes_panel(chat: ChatPage) -> None:
    chat.page.locator("#chatbot .message-buttons").first.get_by_role("button", name="Edit").click()
    chat.page.locator("#chatbot textarea.edit-textarea").press("Escape")
    expect(chat.page.locator("#chatbot textarea.edit-textarea")).to_have_count(0)
    chat.expect_texts("one", "You said: one")
    chat.select(0)
    chat.comment.press("Escape")
    expect(chat.panel).not_to_be_visible()

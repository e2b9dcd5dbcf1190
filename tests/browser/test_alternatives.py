"""Alternatives of a reply: to look at one stores nothing; to go on from it, or to press "Keep this one", chooses it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from playwright.sync_api import expect

from browser.application import Application
from browser.chat_page import ChatPage
from chatfeedback.ui.chat.view import ChatView, Updates
from openai_server import ScriptedServer

TWO_REPLIES = [
    "conversation_started",
    "message_sent 1 after the start: one",
    "reply_started 2 after 1, parrot told 1",
    "reply_finished 2 complete: first answer",
    "reply_retried 2",
    "reply_started 3 after 1 instead of 2, parrot told 1",
    "reply_finished 3 complete: second answer",
]


@pytest.fixture
def looking(chat: ChatPage, model: ScriptedServer) -> ChatPage:
    """Return a page that shows the first of two alternatives; the second one is stored."""
    model.reply("first answer")
    chat.ask("one")
    model.reply("second answer")
    chat.press("Retry")
    chat.expect_texts("one", "second answer")
    chat.wait_until_idle()
    expect(chat.keep).not_to_be_visible()
    chat.previous.click()
    chat.expect_texts("one", "first answer")
    expect(chat.position).to_have_text("Reply 1 of 2")
    expect(chat.keep).to_be_visible()
    return chat


def test_alternative_view_stores_nothing_and_reload_shows_head(looking: ChatPage, application: Application) -> None:
    looking.following.click()
    looking.expect_texts("one", "second answer")
    expect(looking.keep).not_to_be_visible()
    looking.previous.click()
    looking.expect_texts("one", "first answer")
    looking.reload().expect_texts("one", "second answer")
    expect(looking.position).to_have_text("Reply 2 of 2")
    application.assert_log(looking.page, looking.conversation_id, TWO_REPLIES)


def test_previous_button_counts_while_call_before_is_still_ending(
    chat: ChatPage, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.reply("first answer")
    chat.ask("one")
    for text in ("second answer", "third answer"):
        model.reply(text)
        chat.wait_until_idle()
        chat.press("Retry")
        chat.expect_texts("one", text)
    chat.wait_until_idle()
    show, released = ChatView.render_and_stream, threading.Event()

    async def show_and_linger(*args: Any, **extra: Any) -> Updates:
        async for update in show(*args, **extra):
            yield update
        await asyncio.to_thread(released.wait)

    monkeypatch.setattr(ChatView, "render_and_stream", show_and_linger)
    try:
        chat.previous.click()
        chat.expect_texts("one", "second answer")
        chat.previous.click()
        chat.expect_texts("one", "first answer")
        expect(chat.position).to_have_text("Reply 1 of 3")
    finally:
        released.set()


def test_keep_button_chooses_viewed_alternative(looking: ChatPage, application: Application) -> None:
    looking.keep.click()
    expect(looking.keep).not_to_be_visible()
    looking.expect_texts("one", "first answer")
    looking.reload().expect_texts("one", "first answer")
    log = [*TWO_REPLIES, "alternative_chosen 2 instead of 3"]
    application.assert_log(looking.page, looking.conversation_id, log)


def test_prompt_continues_from_viewed_alternative(looking: ChatPage, application: Application) -> None:
    looking.ask("two")
    looking.expect_texts("one", "first answer", "two", "You said: two")
    log = [
        *TWO_REPLIES,
        "alternative_chosen 2 instead of 3",
        "message_sent 4 after 2: two",
        "reply_started 5 after 4, parrot told 1 2 4",
        "reply_finished 5 complete: You said: two",
    ]
    application.assert_log(looking.page, looking.conversation_id, log)


def test_rating_and_retry_apply_to_viewed_alternative(
    looking: ChatPage, application: Application, model: ScriptedServer
) -> None:
    looking.vote(0, "dislike")
    looking.expect_thumbs("dislike")
    expect(looking.quote).to_have_text("You dislike first answer")
    looking.following.click()
    looking.expect_texts("one", "second answer")
    looking.expect_thumbs("")
    looking.previous.click()
    looking.expect_texts("one", "first answer")
    model.reply("third answer")
    looking.press("Retry")
    looking.expect_texts("one", "third answer")
    looking.wait_until_idle()
    expect(looking.position).to_have_text("Reply 3 of 3")
    log = [
        *TWO_REPLIES,
        "message_rated 2: nothing -> dislike",
        "reply_retried 2",
        "reply_started 4 after 1 instead of 2, parrot told 1",
        "reply_finished 4 complete: third answer",
    ]
    application.assert_log(looking.page, looking.conversation_id, log)


def test_edit_chooses_and_replaces_viewed_alternative(looking: ChatPage, application: Application) -> None:
    looking.edit(1, "my own answer")
    looking.expect_texts("one", "my own answer")
    log = [
        *TWO_REPLIES,
        "alternative_chosen 2 instead of 3",
        "message_edited 4 after 1 instead of 2 as assistant: my own answer",
    ]
    application.assert_log(looking.page, looking.conversation_id, log)


def test_undo_takes_turn_back_when_other_alternative_is_viewed(looking: ChatPage, application: Application) -> None:
    looking.press("Undo")
    expect(looking.messages).to_have_count(0)
    expect(looking.prompt).to_have_value("one")
    application.assert_log(looking.page, looking.conversation_id, [*TWO_REPLIES, "turn_undone 1"])

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
    """The page, on which the first of two answers is looked at; the second one is stored."""
    model.reply("first answer")
    chat.ask("one")
    model.reply("second answer")
    chat.press("Retry")
    chat.shows("one", "second answer")
    chat.idle()
    expect(chat.keep).not_to_be_visible()
    chat.previous.click()
    chat.shows("one", "first answer")
    expect(chat.position).to_have_text("Reply 1 of 2")
    expect(chat.keep).to_be_visible()
    return chat


def test_looking_stores_nothing_and_a_reload_shows_what_is_stored(looking: ChatPage, application: Application) -> None:
    looking.following.click()
    looking.shows("one", "second answer")
    expect(looking.keep).not_to_be_visible()
    looking.previous.click()
    looking.shows("one", "first answer")
    looking.reload().shows("one", "second answer")
    expect(looking.position).to_have_text("Reply 2 of 2")
    application.assert_log(looking.page, looking.conversation_id, TWO_REPLIES)


def test_previous_counts_while_the_call_before_is_still_ending(
    chat: ChatPage, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.reply("first answer")
    chat.ask("one")
    for text in ("second answer", "third answer"):
        model.reply(text)
        chat.idle()
        chat.press("Retry")
        chat.shows("one", text)
    chat.idle()
    show, released = ChatView.render_and_stream, threading.Event()

    async def show_and_linger(*args: Any, **extra: Any) -> Updates:
        async for update in show(*args, **extra):
            yield update
        await asyncio.to_thread(released.wait)

    monkeypatch.setattr(ChatView, "render_and_stream", show_and_linger)
    try:
        chat.previous.click()
        chat.shows("one", "second answer")
        chat.previous.click()
        chat.shows("one", "first answer")
        expect(chat.position).to_have_text("Reply 1 of 3")
    finally:
        released.set()


def test_keep_this_one_chooses_what_is_on_view(looking: ChatPage, application: Application) -> None:
    looking.keep.click()
    expect(looking.keep).not_to_be_visible()
    looking.shows("one", "first answer")
    looking.reload().shows("one", "first answer")
    log = [*TWO_REPLIES, "alternative_chosen 2 instead of 3"]
    application.assert_log(looking.page, looking.conversation_id, log)


def test_a_prompt_goes_on_from_what_is_on_view(looking: ChatPage, application: Application) -> None:
    looking.ask("two")
    looking.shows("one", "first answer", "two", "You said: two")
    log = [
        *TWO_REPLIES,
        "alternative_chosen 2 instead of 3",
        "message_sent 4 after 2: two",
        "reply_started 5 after 4, parrot told 1 2 4",
        "reply_finished 5 complete: You said: two",
    ]
    application.assert_log(looking.page, looking.conversation_id, log)


def test_what_is_on_view_is_what_is_rated_and_retried(
    looking: ChatPage, application: Application, model: ScriptedServer
) -> None:
    looking.vote(0, "dislike")
    looking.thumbs("dislike")
    expect(looking.quote).to_have_text("You dislike first answer")
    looking.following.click()
    looking.shows("one", "second answer")
    looking.thumbs("")
    looking.previous.click()
    looking.shows("one", "first answer")
    model.reply("third answer")
    looking.press("Retry")
    looking.shows("one", "third answer")
    looking.idle()
    expect(looking.position).to_have_text("Reply 3 of 3")
    log = [
        *TWO_REPLIES,
        "message_rated 2: nothing -> dislike",
        "reply_retried 2",
        "reply_started 4 after 1 instead of 2, parrot told 1",
        "reply_finished 4 complete: third answer",
    ]
    application.assert_log(looking.page, looking.conversation_id, log)


def test_an_edit_of_what_is_on_view_goes_on_from_it(looking: ChatPage, application: Application) -> None:
    looking.edit(1, "my own answer")
    looking.shows("one", "my own answer")
    log = [
        *TWO_REPLIES,
        "alternative_chosen 2 instead of 3",
        "message_edited 4 after 1 instead of 2 as assistant: my own answer",
    ]
    application.assert_log(looking.page, looking.conversation_id, log)


def test_undo_takes_the_exchange_back_whichever_answer_is_on_view(looking: ChatPage, application: Application) -> None:
    looking.press("Undo")
    expect(looking.messages).to_have_count(0)
    expect(looking.prompt).to_have_value("one")
    application.assert_log(looking.page, looking.conversation_id, [*TWO_REPLIES, "turn_undone 1"])

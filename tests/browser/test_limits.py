"""Limits on replies per minute and at once: the refusal is explained, and the prompt stays in the box."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from browser.application import Application, endpoint
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from browser.page_probe import asked
from openai_server import ScriptedServer

Serve = Callable[..., Application]


def test_prompt_over_limit_per_minute_is_refused_and_kept(
    watched: Watched, serve: Serve, model: ScriptedServer
) -> None:
    application = serve(models=[endpoint(model)], messages_per_minute=2)
    chat = ChatPage(watched.context().new_page(), application.address).open()
    chat.ask("one")
    chat.ask("two")
    chat.prompt.fill("three")
    chat.prompt.press("Enter")
    sentence = r"You have asked for 2 replies in the last minute, which is the most; go on in \d+ s\."
    expect(chat.notice).to_have_text(re.compile(sentence))
    expect(chat.prompt).to_have_value("three")
    chat.expect_texts("one", "You said: one", "two", "You said: two")
    expect(chat.send_button).to_be_visible()
    application.assert_log(chat.page, chat.conversation_id, asked("one", "two"))
    chat.press("Retry")
    expect(chat.notice).to_have_text(re.compile(sentence))
    chat.expect_texts("one", "You said: one", "two", "You said: two")
    application.assert_log(chat.page, chat.conversation_id, asked("one", "two"))


def test_prompt_over_limit_of_replies_at_once_is_refused_in_other_tab(
    watched: Watched, serve: Serve, model: ScriptedServer
) -> None:
    application = serve(models=[endpoint(model)], streams_at_once=1)
    context = watched.context()
    chat = ChatPage(context.new_page(), application.address).open()
    other = ChatPage(context.new_page(), application.address).open()
    script = model.reply("one two three", hold_after=2)
    chat.send("Count")
    other.prompt.fill("And for me?")
    other.prompt.press("Enter")
    expect(other.notice).to_have_text(
        "1 reply is being written for you at once already; wait for one to end, or stop it."
    )
    expect(other.prompt).to_have_value("And for me?")
    other.expect_texts()
    script.release()
    chat.expect_texts("Count", "one two three")
    chat.wait_until_idle()
    assert application.conversation_ids() == [chat.conversation_id]
    other.prompt.press("Enter")
    other.expect_texts("And for me?", "You said: And for me?")
    other.wait_until_idle()
    application.assert_log(other.page, other.conversation_id, asked("And for me?"))

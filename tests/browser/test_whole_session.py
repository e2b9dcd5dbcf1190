"""One session with every action of a user, on SQLite and on Postgres, and its log."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import BrowserContext, expect

from browser.application import Application, endpoint
from browser.chat_page import ChatPage
from chatfeedback.store.maintenance import check
from openai_server import ScriptedServer


def test_log_records_every_action_of_whole_session(
    database_url: str, serve: Callable[..., Application], context: BrowserContext, model: ScriptedServer
) -> None:
    application = serve(database_url, models=[endpoint(model)])
    chat = ChatPage(context.new_page(), application.address).open()
    chat.ask("one\x00")
    chat.vote(0, "like")
    chat.expect_thumbs("like")
    chat.reason("Helpful").check()
    chat.comment.fill("naïve “quotes” 😀")
    chat.page.locator("#feedback-close").click()
    expect(chat.panel).not_to_be_visible()
    model.reply("another answer")
    chat.press("Retry")
    chat.expect_texts("one\ufffd", "another answer")
    chat.wait_until_idle()
    chat.previous.click()
    chat.expect_texts("one\ufffd", "You said: one\ufffd")
    chat.expect_thumbs("like")
    script = model.reply("stopped before the end", hold_after=2)
    chat.send("two")
    chat.expect_texts("one\ufffd", "You said: one\ufffd", "two", "stopped")
    chat.stop()
    assert script.left.wait(10)
    chat.press("Undo")
    chat.expect_texts("one\ufffd", "You said: one\ufffd")
    expect(chat.prompt).to_have_value("two")
    chat.prompt.fill("")
    chat.edit(0, "uno")
    chat.expect_texts("uno", "You said: uno")
    chat.wait_until_idle()
    chat.edit(1, "Let me put it like this")
    chat.expect_texts("uno", "Let me put it like this")
    expect(chat.position).to_have_text("Reply 2 of 2")
    model.fail(500, "broken")
    chat.ask("three")
    expect(chat.replies.last).to_contain_text("HTTP status 500")
    first = chat.conversation_id
    chat.clear()
    fault = f"The model 'parrot' at {model.url} failed with HTTP status 500; try Retry."
    log = [
        "conversation_started",
        "message_sent 1 after the start: one\ufffd",
        "reply_started 2 after 1, parrot told 1",
        "reply_finished 2 complete: You said: one\ufffd",
        "message_rated 2: nothing -> like",
        "message_rated 2: like -> like helpful",
        "message_rated 2: like helpful -> like helpful “naïve “quotes” 😀”",
        "reply_retried 2",
        "reply_started 3 after 1 instead of 2, parrot told 1",
        "reply_finished 3 complete: another answer",
        "alternative_chosen 2 instead of 3",
        "message_sent 4 after 2: two",
        "reply_started 5 after 4, parrot told 1 2 4",
        "reply_finished 5 stopped: stopped ",
        "turn_undone 4",
        "message_edited 6 after the start instead of 1 as user: uno",
        "reply_started 7 after 6, parrot told 6",
        "reply_finished 7 complete: You said: uno",
        "message_edited 8 after 6 instead of 7 as assistant: Let me put it like this",
        "message_sent 9 after 8: three",
        "reply_started 10 after 9, parrot told 6 8 9",
        f"reply_finished 10 failed ({fault}): ",
        "conversation_cleared",
    ]
    application.assert_log(chat.page, first, log)
    chat.open(first)
    expect(chat.messages).to_have_count(4)
    assert check(database_url) == []

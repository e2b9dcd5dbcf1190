"""Retry, undo and edit: nothing is thrown away, and the log records each action."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from browser.application import Application
from browser.chat_page import ChatPage
from browser.page_probe import asked
from openai_server import ScriptedServer


def test_retry_generates_reply_with_new_seed_and_without_cache_beside_old_one(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    model.reply("first answer")
    chat.ask("one")
    expect(chat.position).not_to_be_visible()
    model.reply("second answer")
    chat.press("Retry")
    chat.expect_texts("one", "second answer")
    chat.wait_until_idle()
    expect(chat.position).to_have_text("Reply 2 of 2")
    expect(chat.following).to_be_disabled()
    first, second = model.requests[-2:]
    assert first["messages"] == second["messages"]
    assert first["seed"] != second["seed"]
    assert model.headers[-1]["x-use-cache"] == "false"
    assert model.headers[-1]["cache-control"] == "no-cache"
    chat.previous.click()
    chat.expect_texts("one", "first answer")
    expect(chat.position).to_have_text("Reply 1 of 2")
    expect(chat.previous).to_be_disabled()
    chat.following.click()
    chat.expect_texts("one", "second answer")
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            "conversation_started",
            "message_sent 1 after the start: one",
            "reply_started 2 after 1, parrot told 1",
            "reply_finished 2 complete: first answer",
            "reply_retried 2",
            "reply_started 3 after 1 instead of 2, parrot told 1",
            "reply_finished 3 complete: second answer",
        ],
    )


def test_alternatives_keep_their_own_ratings(chat: ChatPage, model: ScriptedServer) -> None:
    model.reply("first answer")
    chat.ask("one")
    chat.vote(0, "dislike")
    chat.expect_thumbs("dislike")
    model.reply("second answer")
    chat.press("Retry")
    chat.expect_texts("one", "second answer")
    chat.wait_until_idle()
    chat.expect_thumbs("")
    chat.vote(0, "like")
    chat.expect_thumbs("like")
    chat.previous.click()
    chat.expect_texts("one", "first answer")
    chat.expect_thumbs("dislike")
    chat.following.click()
    chat.expect_texts("one", "second answer")
    chat.expect_thumbs("like")


def test_prompt_continues_from_shown_alternative(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    model.reply("first answer")
    chat.ask("one")
    model.reply("second answer")
    chat.press("Retry")
    chat.expect_texts("one", "second answer")
    chat.wait_until_idle()
    chat.previous.click()
    chat.expect_texts("one", "first answer")
    chat.ask("two")
    contents = [message["content"] for message in model.requests[-1]["messages"]]
    assert contents == ["You are a friendly chatbot", "one", "first answer", "two"]
    chat.expect_texts("one", "first answer", "two", "You said: two")
    expect(chat.position).not_to_be_visible()


@pytest.mark.talked("one")
def test_retry_that_fails_keeps_old_reply_and_says_why(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    model.fail(500, {"error": {"message": "out of memory"}})
    chat.press("Retry")
    sentence = f"The model 'parrot' at {model.url} failed with HTTP status 500: “out of memory”; try Retry."
    expect(chat.status).to_have_text(f"⚠️ {sentence.replace(f' at {model.url}', '')} The earlier reply stays.")
    chat.expect_texts("one", "You said: one")
    chat.wait_until_idle()
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *asked("one"),
            "reply_retried 2",
            "reply_started 3 after 1 instead of 2, parrot told 1",
            f"reply_finished 3 failed ({sentence}): ",
        ],
    )
    model.reply("at last")
    chat.press("Retry")
    chat.expect_texts("one", "at last")
    expect(chat.position).to_have_text("Reply 2 of 2")
    expect(chat.status).not_to_be_visible()


@pytest.mark.talked("one", "two, with\na second line")
def test_undo_puts_prompt_back_into_empty_box(chat: ChatPage, application: Application) -> None:
    chat.press("Undo")
    chat.expect_texts("one", "You said: one")
    expect(chat.prompt).to_have_value("two, with\na second line")
    expect(chat.put_back).not_to_be_visible()
    chat.prompt.press("Enter")
    chat.wait_until_idle()
    expect(chat.messages).to_have_count(4)
    log = [*asked("one", "two, with\na second line"), "turn_undone 3"]
    log += ["message_sent 5 after 2: two, with\na second line", "reply_started 6 after 5, parrot told 1 2 5"]
    log += ["reply_finished 6 complete: You said: two, with\na second line"]
    application.assert_log(chat.page, chat.conversation_id, log)


@pytest.mark.talked("one")
def test_undo_offers_prompt_and_keeps_draft_when_something_is_typed(chat: ChatPage, application: Application) -> None:
    chat.prompt.fill("half a thought")
    chat.press("Undo")
    chat.expect_texts()
    expect(chat.prompt).to_have_value("half a thought")
    expect(chat.put_back).to_have_text("Put back: “one”")
    chat.put_back.click()
    expect(chat.prompt).to_have_value("one")
    expect(chat.put_back).to_have_text("Put back: “half a thought”")
    chat.put_back.click()
    expect(chat.prompt).to_have_value("half a thought")
    application.assert_log(chat.page, chat.conversation_id, [*asked("one"), "turn_undone 1"])


@pytest.mark.talked("one")
def test_undo_of_all_turns_leaves_empty_conversation_that_goes_on_after_reload(
    chat: ChatPage, application: Application
) -> None:
    conversation_id = chat.conversation_id
    chat.press("Undo")
    chat.expect_texts()
    chat.reload()
    chat.expect_texts()
    expect(chat.prompt).to_have_value("one")
    chat.ask("two")
    assert chat.conversation_id == conversation_id
    application.assert_log(
        chat.page,
        conversation_id,
        [
            *asked("one"),
            "turn_undone 1",
            "message_sent 3 after the start: two",
            "reply_started 4 after 3, parrot told 3",
            "reply_finished 4 complete: You said: two",
        ],
    )


@pytest.mark.talked("one", "two")
def test_edited_prompt_branches_and_gets_new_reply(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    chat.prompt.fill("a draft")
    chat.edit(0, "uno")
    chat.expect_texts("uno", "You said: uno")
    chat.wait_until_idle()
    assert [message["content"] for message in model.requests[-1]["messages"]] == ["You are a friendly chatbot", "uno"]
    expect(chat.prompt).to_have_value("a draft")
    application.assert_log(
        chat.page,
        chat.conversation_id,
        [
            *asked("one", "two"),
            "message_edited 5 after the start instead of 1 as user: uno",
            "reply_started 6 after 5, parrot told 5",
            "reply_finished 6 complete: You said: uno",
        ],
    )


@pytest.mark.talked("one", "two")
def test_edited_reply_is_stored_with_its_author_beside_original(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    chat.edit(1, "What I would have said")
    chat.expect_texts("one", "What I would have said")
    expect(chat.position).to_have_text("Reply 2 of 2")
    log = [*asked("one", "two"), "message_edited 5 after 1 instead of 2 as assistant: What I would have said"]
    application.assert_log(chat.page, chat.conversation_id, log)
    conversation = application.conversation(chat.conversation_id)
    corrected = conversation.messages[conversation.head_id or ""]
    assert corrected.author_id == application.annotator_id
    assert corrected.model is None
    chat.ask("three")
    contents = [message["content"] for message in model.requests[-1]["messages"]]
    assert contents == ["You are a friendly chatbot", "one", "What I would have said", "three"]
    chat.press("Undo")
    chat.expect_texts("one", "What I would have said")
    chat.previous.click()
    chat.expect_texts("one", "You said: one", "two", "You said: two")


@pytest.mark.talked("one")
def test_edit_to_same_text_changes_nothing(chat: ChatPage, application: Application) -> None:
    log = asked("one")
    ratings = ("message_rated 2: nothing -> like", "message_rated 2: like -> dislike")
    for message, (text, value, rated) in enumerate(
        zip(("one", "You said: one"), ("like", "dislike"), ratings, strict=True)
    ):
        chat.edit(message, text)
        chat.vote(0, value)
        log.append(rated)
        application.assert_log(chat.page, chat.conversation_id, log)
        chat.expect_texts("one", "You said: one")


@pytest.mark.talked("one")
def test_edit_changes_nothing_when_cancelled(chat: ChatPage, application: Application) -> None:
    chat.page.locator("#chatbot .message-buttons").first.get_by_role("button", name="Edit").click()
    chat.page.locator("#chatbot textarea.edit-textarea").fill("other")
    chat.page.locator("#chatbot").get_by_role("button", name="Cancel").click()
    chat.vote(0, "like")
    application.assert_log(chat.page, chat.conversation_id, [*asked("one"), "message_rated 2: nothing -> like"])
    chat.expect_texts("one", "You said: one")


@pytest.mark.talked("one")
def test_edit_shows_stored_message_again_when_refused(chat: ChatPage, application: Application) -> None:
    chat.edit(1, "   ")
    expect(chat.notice).to_have_text("There is nothing to send: type a message first.")
    chat.expect_texts("one", "You said: one")
    application.assert_log(chat.page, chat.conversation_id, asked("one"))

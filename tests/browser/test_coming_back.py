"""An open page after a reload, a restart or a lost connection: its conversation, ratings and draft come back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from browser.application import Application, endpoint
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from browser.page_probe import asked
from chatfeedback.store.accounts import audit
from openai_server import ScriptedServer

RESTARTED = (
    "The server has forgotten this page, because it was restarted or you opened many others; check the newest state "
    "and try again."
)


@pytest.fixture
def application(request: pytest.FixtureRequest, model: ScriptedServer) -> Application:
    """Return an application that the test may stop and start."""
    started: Application = request.getfixturevalue("serve")(models=[endpoint(model)])
    return started


@pytest.fixture(autouse=True)
def _server_goes_away(watched: Watched) -> None:
    watched.server_goes_away()


@pytest.fixture
def rated(chat: ChatPage) -> ChatPage:
    """Return a tab with a rated reply and a draft."""
    chat.ask("one")
    chat.vote(0, "dislike")
    chat.reason("Unclear").check()
    expect(chat.saved).to_have_text("✓ Saved")
    chat.prompt.fill("half a thought")
    chat.wait_until_settled()
    return chat


LOG = [
    *asked("one"),
    "message_rated 2: nothing -> dislike",
    "message_rated 2: dislike -> dislike unclear",
]


def refusals(application: Application) -> list[object]:
    """Return the reasons of all refusals in the audit."""
    return [entry.detail["what"] for entry in audit.latest(application.engine, 100) if entry.action == "refused"]


def test_reload_restores_conversation_ratings_and_draft(rated: ChatPage, application: Application) -> None:
    conversation_id = rated.conversation_id
    rated.reload()
    rated.expect_texts("one", "You said: one")
    rated.expect_thumbs("dislike")
    expect(rated.prompt).to_have_value("half a thought")
    assert rated.conversation_id == conversation_id
    application.assert_log(rated.page, conversation_id, LOG)


def test_draft_is_kept_at_once(chat: ChatPage) -> None:
    chat.prompt.fill("half a thought")
    chat.reload()
    expect(chat.prompt).to_have_value("half a thought")


def test_idle_page_goes_on_after_server_restart(rated: ChatPage, application: Application) -> None:
    application.stop()
    application.start()
    rated.prompt.press("Enter")
    expect(rated.notice).to_have_text(RESTARTED)
    expect(rated.prompt).to_have_value("half a thought")
    rated.expect_texts("one", "You said: one")
    rated.expect_thumbs("dislike")
    rated.prompt.press("Enter")
    rated.expect_texts("one", "You said: one", "half a thought", "You said: half a thought")
    rated.wait_until_idle()
    application.assert_log(
        rated.page,
        rated.conversation_id,
        [
            *LOG,
            "message_sent 3 after 2: half a thought",
            "reply_started 4 after 3, parrot told 1 2 3",
            "reply_finished 4 complete: You said: half a thought",
        ],
    )


def test_thumb_after_restart_is_reverted_with_notice_and_works_at_second_click(
    rated: ChatPage, application: Application
) -> None:
    application.stop()
    application.start()
    rated.vote(0, "like")
    expect(rated.notice).to_have_text(RESTARTED)
    rated.expect_thumbs("dislike")
    expect(rated.prompt).to_have_value("half a thought")
    rated.vote(0, "like")
    rated.expect_thumbs("like")
    log = [*LOG, "message_rated 2: dislike unclear -> like"]
    application.assert_log(rated.page, rated.conversation_id, log)
    assert refusals(application) == [], "an honest click is none"


def click_reply(chat: ChatPage) -> None:
    chat.select(0)


def click_comment_button(chat: ChatPage) -> None:
    chat.comment_on_last.click()


@pytest.mark.parametrize("click", [click_reply, click_comment_button])
def test_panel_after_restart_opens_at_second_click_and_first_shows_newest_state(
    chat: ChatPage, application: Application, click: Callable[[ChatPage], None]
) -> None:
    chat.block_version_polling()
    chat.ask("one")
    chat.wait_until_settled()
    other = ChatPage(chat.page.context.new_page(), application.address).open(chat.conversation_id)
    other.edit(1, "corrected")
    other.wait_until_settled()
    other.page.close()
    application.stop()
    application.start()
    click(chat)
    expect(chat.notice).to_have_text(RESTARTED)
    chat.expect_texts("one", "corrected")
    expect(chat.panel).not_to_be_visible()
    click(chat)
    expect(chat.quote).to_contain_text("corrected")
    assert refusals(application) == []


def test_comment_typed_after_restart_is_saved(rated: ChatPage, application: Application) -> None:
    application.stop()
    application.start()
    rated.comment.fill("still here")
    rated.comment.blur()
    log = [*LOG, "message_rated 2: dislike unclear -> dislike unclear “still here”"]
    application.assert_log(rated.page, rated.conversation_id, log)


def test_reply_keeps_text_so_far_when_server_restarts(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.expect_texts("Count", "one two")
    conversation_id = chat.conversation_id
    application.stop()
    application.start()
    log = [line.replace("complete: You said: Count", "interrupted: one two ") for line in asked("Count")]
    application.assert_log(chat.page, conversation_id, log)
    # The page notices that its stream broke, and loads itself again.
    chat.expect_texts("Count", "one two")
    expect(chat.status).to_have_text("This reply was interrupted; the text so far is kept. Retry asks for another one.")
    model.reply("one two three four")
    chat.press("Retry")
    chat.expect_texts("Count", "one two three four")
    chat.wait_until_idle()


@pytest.mark.talked("one")
def test_page_loses_nothing_when_connection_drops(
    chat: ChatPage, context: BrowserContext, application: Application, model: ScriptedServer
) -> None:
    chat.vote(0, "like")
    chat.expect_thumbs("like")
    expect(chat.panel).to_be_visible()  # which is the last that is answered
    context.set_offline(True)
    chat.prompt.fill("are you there?")
    chat.prompt.press("Enter")
    expect(chat.page.get_by_text("Connection to the server was lost")).to_be_visible()
    expect(chat.prompt).to_have_value("are you there?")
    context.set_offline(False)
    chat.expect_texts("one", "You said: one")
    chat.expect_thumbs("like")
    expect(chat.prompt).to_have_value("are you there?")
    expect(chat.send_button).to_be_visible()

"""Whatever happens to the page, the connection or the server: conversation, ratings and drafts come back."""

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

RESTARTED = "The server was restarted after this page was loaded; here is the newest state."


@pytest.fixture
def application(request: pytest.FixtureRequest, model: ScriptedServer) -> Application:
    """One of the test's own, that it may stop and start."""
    started: Application = request.getfixturevalue("serve")(models=[endpoint(model)])
    return started


@pytest.fixture(autouse=True)
def _server_goes_away(watched: Watched) -> None:
    watched.server_goes_away()


@pytest.fixture
def rated(chat: ChatPage) -> ChatPage:
    """A tab with a rated reply and something typed."""
    chat.ask("one")
    chat.vote(0, "dislike")
    chat.reason("Unclear").check()
    expect(chat.saved).to_have_text("✓ Saved")
    chat.prompt.fill("half a thought")
    chat.settled()
    return chat


LOG = [
    *asked("one"),
    "message_rated 2: nothing -> dislike",
    "message_rated 2: dislike -> dislike unclear",
]


def refusals(application: Application) -> list[object]:
    """What was refused of anybody."""
    return [entry.detail["what"] for entry in audit.latest(application.engine, 100) if entry.action == "refused"]


def test_a_reload_brings_back_the_conversation_its_ratings_and_the_draft(
    rated: ChatPage, application: Application
) -> None:
    conversation_id = rated.conversation_id
    rated.reload()
    rated.shows("one", "You said: one")
    rated.thumbs("dislike")
    expect(rated.prompt).to_have_value("half a thought")
    assert rated.conversation_id == conversation_id
    application.assert_log(rated.page, conversation_id, LOG)


def test_what_is_typed_is_kept_at_once(chat: ChatPage) -> None:
    chat.prompt.fill("half a thought")
    chat.reload()
    expect(chat.prompt).to_have_value("half a thought")


def test_an_idle_page_goes_on_after_a_restart_of_the_server(rated: ChatPage, application: Application) -> None:
    application.stop()
    application.start()
    rated.prompt.press("Enter")
    expect(rated.notice).to_have_text(RESTARTED)
    expect(rated.prompt).to_have_value("half a thought")
    rated.shows("one", "You said: one")
    rated.thumbs("dislike")
    rated.prompt.press("Enter")
    rated.shows("one", "You said: one", "half a thought", "You said: half a thought")
    rated.idle()
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


def test_a_click_on_a_thumb_after_a_restart_is_taken_back_and_explained_and_works_the_second_time(
    rated: ChatPage, application: Application
) -> None:
    application.stop()
    application.start()
    rated.vote(0, "like")
    expect(rated.notice).to_have_text(RESTARTED)
    rated.thumbs("dislike")
    expect(rated.prompt).to_have_value("half a thought")
    rated.vote(0, "like")
    rated.thumbs("like")
    log = [*LOG, "message_rated 2: dislike unclear -> like"]
    application.assert_log(rated.page, rated.conversation_id, log)
    assert refusals(application) == [], "an honest click is none"


def the_reply(chat: ChatPage) -> None:
    chat.select(0)


def the_button(chat: ChatPage) -> None:
    chat.comment_on_last.click()


@pytest.mark.parametrize("click", [the_reply, the_button])
def test_whoever_wants_to_comment_after_a_restart_is_shown_the_newest_state_and_can_the_second_time(
    chat: ChatPage, application: Application, click: Callable[[ChatPage], None]
) -> None:
    chat.stays_stale()
    chat.ask("one")
    chat.settled()
    other = ChatPage(chat.page.context.new_page(), application.address).open(chat.conversation_id)
    other.edit(1, "corrected")
    other.settled()
    other.page.close()
    application.stop()
    application.start()
    click(chat)
    expect(chat.notice).to_have_text(RESTARTED)
    chat.shows("one", "corrected")
    expect(chat.panel).not_to_be_visible()
    click(chat)
    expect(chat.quote).to_contain_text("corrected")
    assert refusals(application) == []


def test_a_comment_typed_across_a_restart_is_saved(rated: ChatPage, application: Application) -> None:
    application.stop()
    application.start()
    rated.comment.fill("still here")
    rated.comment.blur()
    log = [*LOG, "message_rated 2: dislike unclear -> dislike unclear “still here”"]
    application.assert_log(rated.page, rated.conversation_id, log)


def test_a_restart_in_the_middle_of_a_reply_keeps_the_text_so_far(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    model.reply("one two three four", hold_after=2)
    chat.send("Count")
    chat.shows("Count", "one two")
    conversation_id = chat.conversation_id
    application.stop()
    application.start()
    log = [line.replace("complete: You said: Count", "interrupted: one two ") for line in asked("Count")]
    application.assert_log(chat.page, conversation_id, log)
    # The page notices that its stream broke, and loads itself again.
    chat.shows("Count", "one two")
    expect(chat.status).to_have_text("This reply was interrupted; the text so far is kept. Retry asks for another one.")
    model.reply("one two three four")
    chat.press("Retry")
    chat.shows("Count", "one two three four")
    chat.idle()


@pytest.mark.talked("one")
def test_a_dropped_connection_loses_nothing(
    chat: ChatPage, context: BrowserContext, application: Application, model: ScriptedServer
) -> None:
    chat.vote(0, "like")
    chat.thumbs("like")
    expect(chat.panel).to_be_visible()  # which is the last that is answered
    context.set_offline(True)
    chat.prompt.fill("are you there?")
    chat.prompt.press("Enter")
    expect(chat.page.get_by_text("Connection to the server was lost")).to_be_visible()
    expect(chat.prompt).to_have_value("are you there?")
    context.set_offline(False)
    chat.shows("one", "You said: one")
    chat.thumbs("like")
    expect(chat.prompt).to_have_value("are you there?")
    expect(chat.send_button).to_be_visible()

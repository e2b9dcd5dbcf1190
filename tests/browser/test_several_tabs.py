"""Two tabs on one conversation: no action in one tab is hidden from the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from browser.application import Application
from browser.chat_page import ChatPage
from browser.page_probe import asked
from browser.users import LOGIN, Visitor
from chatfeedback.domain.feedback.decide import RatingChange
from export.recording import TimedTalk

SENTENCE = "This conversation was changed in another tab; here is its newest state."


@pytest.fixture
def stale(context: BrowserContext, application: Application) -> ChatPage:
    """Return a tab that shows "one" and its reply, while "two" was asked elsewhere."""
    conversation_id = application.store_talk("one")
    chat = ChatPage(context.new_page(), application.address)
    chat.block_version_polling()
    chat.open(conversation_id).expect_texts("one", "You said: one")
    application.store_talk("two", conversation_id=conversation_id)
    return chat


@pytest.mark.parametrize("action", ["send", "retry", "undo", "edit"])
def test_stale_tab_shows_notice_and_newest_state(stale: ChatPage, application: Application, action: str) -> None:
    stale.prompt.fill("my text")
    match action:
        case "send":
            stale.prompt.press("Enter")
        case "retry":
            stale.press("Retry")
        case "undo":
            stale.press("Undo")
        case "edit":
            stale.edit(0, "uno")
    expect(stale.notice).to_have_text(SENTENCE)
    stale.expect_texts("one", "You said: one", "two", "You said: two")
    expect(stale.prompt).to_have_value("my text")
    if action == "edit":
        expect(stale.put_back).to_have_text("Put back: “uno”")
    else:
        expect(stale.put_back).not_to_be_visible()
    application.assert_log(stale.page, stale.conversation_id, asked("one", "two"))
    stale.prompt.press("Enter")
    stale.expect_texts("one", "You said: one", "two", "You said: two", "my text", "You said: my text")
    stale.wait_until_idle()
    application.assert_log(stale.page, stale.conversation_id, asked("one", "two", "my text"))


def test_thumb_in_stale_tab_counts_for_its_reply(stale: ChatPage, application: Application) -> None:
    stale.vote(0, "like")
    stale.expect_thumbs("like")
    application.assert_log(
        stale.page, stale.conversation_id, [*asked("one", "two"), "message_rated 2: nothing -> like"]
    )


ELSEWHERE = [
    "message_rated 2: nothing -> “old”",
    "message_rated 2: “old” -> funny “new”",
]
"""The ratings that are stored before the page acts."""


@pytest.fixture
def ada(visits: Callable[..., Visitor]) -> Visitor:
    return visits("annotator")


@pytest.fixture
def outdated(ada: Visitor) -> ChatPage:
    """Return a tab whose panel shows a comment that was replaced elsewhere, where a reason was chosen too."""
    talk = TimedTalk(ada.application.store, ada.user.annotator_id, "parrot")
    reply = talk.ask("one", "You said: one")
    talk.rate(reply, talk.actor, RatingChange(comment="old"))
    chat = ada.comes_in(talk.conversation_id)
    chat.block_version_polling()
    chat.select(0)
    expect(chat.comment).to_have_value("old")
    talk.rate(reply, talk.actor, RatingChange(reasons={"funny": True}, comment="new"))
    return chat


def leave_the_box(chat: ChatPage, _ada: Visitor) -> None:
    chat.comment.focus()
    chat.comment.blur()


def close_the_panel(chat: ChatPage, _ada: Visitor) -> None:
    chat.comment.focus()
    chat.page.keyboard.press("Escape")
    expect(chat.panel).not_to_be_visible()


def sign_in_again(chat: ChatPage, ada: Visitor) -> None:
    chat.comment.focus()
    ada.ends_sessions("DELETE FROM sessions")
    chat.page.locator("#feedback-close").click()
    expect(chat.page).to_have_url(LOGIN)
    ada.signs_in().chats().expect_texts("one", "You said: one")


@pytest.mark.parametrize("act", [leave_the_box, close_the_panel, sign_in_again])
def test_comment_not_typed_in_this_tab_replaces_no_newer_one(
    outdated: ChatPage, ada: Visitor, act: Callable[[ChatPage, Visitor], None]
) -> None:
    act(outdated, ada)
    outdated.wait_until_settled()
    ada.application.assert_log(outdated.page, outdated.conversation_id, [*asked("one"), *ELSEWHERE])


@pytest.mark.parametrize("key", ["Space", "Enter"])
def test_reason_chosen_on_outdated_page_keeps_other_reasons(outdated: ChatPage, ada: Visitor, key: str) -> None:
    log = [*asked("one"), *ELSEWHERE, "message_rated 2: funny “new” -> funny, unclear “new”"]
    outdated.reason("Unclear").press(key)
    expect(outdated.reason("Unclear")).to_be_checked()
    expect(outdated.reason("funny")).to_be_checked()  # it is shown now
    ada.application.assert_log(outdated.page, outdated.conversation_id, log)
    outdated.reason("Unclear").press(key)
    expect(outdated.reason("Unclear")).not_to_be_checked()
    log.append("message_rated 2: funny, unclear “new” -> funny “new”")
    ada.application.assert_log(outdated.page, outdated.conversation_id, log)


def test_comment_typed_on_outdated_page_replaces_newer_one(outdated: ChatPage, ada: Visitor) -> None:
    outdated.comment.fill("newest")
    outdated.comment.blur()
    log = [*asked("one"), *ELSEWHERE, "message_rated 2: funny “new” -> funny “newest”"]
    ada.application.assert_log(outdated.page, outdated.conversation_id, log)

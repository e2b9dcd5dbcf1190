"""Feedback that was refused because the session had ended: sent again after signing in, or given back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from browser.chat_page import ChatPage
from browser.looks import SIZES, check_page, in_each_scheme, keep_picture
from browser.page_probe import asked
from browser.users import LOGIN, Visitor
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.errors import NotRateable
from chatfeedback.services.feedback import FeedbackService
from chatfeedback.store.accounts import users
from chatfeedback.store.database.engine import open_engine
from chatfeedback.ui.chat.feedback_panel import EDIT_NOT_SAVED

ENDED = "Your session has ended. Sign in again to go on where you were."
KEPT = "() => Object.keys(sessionStorage).filter((key) => key.includes('unsaved'))"
Visits = Callable[..., Visitor]


@pytest.fixture
def ada(visits: Visits) -> Visitor:
    """Return an annotator who has not signed in."""
    return visits("annotator")


@pytest.fixture
def chat(ada: Visitor) -> ChatPage:
    return ada.opens_panel()


def expire(ada: Visitor) -> None:
    ada.ends_sessions("UPDATE sessions SET expires_at = 1")


def sign_out_elsewhere(ada: Visitor) -> None:
    other = ada.context.new_page()
    other.goto(ada.application.address)
    other.get_by_role("button", name="Sign out").click()
    expect(other).to_have_url(LOGIN)
    other.close()


def reset_password(ada: Visitor) -> None:
    ada.ends_sessions("DELETE FROM sessions")  # which is all that a reset does to an open page


def disable_for_a_while(ada: Visitor) -> None:
    engine = open_engine(ada.application.settings.database_url)
    users.set_disabled(engine, ada.user.name, True, actor_id=None)
    users.set_disabled(engine, ada.user.name, False, actor_id=None)
    engine.dispose()


def like(chat: ChatPage) -> str:
    chat.vote(0, "like")
    return "message_rated 2: nothing -> like"


def choose_a_reason(chat: ChatPage) -> str:
    chat.reason("Unclear").click()
    return "message_rated 2: nothing -> unclear"


def type_a_comment(chat: ChatPage) -> str:
    chat.comment.fill("first line\n<b>second</b> „ü“ ")
    return "message_rated 2: nothing -> “first line\n<b>second</b> „ü“ ”"


def all_of_it(chat: ChatPage) -> str:
    # In one turn, before the page is left because of the first.
    chat.page.evaluate("""() => {
        document.querySelector('#chatbot button[aria-label="Dislike"]').click();
        [...document.querySelectorAll('#feedback-reasons input')].at(-1).click();
        const box = document.querySelector('#feedback-comment textarea');
        box.value = "all of it";
        box.dispatchEvent(new Event("input", { bubbles: true }));
    }""")
    return "message_rated 2: nothing -> dislike unsafe “all of it”"


@pytest.mark.parametrize(
    ("end", "act"),
    [
        (expire, like),
        (sign_out_elsewhere, choose_a_reason),
        (reset_password, type_a_comment),
        (disable_for_a_while, all_of_it),
    ],
)
def test_feedback_is_stored_after_next_sign_in_when_session_had_ended(
    chat: ChatPage,
    ada: Visitor,
    end: Callable[[Visitor], None],
    act: Callable[[ChatPage], str],
) -> None:
    conversation_id = chat.conversation_id
    end(ada)
    rated = act(chat)
    expect(chat.page).to_have_url(LOGIN)
    expect(chat.page.get_by_role("status")).to_have_text(ENDED)
    ada.application.assert_log(chat.page, conversation_id, asked("one", "two"))
    chat = ada.signs_in().chats()
    expect(chat.saved).to_have_text("✓ Saved")
    expect(chat.quote).to_contain_text("You said: one")
    ada.application.assert_log(chat.page, conversation_id, [*asked("one", "two"), rated])
    assert chat.page.evaluate(KEPT) == []
    chat.reload().wait_until_settled()
    ada.application.assert_log(chat.page, conversation_id, [*asked("one", "two"), rated])


def test_feedback_is_wiped_when_different_user_signs_in(chat: ChatPage, ada: Visitor, visits: Visits) -> None:
    bob = visits("annotator")
    conversation_id = chat.conversation_id
    expire(ada)
    type_a_comment(chat)
    expect(chat.page).to_have_url(LOGIN)
    chat = ada.signs_in(name=bob.user.name).chats()
    expect(ada.account).to_contain_text(bob.user.name)
    chat.wait_until_settled()
    assert chat.page.evaluate(KEPT) == []
    expect(chat.page.get_by_text("second")).to_have_count(0)
    ada.signs_out()
    ada.goes_to(conversation_id).signs_in().chats().expect_texts("one", "You said: one", "two", "You said: two")
    chat.wait_until_settled()
    ada.application.assert_log(chat.page, conversation_id, asked("one", "two"))


def test_feedback_waits_for_its_conversation_when_another_one_is_opened_first(chat: ChatPage, ada: Visitor) -> None:
    conversation_id = chat.conversation_id
    expire(ada)
    rated = like(chat)
    expect(chat.page).to_have_url(LOGIN)
    chat.page.goto(f"{ada.application.address}login")
    chat = ada.signs_in().chats()
    chat.ask("three")
    chat.wait_until_settled()
    ada.application.assert_log(chat.page, conversation_id, asked("one", "two"))
    chat.listed.filter(has_text="one").click()
    chat.expect_thumbs("like", "")
    ada.application.assert_log(chat.page, conversation_id, [*asked("one", "two"), rated])
    ada.application.assert_log(chat.page, ada.application.conversation_ids()[-1], asked("three"))


def test_feedback_is_given_back_in_notice_when_it_cannot_be_stored(
    chat: ChatPage, ada: Visitor, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    expire(ada)
    chat.comment.fill("a <i>precious</i> comment " * 8)
    expect(chat.page).to_have_url(LOGIN)
    check_page(chat.page, folder, "sign-in-6-ended")

    async def refuse(*_given: Any, **_more: Any) -> Conversation:
        raise NotRateable("This reply has no text that could be rated; press Retry for another one.")

    monkeypatch.setattr(FeedbackService, "rate", refuse)
    chat = ada.signs_in().chats()
    expect(chat.notice).to_have_text(
        "Your feedback was not saved. This reply has no text that could be rated; press Retry for another one. "
        f"Your comment was: “{'a <i>precious</i> comment ' * 8}”"
    )
    for size, viewport in SIZES.items():
        chat.page.set_viewport_size(viewport)  # type: ignore[arg-type]
        for scheme in in_each_scheme(chat.page):
            keep_picture(chat.page, folder, size, scheme, "feedback-given-back")
    assert chat.page.evaluate(KEPT) == []


def submit(chat: ChatPage) -> None:
    chat.page.locator("#chatbot").get_by_role("button", name="Submit").click()


def act_elsewhere(chat: ChatPage) -> None:
    chat.page.locator("#feedback-close").click()


@pytest.mark.parametrize("act", [submit, act_elsewhere])
def test_edit_text_is_given_back_when_session_had_ended(
    chat: ChatPage, ada: Visitor, act: Callable[[ChatPage], None]
) -> None:
    chat.page.locator("#chatbot .message-buttons").nth(1).get_by_role("button", name="Edit").click()
    chat.page.locator("#chatbot textarea.edit-textarea").fill("half an edit")
    expire(ada)
    act(chat)
    expect(chat.page).to_have_url(LOGIN)
    chat = ada.signs_in().chats()
    expect(chat.notice).to_have_text(EDIT_NOT_SAVED)
    expect(chat.put_back).to_have_text("Put back: “half an edit”")
    chat.put_back.click()
    expect(chat.prompt).to_have_value("half an edit")
    ada.application.assert_log(chat.page, chat.conversation_id, asked("one", "two"))
    assert chat.page.evaluate(KEPT) == []


def test_edit_box_left_unchanged_is_not_kept_when_session_ends(chat: ChatPage, ada: Visitor) -> None:
    chat.page.locator("#chatbot .message-buttons").nth(1).get_by_role("button", name="Edit").click()
    expect(chat.page.locator("#chatbot textarea.edit-textarea")).to_have_value("You said: one")
    chat.page.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
    expire(ada)
    act_elsewhere(chat)
    expect(chat.page).to_have_url(LOGIN)
    assert chat.page.evaluate(KEPT) == []


def test_sign_in_page_says_that_session_ended_only_when_it_did(ada: Visitor) -> None:
    status = ada.page.get_by_role("status")
    ada.goes_to()
    expect(ada.page).to_have_url(LOGIN)
    expect(status).to_have_count(0)
    chat = ada.signs_in().chats()
    expire(ada)
    chat.page.reload()
    expect(status).to_have_text(ENDED)
    ada.signs_in(password="not my password")
    expect(ada.error).to_be_visible()
    expect(status).to_have_count(0)
    ada.signs_in().chats()
    ada.signs_out()
    expect(status).to_have_count(0)

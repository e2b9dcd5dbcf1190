"""Signing in and out, and what happens to an open page whose session has ended: in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest
from playwright.sync_api import expect

from browser.application import Application, endpoint
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from browser.page_probe import asked
from browser.users import LOGIN, PASSWORD, Visitor
from chatfeedback.store.accounts import users
from chatfeedback.store.database.engine import open_engine
from conversation_builder import StoredTalk
from openai_server import ScriptedServer

REFUSED = "This name and password do not go together, or the account is disabled."
Visits = Callable[..., Visitor]


@pytest.fixture
def ada(visits: Visits) -> Visitor:
    """Return an annotator who has not signed in."""
    return visits("annotator")


@pytest.fixture
def chat(ada: Visitor) -> ChatPage:
    """Return their tab with a conversation."""
    chat = ada.comes_in(ada.has_talked("one"))
    chat.expect_texts("one", "You said: one")
    chat.wait_until_settled()
    return chat


# The page


def test_sign_in_leads_to_conversation_that_was_opened(ada: Visitor) -> None:
    talk = StoredTalk(ada.application.store, ada.user.annotator_id)
    talk.ask("Do you remember?", "I do.")
    ada.goes_to(talk.conversation_id).signs_in(password="not my password")
    expect(ada.error).to_have_text(REFUSED)
    chat = ada.signs_in().chats()
    chat.expect_texts("Do you remember?", "I do.")
    assert chat.conversation_id == talk.conversation_id
    expect(ada.account).to_contain_text(ada.user.name)


def test_sign_in_never_leads_to_another_site(ada: Visitor) -> None:
    ada.page.goto(f"{ada.application.address}login?next=https://elsewhere.example/")
    ada.signs_in().chats()
    assert ada.page.url == ada.application.address


@pytest.mark.parametrize("known", [True, False])
def test_sign_in_error_is_same_sentence_for_known_and_unknown_names(ada: Visitor, known: bool) -> None:
    name = ada.user.name if known else "Nobody <b>at all</b>"
    ada.goes_to().signs_in(name=name, password="not my password")
    expect(ada.error).to_have_text(REFUSED)
    expect(ada.name).to_have_value(name)
    expect(ada.password).to_have_value("")
    expect(ada.password).to_be_focused()
    for field in (ada.name, ada.password):
        expect(field).to_have_accessible_description(REFUSED)


def test_sign_in_form_works_by_keyboard_and_shows_focus(ada: Visitor) -> None:
    keyboard, button = ada.goes_to().page.keyboard, ada.page.get_by_role("button", name="Sign in")
    for field in (ada.name, ada.password, button):
        expect(field).to_be_focused()
        outline = field.evaluate("one => [getComputedStyle(one).outlineStyle, getComputedStyle(one).outlineWidth]")
        assert outline == ["solid", "3px"]
        keyboard.press("Tab")
    ada.name.focus()
    keyboard.type(ada.user.name)
    keyboard.press("Tab")
    keyboard.type("not my password")
    keyboard.press("Enter")
    expect(ada.error).to_be_visible()
    expect(ada.password).to_be_focused()
    keyboard.type(PASSWORD)
    keyboard.press("Enter")
    expect(ada.chats().prompt).to_be_focused()


def test_sign_in_works_in_two_tabs(ada: Visitor) -> None:
    other = ada.context.new_page()
    ada.goes_to()
    other.goto(ada.application.address)
    ada.signs_in().chats()
    other.get_by_label("Name").fill(ada.user.name)
    other.get_by_label("Password").fill(PASSWORD)
    other.keyboard.press("Enter")
    ChatPage(other, ada.application.address).wait_until_rendered()


# Signing out


def test_sign_out_ends_session_and_leaves_nothing_behind(chat: ChatPage, ada: Visitor) -> None:
    before, address = ada.cookies(), chat.page.url
    assert httpx2.get(address, cookies=before).status_code == 200
    chat.prompt.fill("half a thought")
    ada.signs_out()
    assert httpx2.get(address, cookies=before, headers={"accept": "*/*"}).status_code == 401
    chat.page.go_back()
    expect(chat.page).to_have_url(LOGIN)
    expect(chat.messages).to_have_count(0)
    chat = ada.signs_in().chats()
    chat.expect_texts("one", "You said: one")
    expect(chat.prompt).to_have_value("")


def test_sign_out_without_session_leads_to_sign_in_page(chat: ChatPage, ada: Visitor) -> None:
    ada.ends_sessions("DELETE FROM sessions")
    ada.signs_out()
    expect(ada.name).to_be_focused()


def test_sign_out_applies_to_other_tabs(chat: ChatPage, ada: Visitor) -> None:
    conversation_id = chat.conversation_id
    other = ChatPage(ada.context.new_page(), ada.application.address).open(conversation_id)
    third = ChatPage(ada.context.new_page(), ada.application.address).open(conversation_id)
    third.expect_texts("one", "You said: one")
    other.prompt.fill("and two?")
    ada.signs_out()
    other.page.keyboard.press("Enter")
    expect(other.page).to_have_url(LOGIN)
    third.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # it is looked at again
    expect(third.page).to_have_url(LOGIN)
    expect(third.messages).to_have_count(0)
    ada.application.assert_log(ada.page, conversation_id, asked("one"))


# Sessions that end, and one that does not


@pytest.mark.parametrize("statement", ["DELETE FROM sessions", "UPDATE sessions SET expires_at = 1"])
def test_prompt_after_end_of_session_stays_in_box_and_is_sent_once(
    chat: ChatPage, ada: Visitor, statement: str
) -> None:
    conversation_id = chat.conversation_id
    chat.prompt.fill("two")
    ada.ends_sessions(statement)
    chat.page.keyboard.press("Enter")  # unless the page has noticed by itself
    chat = ada.signs_in().chats()
    chat.expect_texts("one", "You said: one")
    expect(chat.prompt).to_have_value("two")
    ada.application.assert_log(chat.page, conversation_id, asked("one"))
    chat.prompt.press("Enter")
    chat.expect_texts("one", "You said: one", "two", "You said: two")
    chat.wait_until_idle()
    assert chat.conversation_id == conversation_id
    ada.application.assert_log(chat.page, conversation_id, asked("one", "two"))


def test_draft_is_not_shown_to_next_user(chat: ChatPage, ada: Visitor, visits: Visits) -> None:
    bob = visits("annotator")
    chat.prompt.fill("for nobody else")
    ada.ends_sessions("DELETE FROM sessions")
    chat.page.keyboard.press("Enter")
    chat = ada.signs_in(name=bob.user.name).chats()
    expect(chat.notice).to_have_text("This conversation belongs to another person.")
    expect(ada.account).to_contain_text(bob.user.name)
    expect(chat.prompt).to_have_value("")
    expect(chat.messages).to_have_count(0)


def test_analytics_refresh_after_end_of_session_leads_to_sign_in(chat: ChatPage, ada: Visitor) -> None:
    chat.open_analytics()
    expect(chat.page.locator("#analytics-cards .cf-card").first).to_be_visible()
    chat.page.get_by_role("button", name="Refresh").focus()
    ada.ends_sessions("DELETE FROM sessions")
    chat.page.keyboard.press("Enter")
    ada.signs_in().chats().expect_texts("one", "You said: one")


def test_page_is_rendered_for_new_user_when_another_user_signs_in_beside_it(
    chat: ChatPage, ada: Visitor, visits: Visits
) -> None:
    bob = visits("annotator")
    chat.prompt.fill("two")
    beside = ada.context.new_page()
    beside.goto(f"{ada.application.address}login")
    beside.get_by_label("Name").fill(bob.user.name)
    beside.get_by_label("Password").fill(PASSWORD)
    beside.keyboard.press("Enter")
    ChatPage(beside, ada.application.address).wait_until_rendered()
    chat.prompt.press("Enter")
    expect(ada.account).to_contain_text(bob.user.name)
    expect(chat.wait_until_rendered().messages).to_have_count(0)
    expect(chat.prompt).to_have_value("")


def test_session_outlives_server_restart(
    watched: Watched, serve: Callable[..., Application], model: ScriptedServer, visits: Visits
) -> None:
    watched.server_goes_away()
    application = serve(auth="password", models=[endpoint(model)])
    ada = visits("annotator", application)
    ada.has_talked("one")
    chat = ada.goes_to().signs_in().chats()
    chat.listed.first.click()
    chat.expect_texts("one", "You said: one")
    chat.wait_until_settled()
    application.stop()
    application.start()
    chat.prompt.fill("two")
    chat.prompt.press("Enter")
    expect(chat.notice).to_have_text(
        "The server has forgotten this page, because it was restarted or you opened many others; check the newest "
        "state and try again."
    )
    chat.prompt.press("Enter")
    chat.expect_texts("one", "You said: one", "two", "You said: two")
    chat.wait_until_idle()
    application.assert_log(chat.page, chat.conversation_id, asked("one", "two"))


def test_disabled_user_is_signed_out_at_once_and_stays_out(chat: ChatPage, ada: Visitor) -> None:
    chat.buttons(0).get_by_role("button", name="Like", exact=True).focus()
    engine = open_engine(ada.application.settings.database_url)
    users.set_disabled(engine, ada.user.name, True, actor_id=None)
    engine.dispose()
    chat.page.keyboard.press("Enter")
    ada.signs_in()
    expect(ada.error).to_have_text(REFUSED)


# The password


def test_password_change_ends_other_sessions_and_not_this_one(chat: ChatPage, ada: Visitor) -> None:
    elsewhere = Visitor(ada.application, ada.user, ada.context.browser.new_context())  # type: ignore[union-attr]
    elsewhere.comes_in(chat.conversation_id).prompt.fill("two")
    ada.account.get_by_role("link", name="Password").click()
    old, new = ada.page.get_by_label("The password you have now"), ada.page.get_by_label("A new password")
    again = ada.page.get_by_label("The new password again")

    def change(before: str, after: str, repeated: str) -> None:
        old.fill(before)
        new.fill(after)
        again.fill(repeated)
        again.press("Enter")

    change("not my password", "four other words", "four other words")
    expect(ada.error).to_have_text("This is not your password.")
    expect(old).to_be_focused()
    expect(old).to_have_accessible_description("This is not your password.")
    change(PASSWORD, "four other words", "four words other")
    expect(ada.error).to_have_text("The new password was not the same both times.")
    change(PASSWORD, "four other words", "four other words")
    expect(ada.page.get_by_role("status")).to_contain_text("Your password was changed.")
    expect(ada.page.locator("main a")).to_be_focused()  # the way back
    ada.page.keyboard.press("Enter")
    ada.chats()
    elsewhere.page.keyboard.press("Enter")  # unless the page has noticed by itself
    elsewhere.signs_in()
    expect(elsewhere.error).to_have_text(REFUSED)
    elsewhere.signs_in(password="four other words").chats()
    elsewhere.context.close()

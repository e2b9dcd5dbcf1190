"""Several conversations of one user: started, listed, opened again, and named by the address."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from browser.application import Application, endpoint
from browser.browser_context import DESKTOP, PHONE, Watched
from browser.chat_page import ChatPage
from browser.page_probe import asked
from chatfeedback.store.accounts import annotators
from conversation_builder import StoredTalk
from openai_server import ScriptedServer


@pytest.mark.parametrize("button", ["Clear", "New conversation"])
@pytest.mark.talked("one")
def test_new_conversation_starts_and_old_one_is_kept(chat: ChatPage, application: Application, button: str) -> None:
    first = chat.conversation_id
    chat.vote(0, "like")
    chat.expect_thumbs("like")
    chat.page.get_by_role("button", name=button, exact=True).click()
    chat.expect_texts()
    expect(chat.page).to_have_url(application.address)
    application.assert_log(
        chat.page, first, [*asked("one"), "message_rated 2: nothing -> like", "conversation_cleared"]
    )
    chat.ask("two")
    second = chat.conversation_id
    assert second != first
    application.assert_log(chat.page, second, asked("two"))
    chat.page.locator(f'[data-conversation="{first}"]').click()
    chat.expect_texts("one", "You said: one")
    chat.expect_thumbs("like")
    expect(chat.page).to_have_url(f"{application.address}?conversation={first}")


@pytest.mark.talked("one")
def test_prompt_sent_right_after_clear_goes_into_new_conversation(chat: ChatPage, application: Application) -> None:
    first = chat.conversation_id
    # Both in one go, before the server can have answered the first.
    chat.prompt.fill("two")
    chat.page.evaluate(
        """() => {
            document.querySelector('#chatbot button[aria-label=Clear]').click();
            document.querySelector('#prompt [data-testid=submit-button]').click();
        }"""
    )
    chat.expect_texts("two", "You said: two")
    chat.wait_until_idle()
    application.assert_log(chat.page, chat.conversation_id, asked("two"))
    application.assert_log(chat.page, first, [*asked("one"), "conversation_cleared"])


def test_conversation_list_is_newest_first_and_marks_open_one(
    context: BrowserContext, serve: Callable[..., Application], model: ScriptedServer
) -> None:
    application = serve(models=[endpoint(model)])
    chat = ChatPage(context.new_page(), application.address).open()
    expect(chat.page.locator("#conversations")).to_have_text(re.compile("Nothing here yet"))
    for prompt in ("one", "two", "three"):
        chat.ask(prompt)
        chat.page.get_by_role("button", name="New conversation").click()
        chat.expect_texts()
    expect(chat.listed).to_have_text(["three", "two", "one"])
    chat.page.get_by_role("button", name="one").click()
    chat.expect_texts("one", "You said: one")
    current = chat.page.locator("#conversations [aria-current=true]")
    expect(current).to_have_text(re.compile("^one"))
    chat.ask("more")
    expect(chat.listed).to_have_text(["one", "three", "two"])
    expect(current).to_have_text(re.compile("^one"))


def test_sidebar_is_open_on_desktop_and_closed_on_phone(watched: Watched, application: Application) -> None:
    wide = ChatPage(watched.context(viewport=DESKTOP).new_page(), application.address).open()
    expect(wide.page.locator("#new-conversation")).to_be_in_viewport()
    narrow = ChatPage(watched.context(viewport=PHONE, has_touch=True).new_page(), application.address).open()
    expect(narrow.page.locator("#new-conversation")).not_to_be_in_viewport()
    narrow.prompt.tap()
    narrow.ask("one")
    narrow.page.locator("#sidebar .toggle-button").tap()
    expect(narrow.page.locator("#new-conversation")).to_be_in_viewport()


def test_address_of_foreign_or_unknown_conversation_shows_notice_and_starts_new_one(
    chat: ChatPage, application: Application
) -> None:
    bob = annotators.ensure(application.store.engine, "bob")
    bobs = StoredTalk(application.store, bob)
    bobs.ask("Bob's secret", "A reply to Bob")
    expect(chat.page.locator("#conversations")).not_to_contain_text("Bob's secret")
    for conversation_id, sentence in (
        (bobs.conversation_id, "This conversation belongs to another person."),
        ("01890000-0000-7000-8000-000000000000", "There is no such conversation."),
        ("nonsense", "There is no such conversation."),
    ):
        chat.open(conversation_id)
        expect(chat.notice).to_have_text(sentence)
        chat.expect_texts()
        expect(chat.page).to_have_url(application.address)
    chat.ask("mine")
    application.assert_log(chat.page, chat.conversation_id, asked("mine"))
    assert bobs.shown() == ["Bob's secret", "A reply to Bob"]


@pytest.mark.talked("one")
def test_address_with_two_conversations_shows_notice_and_starts_new_one(
    chat: ChatPage, application: Application
) -> None:
    first, second = chat.conversation_id, application.store_talk("two")
    for ids in ((first, second), (second, first), (first, first), (first, "")):
        chat.open(query="?" + "&".join(f"conversation={conversation_id}" for conversation_id in ids))
        expect(chat.notice).to_have_text("'conversation' is given more than once in the address; give it once.")
        chat.expect_texts()
        expect(chat.page).to_have_url(application.address)


@pytest.mark.talked("one")
def test_reply_never_paints_over_another_conversation_while_it_streams(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    first = chat.conversation_id
    chat.page.get_by_role("button", name="New conversation").click()
    chat.expect_texts()
    script = model.reply("a long answer", hold_after=(1, 2))
    chat.send("two")
    chat.expect_texts("two", "a lo")
    second = chat.conversation_id
    chat.page.locator(f'[data-conversation="{first}"]').click()
    chat.expect_texts("one", "You said: one")
    chat.wait_until_idle()
    script.release()
    script.release()
    log = [line.replace("You said: two", "a long answer") for line in asked("two")]
    application.assert_log(chat.page, second, log)
    chat.expect_texts("one", "You said: one")
    chat.ask("more")
    chat.expect_texts("one", "You said: one", "more", "You said: more")
    chat.page.locator(f'[data-conversation="{second}"]').click()
    chat.expect_texts("two", "a long answer")
    chat.wait_until_idle()


def test_conversation_can_be_opened_again_while_its_reply_streams(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    script = model.reply("a long answer", hold_after=1)
    chat.send("two")
    chat.expect_texts("two", "a lo")
    streaming = chat.conversation_id
    chat.page.get_by_role("button", name="New conversation").click()
    chat.expect_texts()
    chat.wait_until_idle()
    chat.page.locator(f'[data-conversation="{streaming}"]').click()
    chat.expect_texts("two", "a lo")
    expect(chat.stop_button).to_be_visible()
    script.release()
    chat.expect_texts("two", "a long answer")
    chat.wait_until_idle()

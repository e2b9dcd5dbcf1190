"""Two tabs on one conversation: what one does never happens behind the back of the other."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, expect

from browser.application import Application
from browser.chat_page import ChatPage
from browser.telling import asked

SENTENCE = "This conversation was changed in another tab; here is its newest state."


@pytest.fixture
def stale(chat: ChatPage, context: BrowserContext, application: Application) -> ChatPage:
    """A tab that shows "one" and its reply, while "two" was asked in another one."""
    chat.stays_stale()
    chat.ask("one")
    other = ChatPage(context.new_page(), application.address).open(chat.conversation_id)
    other.shows("one", "You said: one")
    other.ask("two")
    chat.shows("one", "You said: one")
    return chat


@pytest.mark.parametrize("action", ["send", "retry", "undo", "edit"])
def test_a_stale_tab_is_told_and_shown_the_newer_state(stale: ChatPage, application: Application, action: str) -> None:
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
    stale.shows("one", "You said: one", "two", "You said: two")
    expect(stale.prompt).to_have_value("my text")
    if action == "edit":
        expect(stale.put_back).to_have_text("Put back: “uno”")
    else:
        expect(stale.put_back).not_to_be_visible()
    application.assert_log(stale.page, stale.conversation_id, asked("one", "two"))
    stale.prompt.press("Enter")
    stale.shows("one", "You said: one", "two", "You said: two", "my text", "You said: my text")
    stale.idle()
    application.assert_log(stale.page, stale.conversation_id, asked("one", "two", "my text"))


def test_a_vote_in_a_stale_tab_counts_and_lands_on_its_reply(stale: ChatPage, application: Application) -> None:
    stale.vote(0, "like")
    stale.thumbs("like")
    application.assert_log(
        stale.page, stale.conversation_id, [*asked("one", "two"), "message_rated 2: nothing -> like"]
    )

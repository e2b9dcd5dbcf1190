"""Copy buttons: they copy the text on every page, or offer it; "Copied" is shown only if it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from playwright.sync_api import BrowserContext, Locator, expect

from browser.application import LAN_NAME, Application, endpoint
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from openai_server import ScriptedServer

CODE = "def answer():\n    return 42\n"
REPLY = f"Look:\n\n```python\n{CODE}```\n"
PRESS = "The browser does not let this page copy. Press Ctrl+C (on a Mac ⌘C) to copy the selected text."
REFUSE = "document.execCommand = () => false"
PRETEND = "document.execCommand = () => true"
DENY = "navigator.clipboard && (Clipboard.prototype.writeText = async () => { throw new DOMException('no') })"


@pytest.fixture(scope="module")
def lan(new_sqlite: Callable[[], str], model: ScriptedServer) -> Iterator[Application]:
    """Return an application for the module that is opened over plain http, by a name in the local network."""
    with Application(new_sqlite(), at_home=True, host=LAN_NAME, models=[endpoint(model)]).running() as application:
        yield application


@pytest.fixture
def replied(watched: Watched, context: BrowserContext, lan: Application, model: ScriptedServer) -> ChatPage:
    """Return a tab over plain http with a reply that contains code."""
    watched.harmless.append("The Cross-Origin-Opener-Policy header has been ignored")  # by Chromium, over plain http
    chat = ChatPage(context.new_page(), lan.address).open()
    assert not chat.page.evaluate("isSecureContext")
    model.reply(REPLY)
    chat.ask("Show me")
    return chat


def copy_code(chat: ChatPage) -> Locator:
    """Click the copy button of the code; return it."""
    button = chat.page.locator("#chatbot .cf-copy")
    button.click()
    return button


def copy_reply(chat: ChatPage) -> None:
    buttons = chat.page.locator("#chatbot .message-buttons").last
    buttons.get_by_role("button", name="Copy message").click()


def pasted(chat: ChatPage) -> str:
    """Paste the clipboard into the empty prompt box; return what is there."""
    chat.prompt.fill("")
    chat.prompt.press("Control+V")
    expect(chat.prompt).not_to_have_value("")
    return chat.prompt.input_value()


def test_copy_button_of_code_copies_on_page_over_plain_http(replied: ChatPage) -> None:
    button = copy_code(replied)
    expect(button).to_have_class("cf-copy cf-copied")
    expect(button).to_be_focused()
    assert pasted(replied) == CODE


def test_copy_buttons_of_gradio_copy_on_page_over_plain_http(replied: ChatPage) -> None:
    copy_reply(replied)
    expect(replied.page.get_by_role("button", name="Copied message")).to_be_visible()
    assert pasted(replied) == REPLY
    replied.page.get_by_role("button", name="Copy conversation").click()
    assert REPLY.strip() in pasted(replied)


@given(text=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), min_size=1, max_size=200))
@settings(
    max_examples=40, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_text_of_any_kind_is_copied_as_it_is(replied: ChatPage, text: str) -> None:
    page = replied.page
    # The browser asks for a click before it copies.
    page.evaluate("text => addEventListener('click', () => navigator.clipboard.writeText(text), { once: true })", text)
    page.locator("#chat-title").click()
    page.evaluate(
        "() => { window.heard = null; addEventListener('paste', (event) => {"
        "window.heard = event.clipboardData.getData('text/plain'); event.preventDefault(); }, { once: true }) }"
    )
    replied.prompt.press("Control+V")
    assert page.evaluate("window.heard") == text


@pytest.mark.parametrize("block", [REFUSE, PRETEND])
def test_copy_offers_selected_text_when_browser_copies_nothing(replied: ChatPage, block: str) -> None:
    replied.page.evaluate(block)
    button = copy_code(replied)
    _is_offered(replied, CODE)
    expect(button).to_have_class("cf-copy")
    copy_reply(replied)
    _is_offered(replied, REPLY)
    expect(replied.page.get_by_role("button", name="Copied message")).to_have_count(0)


def _is_offered(chat: ChatPage, text: str) -> None:
    dialog = chat.page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_have_text(PRESS)
    box = dialog.get_by_label("Text to copy")
    expect(box).to_be_focused()
    expect(box).to_have_value(text)
    chat.page.keyboard.press("Control+C")
    chat.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert pasted(chat) == text


def test_copy_works_when_browser_denies_clipboard(
    watched: Watched, application: Application, model: ScriptedServer
) -> None:
    context = watched.context(own=True)
    context.add_init_script(DENY)
    chat = ChatPage(context.new_page(), application.address).open()
    model.reply(REPLY)
    chat.ask("Show me")
    expect(copy_code(chat)).to_have_class("cf-copy cf-copied")
    assert pasted(chat) == CODE

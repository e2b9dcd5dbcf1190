"""Texts that are too large to be sent: the page says how long they may be, and they stay in their boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from playwright.sync_api import BrowserContext, Route, expect

from browser.application import Application, endpoint
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from browser.page_probe import asked
from openai_server import ScriptedServer

LONGEST = 32_000
BYTES = 20_000
LINE = f"{'x' * 99}\n"
LARGE = {
    "a letter too many": "x" * (LONGEST + 1),
    "1 MB": LINE * 10_000,
    "6 MB": LINE * 60_000,
    "6 MB of four-byte letters": f"{'😀' * 49}\n" * 30_000,
}
PUT = """([selector, text]) => {
    const box = document.querySelector(selector);
    const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set;
    set.call(box, text);
    box.dispatchEvent(new Event('input', { bubbles: true }));
    box.focus();
}"""
DECIDED = "document.querySelector('#notice [role=alert]') || !document.querySelector('#prompt textarea').value"
PROMPT, COMMENT, EDIT = "#prompt textarea", "#feedback-comment textarea", "#chatbot textarea.edit-textarea"
REFUSED = "The server does not take this, because it is too large. Shorten it and send again."


def put(chat: ChatPage, selector: str, text: str) -> None:
    """Put a text into a box, as a paste does; `fill` takes seconds for megabytes."""
    chat.page.evaluate(PUT, [selector, text])


def holds(chat: ChatPage, selector: str, text: str) -> bool:
    same = "([selector, text]) => document.querySelector(selector).value === text"
    return bool(chat.page.evaluate(same, [selector, text]))


def sentence(text: str) -> str:
    return f"This message has {len(text):,} characters; at most {LONGEST:,} are allowed. Shorten it and send again."


@pytest.fixture
def calls(chat: ChatPage) -> list[str]:
    """Return the bodies of all calls of the page to the server from now on."""
    chat.wait_until_settled()
    bodies: list[str] = []
    chat.page.on("request", lambda one: bodies.append(one.post_data or "") if "queue/join" in one.url else None)
    return bodies


@pytest.fixture(scope="module")
def narrow(new_sqlite: Callable[[], str], model: ScriptedServer) -> Iterator[Application]:
    """Return an application for the module whose requests are smaller than its texts may be."""
    with Application(new_sqlite(), models=[endpoint(model)], max_request_bytes=BYTES).running() as application:
        yield application


@pytest.mark.parametrize(
    ("text", "way"),
    [(LARGE["a letter too many"], "Enter"), (LARGE["6 MB of four-byte letters"], "Enter"), (LARGE["1 MB"], "button")],
    ids=["a letter too many", "6 MB of four-byte letters", "button"],
)
def test_prompt_that_is_too_large_is_explained_and_kept(chat: ChatPage, calls: list[str], text: str, way: str) -> None:
    put(chat, PROMPT, text)
    expect(chat.notice).to_have_text(sentence(text))
    if way == "Enter":
        chat.prompt.press("Enter")
    else:
        chat.send_button.click()
    expect(chat.notice).to_have_text(sentence(text))
    chat.wait_until_settled()
    assert holds(chat, PROMPT, text)
    assert calls == []
    put(chat, PROMPT, "y" * LONGEST)
    expect(chat.notice).not_to_be_visible()
    chat.prompt.press("Enter")
    chat.expect_texts("y" * LONGEST, f"You said: {'y' * LONGEST}")


@pytest.mark.talked("one")
def test_edit_that_is_too_large_is_explained_and_stays_open(chat: ChatPage, calls: list[str]) -> None:
    text = LARGE["1 MB"]
    chat.page.locator("#chatbot .message-buttons").first.get_by_role("button", name="Edit").click()
    put(chat, EDIT, text)
    expect(chat.notice).to_have_text(sentence(text))
    chat.page.locator("#chatbot").get_by_role("button", name="Submit").click()
    assert holds(chat, EDIT, text)
    assert calls == []
    chat.page.locator(EDIT).fill("two")
    expect(chat.notice).not_to_be_visible()
    chat.page.locator("#chatbot").get_by_role("button", name="Submit").click()
    chat.expect_texts("two", "You said: two")


@pytest.mark.parametrize("text", [LARGE["a letter too many"], LARGE["1 MB"]], ids=["a letter too many", "1 MB"])
@pytest.mark.talked("one", "two")
def test_comment_that_is_too_large_is_explained_and_comes_back_with_its_reply(
    chat: ChatPage, application: Application, text: str
) -> None:
    chat.select(0)
    expect(chat.comment).to_be_visible()
    chat.wait_until_settled()
    put(chat, COMMENT, text)
    expect(chat.saved.get_by_role("alert")).to_have_text(
        f"Not saved. A comment can have at most {LONGEST:,} characters."
    )
    chat.page.locator("#feedback-close").click()
    chat.wait_until_settled()
    assert holds(chat, COMMENT, text), "the panel stays open"
    chat.select(1)
    expect(chat.quote).to_contain_text("You said: two")
    expect(chat.comment).to_have_value("")
    chat.select(0)
    expect(chat.quote).to_contain_text("You said: one")
    chat.page.wait_for_function("selector => document.querySelector(selector).value.length > 0", arg=COMMENT)
    assert holds(chat, COMMENT, text)
    chat.comment.fill("short")
    expect(chat.saved).to_have_text("✓ Saved")
    log = [*asked("one", "two"), "message_rated 2: nothing -> “short”"]
    application.assert_log(chat.page, chat.conversation_id, log)


@pytest.mark.talked("one")
def test_undo_works_while_box_holds_text_that_is_too_large(chat: ChatPage) -> None:
    put(chat, PROMPT, LARGE["1 MB"])
    chat.press("Undo")
    expect(chat.put_back).to_have_text("Put back: “one”")
    assert holds(chat, PROMPT, LARGE["1 MB"])
    chat.put_back.click()
    expect(chat.notice).to_have_text(REFUSED)
    assert holds(chat, PROMPT, LARGE["1 MB"])


def test_text_that_browser_cannot_keep_is_said_and_sent(
    watched: Watched, serve: Callable[..., Application], model: ScriptedServer
) -> None:
    application = serve(models=[endpoint(model)], max_message_chars=9_000_000, max_request_bytes=20_000_000)
    chat = ChatPage(watched.context().new_page(), application.address).open()
    text = LARGE["6 MB"]
    put(chat, PROMPT, text)
    expect(chat.notice).to_have_text(
        "This text is too long to be kept in the browser: it is lost when the page is reloaded or left."
    )
    assert holds(chat, PROMPT, text)
    put(chat, PROMPT, "short")
    expect(chat.notice).not_to_be_visible()
    chat.reload()
    expect(chat.prompt).to_have_value("short")


@pytest.fixture
def narrow_chat(context: BrowserContext, narrow: Application) -> ChatPage:
    return ChatPage(context.new_page(), narrow.address).open()


@given(letter=st.sampled_from('x\x01é"\\中😀'), count=st.integers(500, 3000).map(lambda tens: 10 * tens))
@example(letter="x", count=BYTES - 1000 - 2)
@example(letter="x", count=BYTES - 1000 - 1)
@settings(
    max_examples=10, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_prompt_is_stored_or_explained_whatever_its_size_in_bytes(
    narrow_chat: ChatPage, narrow: Application, letter: str, count: int
) -> None:
    text = letter * count
    put(narrow_chat, PROMPT, "")
    expect(narrow_chat.notice).not_to_be_visible()
    put(narrow_chat, PROMPT, text)
    narrow_chat.prompt.press("Enter")
    narrow_chat.page.wait_for_function(DECIDED)
    if narrow_chat.notice.is_visible():
        expect(narrow_chat.notice).to_contain_text(f"bytes; at most {BYTES - 1000:,} are allowed.")
        assert holds(narrow_chat, PROMPT, text)
        return
    narrow_chat.wait_until_idle()
    assert narrow.conversation(narrow_chat.conversation_id).shown()[-2].text == text


def refuse(route: Route) -> None:
    """Answer a call as a proxy does whose limit is below that of the server."""
    route.fulfill(status=413, content_type="text/html", body="<html><h1>413 Request Entity Too Large</h1></html>")


@pytest.fixture
def proxied(watched: Watched, application: Application) -> ChatPage:
    """Return a tab behind a proxy that refuses calls of more than 5000 bytes."""
    watched.harmless.append("Failed to load resource: the server responded with a status of 413")
    context = watched.context(own=True)

    def limit(route: Route) -> None:
        if len(route.request.post_data or "") > 5000:
            refuse(route)
        else:
            route.continue_()

    context.route("**/queue/join*", limit)
    chat = ChatPage(context.new_page(), application.address)
    return chat.open(application.store_talk("one"))


def test_prompt_that_proxy_refuses_is_explained_and_kept(proxied: ChatPage) -> None:
    put(proxied, PROMPT, "x" * 6000)
    proxied.prompt.press("Enter")
    expect(proxied.notice).to_have_text(REFUSED)
    assert holds(proxied, PROMPT, "x" * 6000)
    proxied.ask("two")
    proxied.expect_texts("one", "You said: one", "two", "You said: two")


def test_edit_that_proxy_refuses_is_explained_and_offered(proxied: ChatPage) -> None:
    proxied.edit(0, "x" * 6000)
    dialog = proxied.page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_contain_text("This edit is too large to be sent.")
    expect(dialog.get_by_label("Text to copy")).to_have_value("x" * 6000)
    dialog.get_by_role("button", name="Close").click()
    expect(proxied.notice).to_have_text(REFUSED)
    proxied.expect_texts("one", "You said: one")
    proxied.edit(0, "two")
    proxied.expect_texts("two", "You said: two")


def test_comment_that_proxy_refuses_is_explained_and_kept(proxied: ChatPage) -> None:
    proxied.select(0)
    expect(proxied.comment).to_be_visible()
    put(proxied, COMMENT, "x" * 6000)
    expect(proxied.saved.get_by_role("alert")).to_have_text(f"Not saved. {REFUSED}")
    assert holds(proxied, COMMENT, "x" * 6000)
    proxied.comment.fill("short")
    expect(proxied.saved).to_have_text("✓ Saved")

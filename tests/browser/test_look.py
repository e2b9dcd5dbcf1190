"""The look of the Chat tab on a desktop and on a phone, light and dark, and its use by keyboard.

The screenshots are kept in the folder that the environment variable CHATFEEDBACK_SCREENSHOTS names.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browser.application import Application
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from browser.looks import CONTRAST, LAYOUT, SCHEMES, SIZES, in_each_scheme, keep_picture
from openai_server import ScriptedServer

PROMPT = "Is there a way to say it with code, a table and a list? " + "And a few words more. " * 4
RICH = """Yes: **three** things, with `code`:

1. one
2. two

```python
def a_function_with_a_long_line(first: int, second: int, third: int) -> dict[str, list[tuple[int, int]]]: ...
```

| name | value | and a column with much more in it than the others have |
|------|-------|--------------------------------------------------------|
| a    | 1     | a-very-long-word-without-any-place-to-break-it-anywhere |

Averyveryverylongwordwithoutanyplacetobreakitwhichwouldmakeaphonescrollsidewaysifnobodytookcare.
"""
STACK = ["#tabs > .tab-wrapper", "#chat-head", "#earlier", "#chatbot", "#alternatives", "#status", "#feedback-panel"]
STACK += ["#feedback-open", "#notice", "#put-back", "#prompt"]
"""Elements that stand below each other, where they are shown."""
TEXTS = [
    "#chat-title",
    "#chatbot [data-testid=user] p",
    "#chatbot [data-testid=bot] p",
    "#chatbot [data-testid=bot] td",
]
TEXTS += ["#chatbot .placeholder-content p", "#position", "#previous:not([disabled])", "#next:not([disabled])"]
TEXTS += ["#status span", "#notice .cf-notice", "#put-back", "#feedback-open", "#prompt textarea"]
TEXTS += ["#feedback-quote strong", "#feedback-quote q", "#feedback-panel label span", "#feedback-comment textarea"]
TEXTS += ["#feedback-saved span", "#feedback-close", "#tabs button[role=tab]"]
TEXTS += ["#new-conversation", ".cf-heading", ".cf-title", ".cf-open time"]


@pytest.fixture
def look(watched: Watched, application: Application, size: str) -> ChatPage:
    return ChatPage(watched.context(viewport=SIZES[size]).new_page(), application.address).open()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_page_begins_in_colour_scheme_of_system(watched: Watched, application: Application, scheme: str) -> None:
    page = ChatPage(watched.context(color_scheme=scheme).new_page(), application.address).open().page
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")


def test_chat_tab_passes_layout_and_contrast_checks_in_every_state(
    look: ChatPage, folder: Path, model: ScriptedServer, size: str
) -> None:
    page = look.page

    def check(page: Page, name: str) -> None:
        """Take screenshots, and check that nothing is cut off, on top of something else or hard to read."""
        page.mouse.move(0, 0)
        for scheme in in_each_scheme(page):
            keep_picture(page, folder, size, scheme, name)
            assert page.evaluate(LAYOUT, STACK) == []
            assert page.evaluate(CONTRAST, TEXTS) == []

    check(page, "1-new")

    script = model.reply(RICH, chunk=30, hold_after=3)
    look.send(PROMPT)
    expect(look.replies).to_contain_text("three things")
    check(page, "2-writing")
    script.release()
    look.wait_until_idle()
    expect(look.replies.locator("td").last).to_be_visible()
    check(page, "3-reply")

    look.vote(0, "dislike")
    expect(look.panel).to_be_visible()
    look.reason("Unclear").check()
    look.reason("Too long").check()
    look.comment.fill("Too much of everything.")
    look.comment.blur()
    expect(look.saved).to_have_text("✓ Saved")
    check(page, "4-feedback")

    model.reply("A shorter answer.")
    look.press("Retry")
    expect(look.position).to_have_text("Reply 2 of 2")
    check(page, "5-alternatives")
    look.vote(0, "like")
    expect(look.quote).to_contain_text("You like")
    check(page, "6-alternatives-and-feedback")
    page.locator("#feedback-close").click()

    look.prompt.fill("half a thought\nof two lines")
    look.press("Undo")
    expect(look.put_back).to_be_visible()
    expect(page.locator("#feedback-open")).not_to_be_visible()
    check(page, "7-undone")
    look.put_back.click()
    expect(look.prompt).to_have_value(PROMPT)
    model.fail(401, {"error": "no"})
    look.prompt.press("Enter")
    expect(look.replies).to_contain_text("wants a key")
    look.wait_until_idle()
    look.prompt.fill("   ")
    look.prompt.press("Enter")
    expect(look.notice).to_be_visible()
    check(page, "8-faults")
    look.page.locator("#chatbot .user-row + .message-buttons button").last.click()
    expect(page.locator("#chatbot textarea.edit-textarea")).to_be_in_viewport()
    check(page, "9-editing")

    if size == "phone":
        page.locator("#sidebar .toggle-button").click()
    expect(page.locator("#new-conversation")).to_be_in_viewport(ratio=1)
    for scheme in in_each_scheme(page):
        keep_picture(page, folder, size, scheme, "10-conversations")
        assert page.evaluate(CONTRAST, ["#new-conversation", ".cf-heading", ".cf-title", ".cf-open time"]) == []
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


def tab_to(page: Page, selector: str, key: str) -> None:
    """Press Tab or Shift+Tab until the focus is on an element of this selector."""
    for _ in range(60):
        page.keyboard.press(key)
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{key} does not lead to {selector}")


def test_undo_and_escape_work_in_browser_of_another_language(watched: Watched, application: Application) -> None:
    page = watched.context(locale="de-DE").new_page()
    chat = ChatPage(page, application.address).open(application.store_talk("one"))
    chat.press("Rückgängig", 0)
    expect(chat.prompt).to_have_value("one")
    chat.prompt.press("Enter")
    chat.expect_texts("one", "You said: one")
    chat.wait_until_idle()
    assert len(application.conversation(chat.conversation_id).messages) == 4  # a new prompt, not a repeat
    chat.buttons(0).get_by_role("button", name="Bearbeiten").click()
    box = page.locator("#chatbot textarea.edit-textarea")
    box.press("Escape")
    expect(box).to_have_count(0)


def test_chat_tab_can_be_used_by_keyboard_alone(
    chat: ChatPage, application: Application, model: ScriptedServer
) -> None:
    page, keyboard = chat.page, chat.page.keyboard
    expect(chat.prompt).to_be_focused()
    model.reply("first answer")
    keyboard.type("one")
    keyboard.press("Enter")
    chat.expect_texts("one", "first answer")
    chat.wait_until_idle()
    tab_to(page, "#chatbot button[aria-label=Like]", "Shift+Tab")
    keyboard.press("Enter")
    chat.expect_thumbs("like")
    expect(chat.panel).to_be_visible()
    tab_to(page, "#feedback-reasons input", "Tab")
    keyboard.press("Space")
    tab_to(page, "#feedback-comment textarea", "Tab")
    keyboard.insert_text("typed, not clicked")  # at once: what is typed slowly is stored in steps
    tab_to(page, "#feedback-close", "Shift+Tab")
    keyboard.press("Enter")
    expect(chat.panel).not_to_be_visible()
    model.reply("second answer")
    tab_to(page, "#chatbot button[aria-label=Retry]", "Shift+Tab")
    keyboard.press("Enter")
    chat.expect_texts("one", "second answer")
    chat.wait_until_idle()
    tab_to(page, "#previous", "Tab")
    keyboard.press("Enter")
    chat.expect_texts("one", "first answer")
    tab_to(page, "#keep", "Tab")
    keyboard.press("Enter")
    expect(chat.keep).not_to_be_visible()
    tab_to(page, "#next", "Tab")
    keyboard.press("Enter")
    chat.expect_texts("one", "second answer")
    application.assert_log(
        page,
        chat.conversation_id,
        [
            "conversation_started",
            "message_sent 1 after the start: one",
            "reply_started 2 after 1, parrot told 1",
            "reply_finished 2 complete: first answer",
            "message_rated 2: nothing -> like",
            "message_rated 2: like -> like correct",
            "message_rated 2: like correct -> like correct “typed, not clicked”",
            "reply_retried 2",
            "reply_started 3 after 1 instead of 2, parrot told 1",
            "reply_finished 3 complete: second answer",
            "alternative_chosen 2 instead of 3",
        ],
    )

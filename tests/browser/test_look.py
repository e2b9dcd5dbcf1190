"""How the Chat tab looks: on a desktop and on a phone, light and dark; and that a keyboard is enough.

The screenshots are kept in the folder that the environment variable CHATFEEDBACK_SCREENSHOTS names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browser.application import Application
from browser.chat_page import ChatPage
from browser.watched import DESKTOP, PHONE, Watched
from openai_server import ScriptedServer

FOLDER = os.environ.get("CHATFEEDBACK_SCREENSHOTS")  # read now: the tests run without such variables

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
"""What stands below each other, where it is shown."""
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

LAYOUT = """stack => {
    const seen = element => element && element.checkVisibility() && element.getBoundingClientRect().height > 0;
    const found = stack.map(selector => [selector, document.querySelector(selector)]).filter(([, one]) => seen(one));
    const boxes = found.map(([selector, one]) => [selector, one.getBoundingClientRect()]);
    const wrong = [];
    if (document.scrollingElement.scrollWidth > innerWidth) wrong.push('the page scrolls sideways');
    if (document.scrollingElement.scrollHeight > innerHeight + 1) wrong.push('the page scrolls');
    for (const [selector, box] of boxes)
        if (box.left < -1 || box.right > innerWidth + 1 || box.top < -1 || box.bottom > innerHeight + 1)
            wrong.push(`${selector} is cut off by the window`);
    boxes.forEach(([selector, box], at) => boxes.slice(at + 1).forEach(([other, below]) => {
        if (box.bottom > below.top + 1) wrong.push(`${selector} overlaps ${other}`);
    }));
    const inside = (selector, around) => {
        const frame = document.querySelector(around)?.getBoundingClientRect();
        for (const one of document.querySelectorAll(selector)) {
            const box = one.getBoundingClientRect();
            if (seen(one) && (box.left < frame.left - 1 || box.right > frame.right + 1))
                wrong.push(`“${one.innerText || one.tagName}” sticks out of ${around}`);
        }
    };
    inside('#chatbot .message, #chatbot .message-buttons, #chatbot textarea', '#chatbot');
    inside('#feedback-panel label, #feedback-panel textarea, #feedback-panel button', '#feedback-panel');
    const reasons = document.querySelector('#feedback-reasons label:last-of-type');
    const comment = document.querySelector('#feedback-comment');
    if (seen(reasons) && reasons.getBoundingClientRect().bottom > comment.getBoundingClientRect().top + 1)
        wrong.push('the comment lies on the reasons');
    const range = document.createRange();
    for (const cell of document.querySelectorAll('#chatbot :is(th, td)')) {
        range.selectNodeContents(cell);
        const lines = new Set([...range.getClientRects()].map(box => Math.round(box.bottom)));
        const word = cell.innerText.trim();
        if (/^\\w+$/.test(word) && lines.size > 1) wrong.push(`the word “${word}” is broken`);
    }
    for (const name of ['feedback-about', 'feedback-typed', 'wake', 'accepted', 'address'])
        if (seen(document.getElementById(name))) wrong.push(`#${name} is shown`);
    for (const button of document.querySelectorAll('#chat-tab button'))
        if (seen(button) && button.innerText.trim() && button.scrollWidth > button.clientWidth + 1)
            wrong.push(`the text “${button.innerText}” is cut off`);
    return wrong;
}"""
CONTRAST = """selectors => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = colour => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = ([r, g, b, a], under) => [r, g, b].map((value, at) => value * a + under[at] * (1 - a));
    const behind = element => {
        const layers = [];
        for (let one = element; one; one = one.parentElement) {
            layers.push(rgba(getComputedStyle(one).backgroundColor));
            if (layers.at(-1)[3] === 1) break;
        }
        return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
    };
    const luminance = colour => {
        const linear = value => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = colour.map(value => linear(value / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (element, pseudo) => {
        const back = behind(element), text = over(rgba(getComputedStyle(element, pseudo).color), back);
        const [dark, light] = [luminance(text), luminance(back)].sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    };
    const faint = [];
    for (const selector of selectors)
        for (const element of document.querySelectorAll(selector)) {
            if (!element.checkVisibility()) continue;
            for (const pseudo of element.matches('textarea') && !element.value ? ['::placeholder'] : [null])
                if (ratio(element, pseudo) < 4.5)
                    faint.push(`${selector}${pseudo ?? ''}: ${ratio(element, pseudo).toFixed(2)}`);
        }
    return faint;
}"""


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["desktop", "phone"])
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(size: str, scheme: str, tmp_path: Path) -> Path:
    """For the screenshots of one look."""
    folder = Path(FOLDER) / f"{size}-{scheme}" if FOLDER else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def look(watched: Watched, application: Application, size: str, scheme: str) -> Iterator[ChatPage]:
    context = watched.context(viewport={"desktop": DESKTOP, "phone": PHONE}[size], color_scheme=scheme)
    yield ChatPage(context.new_page(), application.address).open()


def check(page: Page, picture: Path) -> None:
    """Takes a picture, and asserts that nothing is cut off, on top of something else or hard to read."""
    page.mouse.move(0, 0)
    page.screenshot(path=picture, animations="disabled")
    assert page.evaluate(LAYOUT, STACK) == []
    assert page.evaluate(CONTRAST, TEXTS) == []


def test_every_state_of_the_chat_looks_as_intended(
    look: ChatPage, folder: Path, model: ScriptedServer, size: str, scheme: str
) -> None:
    page = look.page
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
    check(page, folder / "1-new.png")

    script = model.reply(RICH, chunk=30, hold_after=3)
    look.send(PROMPT)
    expect(look.replies).to_contain_text("three things")
    check(page, folder / "2-writing.png")
    script.release()
    look.idle()
    expect(look.replies.locator("td").last).to_be_visible()
    check(page, folder / "3-reply.png")

    look.vote(0, "dislike")
    expect(look.panel).to_be_visible()
    look.reason("Unclear").check()
    look.reason("Too long").check()
    look.comment.fill("Too much of everything.")
    look.comment.blur()
    expect(look.saved).to_have_text("✓ Saved")
    check(page, folder / "4-feedback.png")

    model.reply("A shorter answer.")
    look.press("Retry")
    expect(look.position).to_have_text("Reply 2 of 2")
    check(page, folder / "5-alternatives.png")
    look.vote(0, "like")
    expect(look.quote).to_contain_text("You like")
    check(page, folder / "6-alternatives-and-feedback.png")
    page.locator("#feedback-close").click()

    look.prompt.fill("half a thought\nof two lines")
    look.press("Undo")
    expect(look.put_back).to_be_visible()
    expect(page.locator("#feedback-open")).not_to_be_visible()
    check(page, folder / "7-undone.png")
    look.put_back.click()
    expect(look.prompt).to_have_value(PROMPT)
    model.fail(401, {"error": "no"})
    look.prompt.press("Enter")
    expect(look.replies).to_contain_text("wants a key")
    look.idle()
    look.prompt.fill("   ")
    look.prompt.press("Enter")
    expect(look.notice).to_be_visible()
    check(page, folder / "8-faults.png")
    look.page.locator("#chatbot .message-buttons").last.get_by_role("button", name="Edit").click()
    expect(page.locator("#chatbot textarea.edit-textarea")).to_be_in_viewport()
    check(page, folder / "9-editing.png")

    if size == "phone":
        page.locator("#sidebar .toggle-button").click()
    expect(page.locator("#new-conversation")).to_be_in_viewport(ratio=1)
    page.wait_for_function("() => document.getAnimations().every(one => one.playState !== 'running')")
    page.screenshot(path=folder / "10-conversations.png", animations="disabled")
    assert page.evaluate(CONTRAST, ["#new-conversation", ".cf-heading", ".cf-title", ".cf-open time"]) == []
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


def to(page: Page, selector: str, key: str) -> None:
    """Presses Tab or Shift+Tab until the focus is on an element of this selector."""
    for _ in range(60):
        page.keyboard.press(key)
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{key} does not lead to {selector}")


def test_a_keyboard_is_enough(chat: ChatPage, application: Application, model: ScriptedServer) -> None:
    page, keyboard = chat.page, chat.page.keyboard
    expect(chat.prompt).to_be_focused()
    model.reply("first answer")
    keyboard.type("one")
    keyboard.press("Enter")
    chat.shows("one", "first answer")
    chat.idle()
    to(page, "#chatbot button[aria-label=Like]", "Shift+Tab")
    keyboard.press("Enter")
    chat.thumbs("like")
    expect(chat.panel).to_be_visible()
    to(page, "#feedback-reasons input", "Tab")
    keyboard.press("Space")
    to(page, "#feedback-comment textarea", "Tab")
    keyboard.type("typed, not clicked")
    to(page, "#feedback-close", "Shift+Tab")
    keyboard.press("Enter")
    expect(chat.panel).not_to_be_visible()
    model.reply("second answer")
    to(page, "#chatbot button[aria-label=Retry]", "Shift+Tab")
    keyboard.press("Enter")
    chat.shows("one", "second answer")
    chat.idle()
    to(page, "#previous", "Tab")
    keyboard.press("Enter")
    chat.shows("one", "first answer")
    to(page, "#next", "Tab")
    keyboard.press("Enter")
    chat.shows("one", "second answer")
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
            "alternative_chosen 3 instead of 2",
        ],
    )

"""The look of the pages around the chat and of the account bar: small and large, light and dark.

The screenshots are kept in the folder that the environment variable CHATFEEDBACK_SCREENSHOTS names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser.application import Application, endpoint
from browser.browser_context import Watched
from browser.looks import CONTRAST, LAYOUT, SIZES, check_page, in_each_scheme, keep_picture
from browser.test_analytics import Analytics
from browser.test_look import STACK, TEXTS
from browser.users import CONSENT, PASSWORD, Visitor
from openai_server import ScriptedServer

LONG_NAME = "A person with quite a long name and no place to break it: " + "x" * 40
CONSENT_TEXT = "\n\n".join(["We keep what you write and what you say of the replies, for research. " * 4] * 8)
BAR = ["#account b", "#account small", "#account a", "#account button"]
AROUND = """() => {
    const bar = document.querySelector('#account nav').getBoundingClientRect();
    const wrong = [];
    for (const other of document.querySelectorAll('#tabs button[role=tab], #sidebar .toggle-button, #chat-head')) {
        const box = other.getBoundingClientRect();
        if (box.left < bar.right && bar.left < box.right && box.top < bar.bottom && bar.top < box.bottom)
            wrong.push(`the bar lies on ${other.innerText || other.className}`);
    }
    const all = [...document.querySelectorAll('#account b, #account small, #account a, #account button')];
    const parts = all.filter(part => part.checkVisibility());
    const boxes = parts.map(part => part.getBoundingClientRect());
    boxes.slice(1).forEach((box, at) => {
        if (box.left < boxes[at].right) wrong.push(`${parts[at + 1].innerText} lies on ${parts[at].innerText}`);
        if (Math.abs(box.top + box.bottom - boxes[0].top - boxes[0].bottom) > 8) wrong.push('the bar has two rows');
    });
    if (Math.max(...boxes.map(box => box.right)) > innerWidth) wrong.push('the bar is cut off');
    for (const part of parts)
        if (part.matches('a, button') && part.getBoundingClientRect().height < 24) wrong.push('a target is too small');
    return wrong;
}"""


@pytest.fixture(scope="module")
def careful(new_sqlite: Callable[[], str], model: ScriptedServer) -> Iterator[Application]:
    """Return an application that asks for consent."""
    consent = {"version": "2026-11", "text": CONSENT_TEXT}
    settings = {"auth": "password", "models": [endpoint(model)], "consent": consent}
    with Application(new_sqlite(), **settings).running() as application:
        yield application


def test_pages_around_chat_pass_layout_and_contrast_checks(
    visits: Callable[..., Visitor],
    careful: Application,
    folder: Path,
) -> None:
    ada = visits("annotator", careful)
    page = ada.goes_to().page
    check_page(page, folder, "sign-in-1")
    ada.signs_in(password="not my password")
    expect(ada.error).to_be_visible()
    check_page(page, folder, "sign-in-2-refused")
    ada.signs_in()
    expect(page).to_have_url(CONSENT)
    check_page(page, folder, "sign-in-3-consent")
    page.get_by_role("button", name="I agree").focus()
    expect(page.get_by_role("button", name="I agree")).to_be_in_viewport(ratio=1)
    page.keyboard.press("Enter")
    ada.chats()
    page.goto(f"{careful.address}password")
    for label, typed in (("The password you have now", "wrong"), ("A new password", PASSWORD), ("The new", PASSWORD)):
        page.get_by_label(label).fill(typed)
    page.keyboard.press("Enter")
    expect(ada.error).to_be_visible()
    check_page(page, folder, "sign-in-4-password")
    page.goto(f"{careful.address}nothing")
    expect(ada.error).to_have_text("There is nothing here.")
    check_page(page, folder, "sign-in-5-nothing")


@pytest.mark.parametrize("role", ["annotator", "admin"])
def test_account_bar_has_its_place_beside_tabs(
    visits: Callable[..., Visitor],
    guarded: Application,
    folder: Path,
    size: str,
    role: str,
) -> None:
    ada = visits(role, guarded, name=f"{LONG_NAME} {role} {size}", viewport=SIZES[size])
    chat = ada.goes_to().signs_in().chats()
    chat.ask("one")
    for scheme in in_each_scheme(chat.page):
        keep_picture(chat.page, folder, size, scheme, f"bar-{role}-chat")
        assert chat.page.evaluate(AROUND) == []
        assert chat.page.evaluate(LAYOUT, ["#account", *STACK] if size == "phone" else STACK) == []
        assert chat.page.evaluate(CONTRAST, [*BAR, *TEXTS]) == []
    Analytics(chat.page).open()
    for scheme in in_each_scheme(chat.page):
        keep_picture(chat.page, folder, size, scheme, f"bar-{role}-analytics")
        assert chat.page.evaluate(AROUND) == []
        assert chat.page.evaluate(CONTRAST, BAR) == []


def test_account_bar_has_one_link_and_takes_no_room_without_sign_in(
    watched: Watched,
    serve: Callable[..., Application],
    folder: Path,
    size: str,
    model: ScriptedServer,
) -> None:
    application = serve(models=[endpoint(model)])
    page = watched.context(viewport=SIZES[size]).new_page()
    page.goto(application.address)
    bar = page.get_by_role("navigation", name="Account")
    expect(bar.get_by_role("link")).to_have_text(["Administration"])
    expect(bar.get_by_role("button")).to_have_count(0)
    expect(page.locator("#chatbot")).to_be_visible()
    for scheme in in_each_scheme(page):
        keep_picture(page, folder, size, scheme, "bar-none")
        assert page.evaluate(AROUND) == []
        assert page.evaluate(LAYOUT, STACK) == []
    assert page.evaluate("document.querySelector('#tabs').getBoundingClientRect().top") == 8

"""The page for each role: tabs, figures, downloads and the account bar."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest
from playwright.sync_api import expect

from browser.application import Application
from browser.test_analytics import Analytics
from browser.users import Visitor, run, tabs
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.store.accounts import pseudonyms
from conversation_builder import StoredTalk

FLASHES = """
window.flashes = [];
const started = performance.now();
const look = () => {
    for (const id of ['chatbot', 'chat-tab-button'])
        if (document.getElementById(id)?.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
            flashes.push(`${id} after ${Math.round(performance.now() - started)} ms`);
    requestAnimationFrame(look);
};
look();
"""
"""Script that notes each frame in which a part of the chat is visible."""
Visits = Callable[..., Visitor]


@pytest.fixture(scope="module")
def bobs(guarded: Application) -> StoredTalk:
    """Return a rated conversation of another annotator."""
    run(guarded, "INSERT INTO annotators (annotator_id, name, created_at) VALUES ('bob', 'bob', 1)")
    talk = StoredTalk(guarded.store, "bob")
    talk.rate(talk.ask("A question by bob", "An answer to bob"), "bob", RatingChange(value="dislike"))
    return talk


def test_annotator_has_chat_and_own_figures_only(visits: Visits, bobs: StoredTalk) -> None:
    ada = visits("annotator")
    talk = StoredTalk(ada.application.store, ada.user.annotator_id)
    talk.rate(talk.ask("A question by ada", "An answer to ada"), talk.actor, RatingChange(value="like"))
    chat = ada.comes_in()
    expect(chat.listed).to_have_text(["A question by ada"])
    assert tabs(chat.page) == ["Chat", "Analytics"]
    expect(ada.account).to_contain_text("Annotator")
    assert ada.account.get_by_role("link").all_inner_texts() == ["Password"]
    analytics = Analytics(chat.page).open()
    analytics.rows(1)
    assert (analytics.card("Conversations"), analytics.card("Like rate")) == ("1", "100.0%")
    expect(chat.page.locator("#analytics-annotator")).not_to_be_visible()
    expect(chat.page.get_by_role("link", name="Download CSV")).to_have_count(0)
    address = f"{ada.application.address}export/feedback.csv"
    assert httpx2.get(address, cookies=ada.cookies()).status_code == 403
    chat.page.goto(f"{ada.application.address}?conversation={bobs.conversation_id}")
    expect(chat.wait_until_rendered().notice).to_have_text("This conversation belongs to another person.")
    expect(chat.messages).to_have_count(0)


def test_researcher_sees_figures_of_all_users_and_never_chat(visits: Visits, bobs: StoredTalk) -> None:
    rosa = visits("researcher")
    rosa.page.add_init_script(FLASHES)
    rosa.goes_to(bobs.conversation_id).signs_in()
    analytics = Analytics(rosa.page)
    expect(rosa.page.locator("#analytics-cards .cf-card").first).to_be_visible()
    assert tabs(rosa.page) == ["Analytics"]
    expect(rosa.page.get_by_role("tab", name="Analytics")).to_have_attribute("aria-selected", "true")
    assert rosa.page.evaluate("flashes") == []
    expect(rosa.account).to_contain_text("Researcher")
    assert rosa.account.get_by_role("link").all_inner_texts() == ["Password"]
    analytics.choose("annotator", pseudonyms.pseudonyms(rosa.application.engine)("bob"))
    analytics.rows(1)
    assert [row["prompt"] for row in analytics.downloaded()] == ["A question by bob"]
    rosa.page.locator("#analytics-feedback button[data-row]").press("Enter")
    expect(rosa.page.locator("#analytics-conversation")).to_contain_text("An answer to bob")


def test_flash_detector_notices_chat_of_annotator(visits: Visits) -> None:
    ada = visits("annotator")
    ada.page.add_init_script(FLASHES)
    ada.comes_in()
    ada.page.wait_for_function("flashes.length > 0")


def test_admin_has_chat_figures_names_and_administration(visits: Visits, bobs: StoredTalk) -> None:
    adam = visits("admin", name="Adam <b>with</b> quite a long name")
    chat = adam.comes_in()
    chat.ask("May I?")
    assert tabs(chat.page) == ["Chat", "Analytics"]
    expect(adam.account).to_contain_text("Adam <b>with</b> quite a long name Admin")
    links = {link.inner_text(): link.get_attribute("href") for link in adam.account.get_by_role("link").all()}
    assert links == {"Administration": "/admin", "Password": "/password"}
    analytics = Analytics(chat.page).open()
    analytics.choose("annotator", "bob")
    analytics.rows(1)
    assert len(analytics.downloaded()) == 1


def test_page_is_rendered_for_new_role_when_role_changes(visits: Visits) -> None:
    ada = visits("annotator")
    chat = ada.comes_in()
    run(ada.application, f"UPDATE users SET role = 'researcher' WHERE annotator_id = '{ada.user.annotator_id}'")
    chat.prompt.fill("May I still?")
    chat.prompt.press("Enter")
    expect(ada.account).to_contain_text("Researcher")
    expect(chat.page.locator("#analytics-cards .cf-card").first).to_be_visible()
    assert tabs(chat.page) == ["Analytics"]

"""Pages of an admin in the browser: users are added, changed and erased, and the audit shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browser.looks import check_page
from browser.users import Visitor
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.store.accounts import users
from conversation_builder import StoredTalk

WORDS = "words of somebody who wants to be forgotten"
Visits = Callable[..., Visitor]


@pytest.fixture
def adam(visits: Visits) -> Visitor:
    adam = visits("admin")
    adam.comes_in()
    adam.account.get_by_role("link", name="Administration").click()
    expect(adam.page.get_by_role("heading", level=1)).to_have_text("Users")
    return adam


def test_admin_pages_add_user_change_role_and_lock_user_out(adam: Visitor, folder: Path, visits: Visits) -> None:
    page, name = adam.page, "Grace"
    check_page(page, folder, "administration-1-users")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Role").select_option("researcher")
    page.get_by_label("Role").press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text(f"{name} may sign in. The password, shown this once:")
    password = page.get_by_role("status").locator("code").inner_text()
    check_page(page, folder, "administration-2-added")

    grace = visits("annotator")
    grace.goes_to().signs_in(name, password)
    expect(grace.account).to_contain_text("Researcher")
    page.get_by_role("link", name=name).click()
    expect(page.get_by_role("region", name="Sessions").get_by_role("row")).to_have_count(2)
    check_page(page, folder, "administration-3-user")
    page.get_by_label("Role").select_option("annotator")
    page.get_by_role("button", name="Change the role").click()
    expect(page.get_by_text("Annotator, active, since")).to_be_visible()
    page.get_by_role("button", name="Lock out").click()
    expect(page.get_by_text("Annotator, disabled, since")).to_be_visible()
    grace.page.reload()
    expect(grace.page.get_by_label("Password")).to_be_visible()

    page.get_by_role("link", name="Audit").click()
    entries = page.get_by_role("region", name="Audit").get_by_role("row").filter(has_text=name)
    expect(entries.filter(has_text="role")).not_to_have_count(0)
    check_page(page, folder, "administration-4-audit")


def test_erasure_page_erases_annotator_only_when_words_are_typed(adam: Visitor, folder: Path) -> None:
    page, application = adam.page, adam.application
    user = users.add(application.engine, "Hedy", "annotator", actor_id=None)
    talk = StoredTalk(application.store, user.annotator_id)
    talk.rate(talk.ask(WORDS, "A reply"), user.annotator_id, RatingChange(value="like"))
    page.get_by_role("link", name="Erasure").click()
    check_page(page, folder, "administration-5-erasure")
    page.get_by_label("Name or id").fill(user.name)
    page.keyboard.press("Enter")
    expect(page.get_by_role("listitem")).to_contain_text([user.name, "1 conversation, with 5 events"])
    _types(page, "erase")
    expect(page.get_by_role("alert")).to_have_text("Nothing was erased: type “erase for ever” to confirm.")
    check_page(page, folder, "administration-6-erase")
    assert application.conversation(talk.conversation_id).messages
    _types(page, "erase for ever")
    expect(page.get_by_role("status")).to_contain_text("1 conversation with 5 events is gone.")
    check_page(page, folder, "administration-7-erased")
    (receipt,) = application.events(talk.conversation_id)
    assert receipt.body.KIND == "conversation_erased"
    page.get_by_role("link", name="Back to the chat").click()
    expect(page.locator("#chatbot")).to_be_visible()


def _types(page: Page, words: str) -> None:
    page.get_by_label("Type “erase for ever” to confirm").fill(words)
    page.keyboard.press("Enter")

"""The consent text: asked before anything else, in each of its versions, and recorded with every conversation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from browser.application import Application, endpoint
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from browser.users import CONSENT, Visitor
from chatfeedback.config.settings import Settings
from openai_server import ScriptedServer

FIRST = {"version": "2026-11", "text": "We keep what you write.\n\nAnd what you say <b>of it</b>."}
SECOND = {"version": "2027-01", "text": "We keep what you write, for ten years."}
Starts = Callable[..., Application]


@pytest.fixture
def start(serve: Callable[..., Application], model: ScriptedServer) -> Starts:
    def start(**settings: Any) -> Application:
        return serve(models=[endpoint(model)], consent=FIRST, **settings)

    return start


def agrees(page: Page) -> None:
    expect(page).to_have_url(CONSENT)
    page.get_by_role("button", name="I agree").click()


def consent_versions(application: Application, conversation_id: str) -> tuple[object, object]:
    """Return the consent version of the first event, and that of the conversation."""
    body = application.events(conversation_id)[0].body
    return getattr(body, "consent_version", "?"), application.conversation(conversation_id).consent_version


def test_consent_is_required_before_anything_else_and_its_version_is_recorded(
    start: Starts, visits: Callable[..., Visitor]
) -> None:
    ada = visits("annotator", start(auth="password"))
    ada.goes_to().signs_in()
    expect(ada.page).to_have_url(CONSENT)
    paragraphs = ada.page.get_by_role("region", name="Consent text").locator("p")
    expect(paragraphs).to_have_text(["We keep what you write.", "And what you say <b>of it</b>."])
    expect(ada.page.get_by_text("Version 2026-11")).to_be_visible()
    ada.goes_to("00000000-0000-0000-0000-000000000000")
    agrees(ada.page)
    chat = ada.chats()
    expect(chat.notice).to_have_text("There is no such conversation.")  # the way back leads to where one wanted to go
    chat.ask("one")
    assert consent_versions(ada.application, chat.conversation_id) == ("2026-11", "2026-11")
    chat.reload().expect_texts("one", "You said: one")


def test_consent_is_required_again_for_new_version_and_draft_waits(
    watched: Watched, start: Starts, visits: Callable[..., Visitor]
) -> None:
    watched.server_goes_away()
    application = start(auth="password")
    ada = visits("annotator", application)
    ada.goes_to().signs_in()
    agrees(ada.page)
    chat = ada.chats()
    chat.ask("one")
    before = chat.conversation_id
    chat.wait_until_settled()
    chat.prompt.fill("two")
    application.stop()
    application.settings = Settings(**{**application.settings.model_dump(), "consent": SECOND})
    application.start()
    chat.page.keyboard.press("Enter")  # unless the page has noticed by itself
    agrees(ada.page)
    chat.wait_until_rendered().expect_texts("one", "You said: one")
    expect(chat.prompt).to_have_value("two")
    chat.clear()
    chat.prompt.press("Enter")
    chat.expect_texts("two", "You said: two")
    chat.wait_until_idle()
    assert chat.conversation_id != before
    assert consent_versions(application, before) == ("2026-11", "2026-11")
    assert consent_versions(application, chat.conversation_id) == ("2027-01", "2027-01")


def test_consent_refusal_signs_user_out(start: Starts, visits: Callable[..., Visitor]) -> None:
    ada = visits("annotator", start(auth="password"))
    ada.goes_to().signs_in()
    ada.page.get_by_role("button", name="I do not agree").click()
    expect(ada.name).to_be_focused()
    assert "chatfeedback_session" not in ada.cookies()
    ada.goes_to().signs_in()
    expect(ada.page).to_have_url(CONSENT)


def test_consent_is_asked_once_without_sign_in(watched: Watched, start: Starts) -> None:
    application = start()
    page = watched.context().new_page()
    page.goto(application.address)
    expect(page.get_by_role("button")).to_have_text(["I agree"])
    agrees(page)
    chat = ChatPage(page, application.address).wait_until_rendered()
    chat.ask("one")
    assert consent_versions(application, chat.conversation_id) == ("2026-11", "2026-11")
    chat.open().expect_texts()

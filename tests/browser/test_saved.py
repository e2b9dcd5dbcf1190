"""The line of the panel about saving: it says "Saved" only when the change is stored.

With slow commits, offline, after a 500, without a session or a database. Afterwards it is stored and said to be,
without another click.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Route, expect

from browser.application import Application, HeldCommits, endpoint, eventually
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from browser.looks import SIZES, in_each_scheme, keep_picture
from browser.page_probe import asked
from browser.users import LOGIN, Visitor
from chatfeedback.services.feedback import FeedbackService
from chatfeedback.store import opening
from chatfeedback.store.log.writer import open_writer
from log_assertions import faults
from openai_server import ScriptedServer

SAVED = "✓ Saved"
SAVING = "Saving…"
NOT_YET = "Not saved yet: the server cannot be reached. This is kept here, and saved as soon as it can."
JOIN = re.compile(r"/gradio_api/queue/join")
NOTE_LINES = """() => {
    window.lines = [];
    const note = () => window.lines.push(document.querySelector('#feedback-saved [data-about]')?.textContent);
    new MutationObserver(note).observe(document.querySelector('#feedback-saved'), {
        childList: true, subtree: true, characterData: true,
    });
}"""
"""Script that notes the text of the line whenever it changes."""


@pytest.fixture(scope="module")
def commits() -> HeldCommits:
    return HeldCommits()


@pytest.fixture(scope="module")
def guarded(new_sqlite: Callable[[], str], model: ScriptedServer, commits: HeldCommits) -> Iterator[Application]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "open_writer", lambda engine: commits.around(open_writer(engine)))
        with Application(new_sqlite(), auth="password", models=[endpoint(model)]).running() as application:
            yield application


@pytest.fixture
def ada(visits: Callable[..., Visitor], watched: Watched) -> Visitor:
    watched.server_goes_away()
    watched.harmless.append("Failed to load resource: the server responded with a status of 50")
    return visits("annotator")


@pytest.fixture
def chat(ada: Visitor) -> ChatPage:
    """Return a tab with the panel open for an unrated reply; it notes the texts of the line."""
    chat = ada.opens_panel()
    expect(line(chat)).to_have_text("")
    chat.page.evaluate(NOTE_LINES)
    return chat


def line(chat: ChatPage) -> Locator:
    """Return the line about the reply of the panel; Gradio keeps a hidden clock beside it."""
    return chat.saved.locator("[data-about]")


Situation = Callable[[Visitor, HeldCommits], AbstractContextManager[None]]


@contextmanager
def slow_commits(_ada: Visitor, commits: HeldCommits) -> Iterator[None]:
    with commits.held():
        yield


@contextmanager
def offline(ada: Visitor, _commits: HeldCommits) -> Iterator[None]:
    ada.context.set_offline(True)
    try:
        yield
    finally:
        ada.context.set_offline(False)


@contextmanager
def answer_500(ada: Visitor, _commits: HeldCommits) -> Iterator[None]:
    ada.page.route(JOIN, lambda route: route.fulfill(status=500, body="Something went wrong here; try again.\n"))
    try:
        yield
    finally:
        ada.page.unroute(JOIN)


@contextmanager
def ended_session(ada: Visitor, _commits: HeldCommits) -> Iterator[None]:
    ada.ends_sessions("DELETE FROM sessions")
    yield
    ada.signs_in().chats()


@contextmanager
def database_away(ada: Visitor, _commits: HeldCommits) -> Iterator[None]:
    path = Path(ada.application.settings.database_url.partition("///")[2])
    path.rename(path.with_suffix(".away"))
    try:
        yield
    finally:
        path.with_suffix(".away").rename(path)


def choose_a_reason(chat: ChatPage) -> str:
    chat.reason("Unclear").click()
    return "message_rated 2: nothing -> unclear"


def type_a_comment(chat: ChatPage) -> str:
    chat.comment.fill("precious")
    return "message_rated 2: nothing -> “precious”"


@pytest.mark.parametrize(
    ("situation", "act", "meanwhile"),
    [
        (slow_commits, choose_a_reason, SAVING),
        (slow_commits, type_a_comment, SAVING),
        (offline, type_a_comment, NOT_YET),
        (answer_500, choose_a_reason, NOT_YET),
        (ended_session, type_a_comment, None),
        (database_away, choose_a_reason, SAVING),
    ],
)
def test_panel_says_saved_only_after_commit(
    chat: ChatPage,
    ada: Visitor,
    commits: HeldCommits,
    situation: Situation,
    act: Callable[[ChatPage], str],
    meanwhile: str | None,
) -> None:
    conversation_id, application = chat.conversation_id, ada.application
    with situation(ada, commits):
        rated = act(chat)
        if meanwhile is None:
            expect(chat.page).to_have_url(LOGIN)
        else:
            expect(line(chat)).to_have_text(meanwhile)
            assert SAVED not in chat.page.evaluate("window.lines")
        if situation is database_away:
            expect(chat.page.locator("#cf-away")).to_be_visible()
        else:
            application.assert_log(chat.page, conversation_id, asked("one", "two"))
    expect(line(chat)).to_have_text(SAVED)
    application.assert_log(chat.page, conversation_id, [*asked("one", "two"), rated])
    if act is type_a_comment:
        expect(chat.comment).to_have_value("precious")
    else:
        expect(chat.reason("Unclear")).to_be_checked()
    expect(chat.page.locator("#cf-unsaved")).to_have_count(0)


def test_panel_does_not_say_saved_of_first_click_while_second_is_on_its_way(chat: ChatPage, ada: Visitor) -> None:
    held: list[Route] = []
    chat.page.route(JOIN, lambda route: held.append(route))
    chat.reason("Unclear").click()
    chat.reason("Too long").click()
    eventually(lambda: held, bool, chat.page)
    drawing = line(chat).get_attribute("data-said") or ""
    held[0].continue_()
    expect(line(chat)).not_to_have_attribute("data-said", drawing)
    log = [*asked("one", "two"), "message_rated 2: nothing -> unclear"]
    ada.application.assert_log(chat.page, chat.conversation_id, log)
    assert SAVED not in chat.page.evaluate("window.lines")
    expect(line(chat)).to_have_text(SAVING)
    eventually(lambda: len(held), lambda calls: calls == 2, chat.page)
    held[1].continue_()
    expect(line(chat)).to_have_text(SAVED)


def test_panel_of_unrated_reply_says_nothing_of_comment_on_another(
    chat: ChatPage, ada: Visitor, commits: HeldCommits
) -> None:
    with commits.held():
        chat.comment.fill("about the first")
        chat.select(1)
        expect(chat.quote).to_contain_text("You said: two")
    log = [*asked("one", "two"), "message_rated 2: nothing -> “about the first”"]
    ada.application.assert_log(chat.page, chat.conversation_id, log)
    chat.wait_until_settled()
    expect(line(chat)).to_have_text("")


def test_panel_says_not_saved_when_handler_error_loses_comment(
    chat: ChatPage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_given: Any, **_more: Any) -> Any:
        raise RuntimeError

    with monkeypatch.context() as bug:
        bug.setattr(FeedbackService, "rate", broken)
        chat.comment.fill("precious")
        expect(line(chat)).to_have_text("Not saved. Something went wrong here; change it to try again.")
        expect(chat.comment).to_have_value("precious")
    assert SAVED not in chat.page.evaluate("window.lines")
    assert faults(caplog)
    caplog.clear()  # or this test would fail by it
    chat.comment.fill("precious!")
    expect(line(chat)).to_have_text(SAVED)


def test_page_shows_notice_while_thumb_is_not_saved(chat: ChatPage, ada: Visitor, folder: Path) -> None:
    notice = chat.page.locator("#cf-unsaved")
    chat.page.locator("#feedback-close").click()
    expect(chat.panel).not_to_be_visible()
    chat.wait_until_settled()
    ada.context.set_offline(True)
    chat.vote(1, "dislike")
    expect(notice).to_have_text(NOT_YET)
    for size, viewport in SIZES.items():
        chat.page.set_viewport_size(viewport)  # type: ignore[arg-type]
        for scheme in in_each_scheme(chat.page):
            keep_picture(chat.page, folder, size, scheme, "not-saved-yet")
            box = notice.bounding_box()
            assert box and box["x"] >= 0 and box["x"] + box["width"] <= viewport["width"]
    ada.context.set_offline(False)
    expect(notice).to_have_count(0)
    chat.expect_thumbs("", "dislike")
    log = [*asked("one", "two"), "message_rated 4: nothing -> dislike"]
    ada.application.assert_log(chat.page, chat.conversation_id, log)

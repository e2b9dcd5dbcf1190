"""The Analytics tab: figures, filters, conversations beside the table, and downloads."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from browser.analytics_page import Analytics
from browser.application import Application
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from browser.looks import CONTRAST, SIZES, in_each_scheme
from chatfeedback.domain.feedback.decide import RatingChange
from chatfeedback.store.accounts import annotators
from chatfeedback.store.database.engine import open_engine
from conversation_builder import StoredTalk

PEOPLE = {"ada": "like", "bob": "dislike", "cleo": "like"}


@pytest.fixture(scope="module")
def crowd(application: Application) -> dict[str, StoredTalk]:
    """Return the conversations of three annotators, by name; each has rated one reply."""
    engine = open_engine(application.settings.database_url)
    talks = {name: StoredTalk(application.store, annotators.ensure(engine, name)) for name in PEOPLE}
    engine.dispose()
    for name, talk in talks.items():
        reply = talk.ask(f"A question by {name}", f"An answer to {name}")
        talk.rate(reply, talk.actor, RatingChange(value=PEOPLE[name], comment=f"{name} says so"))
    return talks


@pytest.fixture
def analytics(chat: ChatPage, crowd: dict[str, StoredTalk]) -> Analytics:
    return Analytics(chat.page).open()


def test_analytics_tab_shows_figures_when_opened(analytics: Analytics) -> None:
    analytics.rows(3)
    assert (analytics.card("Conversations"), analytics.card("Replies"), analytics.card("Rated")) == ("3", "3", "100.0%")
    assert analytics.card("Like rate") == "66.7%"


def test_filters_apply_to_figures_table_and_download(analytics: Analytics) -> None:
    analytics.rows(3)
    analytics.choose("annotator", "bob")
    analytics.rows(1)
    assert (analytics.card("Conversations"), analytics.card("Like rate")) == ("1", "0.0%")
    (row,) = analytics.downloaded()
    assert (row["prompt"], row["value"], row["comment"]) == ("A question by bob", "dislike", "bob says so")
    analytics.choose("annotator", "Everybody")
    analytics.rows(3)
    analytics.page.locator("#analytics-since input").fill("2090-01-01")
    analytics.rows(0)
    assert analytics.downloaded() == []


def test_downloads_offer_spreadsheet_file_first_and_others_beside_it(analytics: Analytics) -> None:
    group = analytics.page.get_by_role("group", name="Download this feedback")
    names = ["Download for spreadsheets", "Download CSV (unchanged)", "JSON lines"]
    with_names = "For spreadsheets, with names"
    expect(group.get_by_role("link")).to_have_text([*names, with_names])
    expect(group.get_by_role("link").first).to_have_accessible_description(re.compile("^For Excel or LibreOffice take"))
    suffixes = [analytics.download(name).suggested_filename.partition(".")[2] for name in names]
    assert suffixes == ["spreadsheet.csv", "csv", "jsonl"]
    assert analytics.downloaded() == analytics.downloaded("Download CSV (unchanged)") != []
    assert not {row["annotator_id"] for row in analytics.downloaded()} & PEOPLE.keys()
    assert {row["annotator_id"] for row in analytics.downloaded(with_names)} == PEOPLE.keys()


def test_feedback_row_opens_its_conversation_read_only_and_escape_closes_it(analytics: Analytics) -> None:
    analytics.choose("annotator", "cleo")
    analytics.rows(1)
    analytics.page.locator("#analytics-feedback button[data-row]").press("Enter")
    opened = analytics.page.locator("#analytics-conversation")
    expect(opened).to_contain_text("A question by cleo")
    expect(opened).to_contain_text("An answer to cleo")
    assert opened.get_by_role("button", name="Like").count() == opened.get_by_role("button", name="Edit").count() == 0
    analytics.page.keyboard.press("Escape")
    expect(opened).not_to_be_visible()


def test_analytics_tab_shows_new_feedback_when_live(analytics: Analytics, crowd: dict[str, StoredTalk]) -> None:
    analytics.rows(3)
    analytics.page.locator("#analytics-live input").check()
    ada = crowd["ada"]
    ada.rate(ada.ask("Another question by ada", "Another answer"), ada.actor, RatingChange(value="dislike"))
    analytics.rows(4)
    reply = ada.conversation.head_id
    assert reply is not None
    ada.rate(reply, ada.actor, RatingChange(value=""))
    analytics.rows(3)


def test_analytics_tab_shows_feedback_of_chat_with_reason_labels(
    watched: Watched, serve: Callable[..., Application]
) -> None:
    application = serve(reasons=[{"code": "wrong_facts", "label": "Gets facts wrong", "polarity": "dislike"}])
    talk = StoredTalk(application.store, application.annotator_id)
    reply = talk.ask("Hello", "Hi")
    chat = ChatPage(watched.context().new_page(), application.address).open(talk.conversation_id)
    assert chat.conversation_id == talk.conversation_id
    chat.vote(0, "dislike")
    chat.reason("Gets facts wrong").check()
    expect(chat.saved).to_have_text("✓ Saved")
    chat.expect_thumbs("dislike")
    analytics = Analytics(chat.page).open()
    analytics.rows(1)
    expect(chat.page.locator("#analytics-reasons")).to_contain_text("Gets facts wrong")
    assert application.conversation(talk.conversation_id).ratings[reply, application.annotator_id].reasons == (
        "wrong_facts",
    )


LIGHTNESS = """() => {
    const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number); return r + g + b; };
    const card = document.querySelector('#analytics-cards .cf-card');
    const solid = element => {
        const colour = getComputedStyle(element).backgroundColor;
        return /, 0\\)$/.test(colour) ? solid(element.parentElement) : colour;
    };
    return [light(solid(card)), light(getComputedStyle(card).color)];
}"""
DOWNLOADS = [".cf-downloads a.cf-primary", ".cf-downloads a.cf-quiet", ".cf-downloads p"]


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
def test_analytics_tab_fits_screen_and_is_readable(
    watched: Watched,
    serve: Callable[..., Application],
    application: Application,
    crowd: dict[str, StoredTalk],
    size: str,
    filled: bool,
) -> None:
    shown = application if filled else serve()
    page = watched.context(viewport=SIZES[size]).new_page()
    ChatPage(page, shown.address).open()
    Analytics(page).open()
    for scheme in in_each_scheme(page):
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        background, text = page.evaluate(LIGHTNESS)
        assert page.evaluate(CONTRAST, DOWNLOADS) == []
        assert (background < text) == (scheme == "dark")
        assert abs(background - text) > 300

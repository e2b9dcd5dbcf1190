"""Days and times of the Analytics tab: the chart of feedback over time, the day filters, and time zones."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browser.analytics_page import Analytics
from browser.application import Application
from browser.browser_context import Watched
from browser.chat_page import ChatPage
from browser.looks import CONTRAST, SIZES, in_each_scheme, keep_picture
from browser.traffic import traffic
from export.recording import TimedTalk

SPANS = {"phone": (1, 2, 8, 30, 92, 200, 700, 1827), "desktop": (1, 30, 1827)}
"""Days from the first day of the filter to today. A phone has little room for their dates."""

DATES = """() => {
    const wrong = [];
    const card = document.querySelector('#analytics-per-day .cf-chart').getBoundingClientRect();
    const inside = box => box.left >= card.left && box.right <= card.right && box.bottom <= card.bottom;
    const texts = [...document.querySelectorAll('#analytics-per-day :is(.cf-dates span, .cf-lines span, .cf-unit)')];
    const seen = texts.filter(one => one.checkVisibility());
    for (const one of seen) if (!inside(one.getBoundingClientRect())) wrong.push(`“${one.innerText}” is cut off`);
    const dates = seen.filter(one => one.closest('.cf-dates')).map(one => [one.innerText, one.getBoundingClientRect()]);
    const at = dates.map(([, box]) => (box.left + box.right) / 2);
    const gaps = at.slice(1).map((place, index) => place - at[index]);
    if (gaps.length && Math.max(...gaps) - Math.min(...gaps) > 1) wrong.push(`the dates are uneven: ${gaps}`);
    dates.slice(1).forEach(([text, box], index) => {
        if (box.left < dates[index][1].right + 4) wrong.push(`“${text}” touches “${dates[index][0]}”`);
    });
    if (!/\\d{4}/.test(dates[0][0])) wrong.push(`“${dates[0][0]}” has no year`);
    if (document.documentElement.scrollWidth > innerWidth) wrong.push('the page scrolls sideways');
    return wrong;
}"""


@pytest.fixture(scope="module")
def of_five_years(application: Application) -> datetime:
    """Store feedback of each span up to today; return the time of the last feedback."""
    now = datetime.now(UTC)
    for days in SPANS["phone"]:
        talk = TimedTalk(application.store, application.annotator_id, at=now - timedelta(days=days - 1))
        talk.like(talk.ask("A question", "An answer"), application.annotator_id)
        talk.dislike(talk.ask("A question", "An answer"), application.annotator_id)
    return now


def opened(page: Page, application: Application) -> Analytics:
    ChatPage(page, application.address).open()
    return Analytics(page).open()


def choose_days(page: Page, since: str = "", until: str = "") -> None:
    page.locator("#analytics-since input").fill(since)
    traffic(page).wait_for_end()
    page.locator("#analytics-until input").fill(until)
    traffic(page).wait_for_end()


def test_chart_dates_are_even_and_visible_with_their_year(
    watched: Watched, application: Application, of_five_years: datetime, size: str, folder: Path
) -> None:
    page = watched.context(viewport=SIZES[size]).new_page()
    opened(page, application)
    for days in SPANS[size]:
        since = f"{of_five_years - timedelta(days=days - 1):%Y-%m-%d}"
        choose_days(page, since)
        picture = page.locator("#analytics-per-day [role=img]")
        expect(picture).to_have_attribute("aria-label", re.compile(f"from {since} to .*, not over yet.$"))
        expect(page.locator("#analytics-per-day figcaption p")).to_contain_text(", not over yet.")
        assert page.locator("#analytics-per-day .cf-part").count() in (1, 2)  # today, and what the filter cuts
        for scheme in in_each_scheme(page):
            assert page.evaluate(DATES) == [], days
            assert page.evaluate(CONTRAST, ["#analytics-per-day .cf-dates span", "#analytics-per-day p"]) == []
            page.locator("#analytics-per-day").scroll_into_view_if_needed()
            keep_picture(page, folder, size, scheme, f"analytics-{days}-days")


def test_figures_and_links_leave_when_first_day_is_after_last(
    watched: Watched, application: Application, of_five_years: datetime, size: str, folder: Path
) -> None:
    page = watched.context(viewport=SIZES[size]).new_page()
    analytics = opened(page, application)
    sentence = page.locator("#analytics-drawn-at").get_by_role("alert")
    links = page.get_by_role("group", name="Download this feedback")
    choose_days(page, "2026-06-25", "2026-06-24")
    expect(sentence).to_have_text("The first day must not be after the last one. No figures are shown.")
    for selector in (".cf-card", ".cf-chart", ".cf-feedback"):
        expect(page.locator(f"#analytics-tab {selector}")).to_have_count(0)
    expect(links).to_have_count(0)
    for scheme in in_each_scheme(page):
        assert page.evaluate(CONTRAST, ["#analytics-drawn-at p"]) == []
        keep_picture(page, folder, size, scheme, "analytics-refused")
    # The figures do not come back by themselves: they would be those of other days.
    page.locator("#analytics-live input").check()
    talk = TimedTalk(application.store, application.annotator_id, at=of_five_years)
    talk.like(talk.ask("A question", "An answer"), application.annotator_id)
    traffic(page).wait_for_end()
    expect(sentence).to_be_visible()
    choose_days(page, "", "")
    expect(sentence).to_have_count(0)
    expect(links).to_be_visible()
    assert analytics.card("Conversations") != ""


def test_incomplete_day_is_refused(watched: Watched, application: Application, of_five_years: datetime) -> None:
    page = watched.context(locale="en-US").new_page()
    opened(page, application)
    choose_days(page, "2026-06-25")
    page.locator("#analytics-since input").focus()
    page.keyboard.press("Backspace")  # deletes the month
    sentence = page.locator("#analytics-drawn-at").get_by_role("alert")
    expect(sentence).to_have_text("A day is incomplete; complete or delete it. No figures are shown.")
    expect(page.locator("#analytics-tab .cf-card")).to_have_count(0)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
def test_every_time_names_its_zone(
    watched: Watched, application: Application, of_five_years: datetime, zone: str
) -> None:
    page = watched.context(locale="en-US", timezone_id=zone).new_page()
    opened(page, application)
    expect(page.locator("#analytics-tab time").first).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))
    times = page.locator("#analytics-feedback time")
    assert times.count() > 1
    for text in times.all_inner_texts():
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", text)
    labels = page.locator("#analytics-filters .cf-day span").all_inner_texts()
    assert labels == ["From (UTC)", "To (UTC)"]
    short = {"Asia/Tokyo": r"GMT\+9", "America/Los_Angeles": "P[SD]T"}[zone]
    listed = page.locator("#conversations time")
    expect(listed.first).to_have_text(re.compile(rf"^\w+ \d+, \d{{4}}, \d+:\d\d [AP]M {short}$"))
    for text in listed.all_inner_texts():
        assert re.search(rf"{short}$", text)

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analytics.markup import Element, parse
from chatfeedback.analytics import formatting
from chatfeedback.analytics.statistics import Proportion
from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.ui.analytics import charts, timeline
from chatfeedback.ui.analytics.feedback_table import feedback_table

NASTY = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1) | st.sampled_from(
    ["<script>alert(1)</script>", '" onmouseover="alert(1)', "a&amp;b", "</svg>", "'"]
)


NOW = datetime(2031, 1, 1, 12, tzinfo=UTC)


def chart(frame: pd.DataFrame, now: datetime = NOW, **filters: datetime) -> Element:
    return parse(timeline.per_day(frame, ResolvedFilters(**filters), now))


def days(*counts: tuple[int, int, int], start: str = "2026-06-01") -> pd.DataFrame:
    frame = pd.DataFrame(counts, columns=["likes", "dislikes", "comments"])
    frame.insert(0, "day", pd.date_range(start, periods=len(counts)))
    return frame


def models(*rows: tuple[str, int, int]) -> pd.DataFrame:
    records = [
        (name, likes, n - likes, n, likes / n, *(Proportion(likes, n).interval() or ())) for name, likes, n in rows
    ]
    return pd.DataFrame(records, columns=["model", "likes", "dislikes", "n", "like_rate", "low", "high"])


def given_reasons(*rows: tuple[str | None, str, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["value", "reason", "count"], dtype=object)


def spoken(page: Element) -> str:
    """Return what a screen reader says of a chart."""
    (picture,) = [element for element in page.all() if element.attributes.get("role") == "img"]
    return picture.attributes["aria-label"] or ""


# Feedback per day


def test_per_day_bars_stand_on_zero_and_agree_with_axis() -> None:
    page = chart(days((3, 1, 2), (0, 0, 0), (0, 5, 0)))
    lines = [line.text for line in page.all(cls="cf-lines")[0].children]
    assert lines == ["0", "1", "2", "3", "4", "5"]
    likes, dislikes = page.all("rect", "cf-like"), page.all("rect", "cf-dislike")
    assert [bar.number("height") for bar in likes] == [60, 0, 0]
    assert [bar.number("height") for bar in dislikes] == [20, 0, 100]
    for lower, upper in zip(likes, dislikes, strict=True):
        assert lower.number("y") + lower.number("height") == 100
        assert upper.number("y") + upper.number("height") == lower.number("y")
    assert [line.number("y1") for line in page.all("line")] == [60]


def test_per_day_has_label_table_titles_and_legend() -> None:
    page = chart(days((3, 1, 2), (1, 1, 0)))
    assert spoken(page) == "Feedback per day from 2026-06-01 to 2026-06-02, UTC: 4 likes, 2 dislikes, 2 comments."
    assert page.rows() == [
        ["Day from (UTC)", "Likes", "Dislikes", "Comments"],
        ["2026-06-01", "3", "1", "2"],
        ["2026-06-02", "1", "1", "0"],
    ]
    assert [title.text for title in page.all("title")] == [
        "Monday, 1 June 2026: 3 likes, 1 dislike, 2 comments",
        "Tuesday, 2 June 2026: 1 like, 1 dislike, 0 comments",
    ]
    assert [item.text for item in page.all("li")] == ["Likes", "Dislikes", "Comments"]


@pytest.mark.parametrize(
    ("number", "period"), [(1, "day"), (92, "day"), (93, "week"), (600, "week"), (700, "month"), (3000, "year")]
)
def test_per_day_adds_many_days_up_to_longer_periods(number: int, period: str) -> None:
    page = chart(days(*[(2, 1, 1)] * number, start="2019-01-01"))
    _header, *rows = page.rows()
    assert len(rows) == len(page.all("rect", "cf-like")) <= timeline.MAX_BARS
    assert [sum(int(row[column].replace(",", "")) for row in rows) for column in (1, 2, 3)] == [
        2 * number,
        number,
        number,
    ]
    assert page.all("h3")[0].text == f"Feedback per {period}"
    assert (f"there are {number:,} days" in page.all("p")[0].text) == (period != "day")


@given(counts=st.lists(st.tuples(*[st.integers(0, 10**7)] * 3), min_size=1, max_size=120))
def test_per_day_bars_stay_inside_chart(counts: list[tuple[int, int, int]]) -> None:
    page = chart(days(*counts))
    if not any(map(any, counts)):
        assert not page.all("svg") and "No feedback" in page.text
        return
    _, _, width, height = map(float, (page.all("svg")[0].attributes["viewbox"] or "").split())
    for bar in page.all("rect"):
        assert bar.number("x") >= 0 and bar.number("x") + bar.number("width") <= width + 1e-6
        assert bar.number("y") >= -0.02 and bar.number("y") + bar.number("height") <= height + 0.02
    ticks = [int(line.text.replace(",", "")) for line in page.all(cls="cf-lines")[0].children]
    assert ticks[0] == 0 and len(ticks) <= 7 and len({after - before for before, after in pairwise(ticks)}) == 1
    places = [label.style("left") for label in page.all(cls="cf-dates")[0].children]
    assert places == sorted(set(places)) and places[0] > 0 and places[-1] < 100


def test_per_day_bar_of_single_day_is_narrow() -> None:
    page = chart(days((1, 0, 0)))
    (bar,) = page.all("rect", "cf-like")
    _, _, width, _ = map(float, (page.all("svg")[0].attributes["viewbox"] or "").split())
    assert bar.number("width") / width < 0.1
    assert bar.number("x") + bar.number("width") / 2 == pytest.approx(width / 2)


def labels(page: Element, screen: str) -> list[tuple[float, str, str]]:
    """Return the place, the date and the year of each label that this screen shows; "" for no year."""
    seen = []
    for label in page.all(cls="cf-dates")[0].children:
        if screen == "phone" and label.attributes.get("class") == "cf-wide":
            continue
        years = [year for year in label.all("b") if screen == "phone" or "cf-narrow" not in str(year.attributes)]
        text = label.text.removesuffix(label.all("b")[0].text) if label.all("b") else label.text
        seen.append((label.style("left"), text, years[0].text if years else ""))
    return seen


@pytest.mark.parametrize("screen", ["desktop", "phone"])
@given(number=st.integers(1, 1900), start=st.dates(date(2019, 1, 1), date(2025, 1, 1)))
@example(number=1, start=date(2024, 2, 29))
@example(number=92, start=date(2024, 12, 1))
@example(number=365, start=date(2024, 12, 20))
@example(number=1827, start=date(2021, 1, 1))
def test_per_day_dates_are_even_and_name_every_year(screen: str, number: int, start: date) -> None:
    page = chart(days(*[(1, 0, 0)] * number, start=str(start)))
    starts = [pd.Timestamp(row[0]) for row in page.rows()[1:]]
    shown = labels(page, screen)
    places = [place for place, _, _ in shown]
    gaps = [after - before for before, after in pairwise(places)]
    assert 1 <= len(shown) <= (7 if screen == "desktop" else 5)
    assert len(shown) > 1 or len(starts) <= 2
    assert not gaps or max(gaps) - min(gaps) < 0.03
    assert not gaps or min(gaps) > (11 if screen == "desktop" else 19)  # per cent of the width: they do not touch
    _, _, width, _ = map(float, (page.all("svg")[0].attributes["viewbox"] or "").split())
    year = ""
    for place, text, shown_year in shown:
        labelled = starts[round(place * width / 100 - 0.5 - (width - len(starts)) / 2)]
        year = shown_year or year
        assert year == str(labelled.year)
        assert text in (f"{labelled:%-d %b}", f"{labelled:%b}", "")


def marked(page: Element) -> list[str]:
    """Return the titles of the bars that are marked as parts of a period."""
    return [group.all("title")[0].text.rpartition(":")[0] for group in page.all("g", "cf-part")]


def test_per_day_marks_day_that_is_not_over() -> None:
    frame = days((5, 1, 0), (5, 1, 0), (1, 0, 0))
    page = chart(frame, datetime(2026, 6, 3, 8, tzinfo=UTC))
    title = "Wednesday, 3 June 2026, not over yet"
    assert marked(page) == [title]
    assert page.all("p")[0].text.endswith(f"in UTC. Paler: {title}.")
    assert spoken(page).endswith(f"{title}.")
    assert [row[0] for row in page.rows()[1:]] == ["2026-06-01", "2026-06-02", "2026-06-03 (not over yet)"]
    over = chart(frame, datetime(2026, 6, 4, tzinfo=UTC))
    assert marked(over) == [] and "Paler" not in over.text


def test_per_day_marks_periods_that_filter_cuts() -> None:
    since, until = datetime(2026, 1, 7, tzinfo=UTC), datetime(2026, 5, 29, tzinfo=UTC)
    frame = days(*[(1, 0, 0)] * (until - since).days, start="2026-01-07")
    assert marked(chart(frame, since=since, until=until)) == [
        "Week from Monday, 5 January 2026, cut by the filter",
        "Week from Monday, 25 May 2026, cut by the filter",
    ]
    # With open filters nothing is left out: there was no feedback before the first day.
    assert marked(chart(frame)) == []


@pytest.mark.parametrize("number", [1, 92, 93, 600, 700, 1827, 3000])
def test_per_day_has_no_bars_after_now(number: int) -> None:
    frame = days(*[(2, 1, 1)] * number, *[(0, 0, 0)] * 40, start="2019-01-01")
    last = date(2019, 1, 1) + timedelta(days=number - 1)
    page = chart(frame, datetime(last.year, last.month, last.day, 12, tzinfo=UTC))
    assert all(row[0][:10] <= str(last) for row in page.rows()[1:])
    assert len(marked(page)) == 1 and marked(page)[0].endswith(", not over yet")
    assert page.all("g")[-1].attributes.get("class") == "cf-part"


def test_per_day_keeps_feedback_of_clock_that_is_ahead() -> None:
    page = chart(days((1, 0, 0), (0, 0, 0), (1, 0, 0), (0, 0, 0)), datetime(2026, 6, 1, 12, tzinfo=UTC))
    assert len(page.rows()) == 4
    assert marked(page) == ["Monday, 1 June 2026, not over yet"]


# Like rate by model


def test_by_model_whiskers_span_interval() -> None:
    page = parse(charts.by_model(models(("a", 8, 10), ("b", 0, 1))))
    for row, share in zip(page.all(cls="cf-row"), (Proportion(8, 10), Proportion(0, 1)), strict=False):
        low, high = share.interval() or (0, 0)
        (whisker,), (dot,) = row.all(cls="cf-whisker"), row.all(cls="cf-dot")
        assert whisker.style("left") == pytest.approx(100 * low, abs=0.01)
        assert whisker.style("left") + whisker.style("width") == pytest.approx(100 * high, abs=0.02)
        assert dot.style("left") == pytest.approx(100 * (share.value or 0), abs=0.01)
    axis = page.all(cls="cf-axis")[0].all("span")
    assert [(tick.text, tick.style("left")) for tick in axis] == [(f"{n}%", n) for n in (0, 25, 50, 75, 100)]
    assert spoken(page) == "a 80.0%, interval 49.0–94.3%, n = 10; b 0.0%, interval 0.0–79.3%, n = 1"
    assert page.rows()[1] == ["a", "8", "2", "80.0%", "49.0%", "94.3%"]


@given(name=NASTY)
def test_by_model_escapes_names_of_models(name: str) -> None:
    page = parse(charts.by_model(models((name, 1, 2))))
    assert page.all(cls="cf-name")[0].text == name
    assert spoken(page).startswith(name)
    assert page.all("script") == [] and not any(k.startswith("on") for e in page.all() for k in e.attributes)


def test_by_model_leaves_surplus_models_to_table() -> None:
    page = parse(charts.by_model(models(*((f"m{n}", n, 100) for n in range(1, 31)))))
    assert len(page.all(cls="cf-whisker")) == charts.MAX_ROWS
    assert len(page.rows()) == 31
    assert "the table has all 30" in page.text


# Reasons


def test_reasons_are_grouped_by_rating_on_one_scale_from_zero() -> None:
    frame = given_reasons(("dislike", "too_long", 8), ("like", "clear", 4), ("like", "new_one", 2), (None, "clear", 1))
    page = parse(charts.reasons(frame, {"clear": "Clear", "too_long": "Too long & more"}))
    groups = {
        group.all("h4")[0].text: [
            (row.all(cls="cf-name")[0].text, row.all(cls="cf-bar")[0].style("width")) for row in group.all(cls="cf-row")
        ]
        for group in page.all("section")
    }
    assert groups == {
        "Likes": [("Clear", 50), ("New one", 25)],
        "Dislikes": [("Too long & more", 100)],
        "Without a thumb": [("Clear", 12.5)],
    }
    assert page.rows()[1:3] == [["Likes", "Clear", "clear", "4"], ["Likes", "New one", "new_one", "2"]]
    assert spoken(page) == "Likes: Clear 4, New one 2; Dislikes: Too long & more 8; Without a thumb: Clear 1"


@given(code=NASTY, label=NASTY)
def test_reasons_escape_labels(code: str, label: str) -> None:
    page = parse(charts.reasons(given_reasons(("like", code, 1)), {code: label}))
    assert page.all(cls="cf-name")[0].text == label
    assert page.all("script") == []


# Cards, and nothing at all


@given(texts=st.tuples(NASTY, NASTY, NASTY))
def test_card_shows_its_texts(texts: tuple[str, str, str]) -> None:
    page = parse(charts.cards([charts.Card(*texts)]))
    assert page.text == "".join(texts)


@pytest.mark.parametrize(
    ("html", "sentence"),
    [
        (timeline.per_day(days(), ResolvedFilters(), NOW), "No feedback"),
        (timeline.per_day(days((0, 0, 0), (0, 0, 0)), ResolvedFilters(), NOW), "No feedback"),
        (charts.by_model(models()), "No likes or dislikes"),
        (charts.reasons(given_reasons(), {}), "No reasons"),
        (feedback_table(pd.DataFrame(), {}), "No feedback"),
    ],
)
def test_charts_show_sentence_when_empty(html: str, sentence: str) -> None:
    page = parse(html)
    assert sentence in page.text
    assert not page.all("svg") and not page.all("table")


def test_formatting_writes_percent_and_seconds() -> None:
    assert [formatting.percent(None), formatting.percent(0.6104), formatting.percent(1.25)] == ["–", "61.0%", "125.0%"]
    assert [formatting.seconds(None), formatting.seconds(0.549), formatting.seconds(1234.5)] == [
        "–",
        "0.55 s",
        "1,234.5 s",
    ]

"""The handlers of the Analytics tab, called as Gradio calls them, on a real database."""

from __future__ import annotations

import inspect
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from analytics.conftest import Recorded, fill
from analytics.load_users import Crowd
from analytics.markup import parse
from chatfeedback.analytics.dashboard import DashboardQueries
from chatfeedback.domain.roles import Person
from chatfeedback.errors import InputError
from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.store.database.engine import open_engine
from chatfeedback.ui.analytics.download_links import download_links
from chatfeedback.ui.analytics.filter_inputs import parse_filters
from chatfeedback.ui.analytics.handlers import ROWS, AnalyticsHandlers, cards
from chatfeedback.ui.analytics.layout import Components, DashboardView, lay_out_analytics

# For tests of rendering only; the source of the figures is tested on both databases.
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
ADMIN = Person("someone", "Someone", "admin")


def sent_by(person: Person | None) -> gr.Request:
    """Return a request that the access middleware has let in."""
    return gr.Request(Request({"type": "http", "headers": [], "state": {"person": person}}))


REQUEST = sent_by(ADMIN)


FIGURES = {"download", "cards", "per_day", "by_model", "reasons", "table"}


class Tab:
    """Tab of a page: what it has rendered, by the name of the component."""

    def __init__(self, recorded: Recorded) -> None:
        with gr.Blocks():
            self.on = lay_out_analytics()
        self.names = {getattr(self.on, name): name for name in Components.__slots__}
        self.refused: list[tuple[str, str]] = []
        self.handlers = AnalyticsHandlers(
            recorded.dashboard, self.on, {"clear": "Clear as day"}, lambda *what: self.refused.append(what)
        )
        self.drawn: dict[str, Any] = {"view": DashboardView()}

    def do(self, update: dict[Any, Any]) -> set[str]:
        """Apply the update of a handler; return the names of the changed components."""
        changed = {self.names[component]: value for component, value in update.items()}
        if changed == {"as_of": gr.skip()}:
            return set()
        self.drawn |= changed
        return changed.keys()

    def refresh(self, since: str = "", until: str = "", model: str = "", annotator: str = "") -> set[str]:
        return self.do(self.handlers.refresh(since, until, model, annotator, REQUEST))

    def open(self, **data: Any) -> set[str]:
        return self.do(self.handlers.open(self.drawn["view"], gr.EventData(None, data), REQUEST))

    def has_no_figures(self, sentence: str) -> bool:
        """Return True if only this sentence is in place of all figures and links."""
        return (
            all(self.drawn[name] == "" for name in FIGURES)
            and not self.drawn["pagination"].visible
            and self.drawn["view"] == DashboardView()
            and parse(self.drawn["as_of"]).text == f"{sentence} No figures are shown."
        )

    def card(self, name: str) -> str:
        shown = parse(self.drawn["cards"])
        return next(card.all("dd")[0].text for card in shown.all(cls="cf-card") if card.all("dt")[0].text == name)


@pytest.fixture
async def tab(recorded: Recorded) -> Tab:
    # Inside a running loop: Gradio would make one of its own, and never close it.
    return Tab(recorded)


def test_refresh_renders_all_figures_and_offers_choices(tab: Tab, recorded: Recorded) -> None:
    tab.refresh()
    record = recorded.record
    assert tab.card("Conversations").startswith(f"{record.conversations()}")
    assert parse(tab.drawn["per_day"]).all("svg")
    assert parse(tab.drawn["by_model"]).all(cls="cf-whisker")
    assert "Clear as day" in parse(tab.drawn["reasons"]).text
    assert len(parse(tab.drawn["table"]).all("button")) == min(ROWS, len(record.judged))
    assert [value for _, value in tab.drawn["model"].choices] == ["", *recorded.crowd.model_names()]
    pseudonyms = {name: recorded.dashboard.pseudonym(id_) for id_, name in recorded.crowd.names().items()}
    assert dict(tab.drawn["annotator"].choices) == {"Everybody": ""} | pseudonyms


def test_refresh_applies_filters_to_figures_table_and_download(tab: Tab, recorded: Recorded) -> None:
    for model in recorded.crowd.model_names():
        for annotator_id, name in recorded.crowd.names().items():
            annotator = recorded.dashboard.pseudonym(annotator_id)
            tab.refresh("2026-06-25", "2026-06-28", model, annotator)
            filters = ResolvedFilters(
                since=datetime(2026, 6, 25, tzinfo=UTC),
                until=datetime(2026, 6, 29, tzinfo=UTC),
                model=model,
                annotator_id=annotator_id,
            )
            naive = recorded.record.under(filters)
            assert tab.drawn["view"].filters == filters
            assert tab.card("Conversations").startswith(f"{naive.conversations()}")
            rows = parse(tab.drawn["table"]).all("tr")[1:]
            assert {row.children[1].text for row in rows} <= {name}
            assert len(rows) == len(naive.feedback())
            *plain, named = (
                parse_qs(urlsplit(link.attributes["href"] or "").query)
                for link in parse(tab.drawn["download"]).all("a")
            )
            expected = {
                "since": ["2026-06-25T00:00:00+00:00"],
                "until": ["2026-06-29T00:00:00+00:00"],
                "model": [model],
                "annotator": [annotator],
            }
            assert plain == [expected] * 3 and named == {**expected, "annotators": ["names"]}


def test_table_pages_cover_all_feedback(tab: Tab, recorded: Recorded) -> None:
    total = len(recorded.record.judged)
    assert total > ROWS
    tab.refresh()
    rows = list(tab.drawn["view"].rows)
    assert not tab.drawn["newer"].interactive
    while tab.drawn["older"].interactive:
        tab.do(tab.handlers.older(tab.drawn["view"], REQUEST))
        rows += tab.drawn["view"].rows
    assert {(message_id, annotator) for _, message_id, annotator in rows} == recorded.record.judged.keys()
    assert len(rows) == total
    assert tab.drawn["row_range"].endswith(f"–{total} of {total}")
    tab.do(tab.handlers.newer(tab.drawn["view"], REQUEST))
    assert tab.drawn["view"].offset == (total - 1) // ROWS * ROWS - ROWS


@ON_SQLITE
def test_open_shows_conversation_of_row_with_rated_reply_marked(tab: Tab, recorded: Recorded) -> None:
    tab.refresh()
    names = recorded.crowd.names()
    for row, (conversation_id, message_id, annotator) in enumerate(tab.drawn["view"].rows):
        assert tab.open(row=row) == {"side_panel", "summary", "chatbot", "messages"}
        about = parse(tab.drawn["summary"])
        marked = int(about.all("h3")[0].attributes["data-rated"] or "")
        assert tab.drawn["side_panel"].visible
        sentence = "⚠️ The model failed; try again."  # in the place of a reply without text
        assert tab.drawn["chatbot"][marked]["content"][0]["text"] == (recorded.record.said[message_id].text or sentence)
        assert about.all("h3")[0].text == recorded.talks[conversation_id].title
        assert about.all("p")[0].text.startswith(f"{names[annotator]}:")
    tab.do(tab.handlers.close(REQUEST))
    assert not tab.drawn["side_panel"].visible


@ON_SQLITE
def test_open_refuses_row_that_was_not_rendered(tab: Tab) -> None:
    tab.refresh()
    for row in (-1, ROWS, "0", None, True, 1.0):
        with pytest.warns(UserWarning, match="not on the screen"):
            assert tab.open(row=row) == set(), row


@ON_SQLITE
def test_tick_renders_again_only_when_something_has_happened(tab: Tab, recorded: Recorded) -> None:
    tab.refresh(model=recorded.crowd.model_names()[1])
    before = tab.drawn["view"]
    assert tab.do(tab.handlers.tick(before, REQUEST)) == set()
    fill(recorded.engine, Crowd(seed=2, names_begin_with="late-"), 20)
    assert "cards" in tab.do(tab.handlers.tick(before, REQUEST))
    assert tab.drawn["view"].position > before.position
    assert tab.drawn["view"].filters == before.filters


@ON_SQLITE
def test_handlers_render_nothing_without_sign_in(tab: Tab) -> None:
    tab.refresh()
    shown, data = tab.drawn["view"], gr.EventData(None, {"row": 0})
    nobody = sent_by(None)
    assert tab.do(tab.handlers.refresh("", "", "", "", nobody)) >= FIGURES
    assert tab.has_no_figures("Sign in first: you have not signed in here, or your session has ended.")
    calls = {
        "tick": (shown, nobody),
        "watch": (True, nobody),
        "newer": (shown, nobody),
        "older": (shown, nobody),
        "open": (shown, data, nobody),
        "close": (nobody,),
    }
    handlers = inspect.getmembers(AnalyticsHandlers, inspect.isfunction)
    assert calls.keys() | {"refresh"} == {name for name, _ in handlers if not name.startswith("_")}
    for name, arguments in calls.items():
        with pytest.warns(UserWarning, match="Sign in first"):
            assert tab.do(getattr(tab.handlers, name)(*arguments)) == set()


def test_annotator_sees_only_own_figures_and_rows_with_any_filter(tab: Tab, recorded: Recorded) -> None:
    tab.refresh()
    everybody, theirs = tab.drawn["view"], tab.card("Conversations")
    annotator_id = everybody.rows[0][2]
    person = Person(annotator_id, "She", "annotator")
    own = recorded.dashboard.pseudonym(annotator_id)
    other = next(value for _, value in tab.drawn["annotator"].choices if value not in ("", own))
    tab.do(tab.handlers.refresh("", "", "", other, sent_by(person)))
    assert {row[2] for row in tab.drawn["view"].rows} == {annotator_id}
    assert tab.card("Conversations") != theirs
    assert tab.drawn["annotator"].visible is False and tab.drawn["annotator"].choices == [("Everybody", "")]
    assert tab.drawn["download"] == ""
    # Rows that were rendered for another user, should they ever come back with this request.
    tab.do(tab.handlers.tick(DashboardView(everybody.filters, -1, 0, everybody.rows), sent_by(person)))
    assert {row[2] for row in tab.drawn["view"].rows} == {annotator_id}
    strange = next(index for index, row in enumerate(everybody.rows) if row[2] != annotator_id)
    with pytest.warns(UserWarning, match="belongs to another person"):
        assert tab.do(tab.handlers.open(everybody, gr.EventData(None, {"row": strange}), sent_by(person))) == set()
    with pytest.warns(UserWarning, match="not on the screen"):
        assert tab.do(tab.handlers.open(everybody, gr.EventData(None, {"row": 10_000}), sent_by(person))) == set()
    assert tab.refused == [(annotator_id, "conversation_of_another"), (annotator_id, "not_offered")]


REFUSED = {
    ("2026-06-25", "2026-06-24", "", ""): "The first day must not be after the last one.",
    ("2090-01-01", "2026-06-24", "", ""): "The first day must not be after the last one.",
    ("incomplete", "", "", ""): "A day is incomplete; complete or delete it.",
    ("", "2026-02-30", "", ""): "'2026-02-30' is not a date; write it as in 2026-11-20.",
    ("0020-06-25", "", "", ""): "Choose a day between 2000 and 2100.",
    ("", "12026-06-25", "", ""): "'12026-06-25' is not a date; write it as in 2026-11-20.",
}


@ON_SQLITE
@pytest.mark.parametrize("filters", REFUSED)
def test_refresh_removes_figures_and_links_when_filter_is_refused(tab: Tab, filters: tuple[str, ...]) -> None:
    tab.refresh()
    assert not tab.has_no_figures("")
    tab.refresh(*filters)
    assert tab.has_no_figures(REFUSED[filters])
    for handler in (tab.handlers.tick, tab.handlers.older, tab.handlers.newer):
        assert tab.do(handler(tab.drawn["view"], REQUEST)) == set()
    with pytest.warns(UserWarning, match="not on the screen"):
        assert tab.open(row=0) == set()
    tab.refresh()
    assert not tab.has_no_figures("")


@ON_SQLITE
def test_refresh_removes_figures_when_database_cannot_be_read(tab: Tab, tmp_path: Path) -> None:
    tab.refresh()
    engine = open_engine(f"sqlite:///{tmp_path}/empty.db")
    away = AnalyticsHandlers(DashboardQueries(engine, lambda _: None), tab.on, {}, lambda *_: None)
    tab.do(away.refresh("2026-06-25", "", "", "", REQUEST))
    engine.dispose()
    assert tab.has_no_figures(parse(tab.drawn["as_of"]).text.removesuffix(" No figures are shown."))
    assert "database" in tab.drawn["as_of"]


def test_parse_filters_includes_both_days() -> None:
    day = parse_filters("2026-06-25", "2026-06-25", "", None)
    assert day == ResolvedFilters(since=datetime(2026, 6, 25, tzinfo=UTC), until=datetime(2026, 6, 26, tzinfo=UTC))


@given(text=st.text(max_size=12) | st.dates().map(str))
def test_parse_filters_accepts_days_only(text: str) -> None:
    try:
        filters = parse_filters(text, None, None, None)
    except InputError:
        return
    assert filters.since is None if not text.strip() else 2000 <= (filters.since or datetime.min).year <= 2100


@given(model=st.text(), annotator=st.text(st.characters(codec="utf-8")))
def test_downloads_carry_any_name_in_links(model: str, annotator: str) -> None:
    model = model.encode("utf-8", "replace").decode()
    expected = {"model": [model], "annotator": [annotator]}
    for link in parse(download_links(ResolvedFilters(model=model or None), annotator or None, names=False)).all("a"):
        query = urlsplit(link.attributes["href"] or "").query
        assert parse_qs(query) == {name: value for name, value in expected.items() if value[0]}


def test_downloads_offer_spreadsheet_file_first_and_explain_choice() -> None:
    offered = parse(download_links(ResolvedFilters(), None, names=False))
    assert [(link.text, link.attributes["href"]) for link in offered.all("a")] == [
        ("Download for spreadsheets", "/export/feedback.spreadsheet.csv"),
        ("Download CSV (unchanged)", "/export/feedback.csv"),
        ("JSON lines", "/export/feedback.jsonl"),
    ]
    (which,) = offered.all("p")
    assert {link.attributes["aria-describedby"] for link in offered.all("a")} == {which.attributes["id"]}
    named = parse(download_links(ResolvedFilters(model="m"), None, names=True)).all("a")
    assert [link.text for link in named[:3]] == [link.text for link in offered.all("a")]
    assert named[3].attributes["href"] == "/export/feedback.spreadsheet.csv?model=m&annotators=names"
    assert "Excel" in which.text and "exactly as it was recorded" in which.text


@ON_SQLITE
def test_cards_show_every_figure_of_empty_result(tab: Tab, recorded: Recorded) -> None:
    nothing = recorded.dashboard.overview(ResolvedFilters(model="none")).headline
    assert {card.value for card in cards(nothing)} == {"0", "–"}
    assert len({card.name for card in cards(nothing)}) == 12


@ON_SQLITE
def test_cards_count_texts_by_people_only_without_model(tab: Tab, recorded: Recorded) -> None:
    tab.refresh()
    assert tab.card("Messages").endswith("by people and models, all versions")
    for model in recorded.crowd.model_names():
        tab.refresh(model=model)
        headline = recorded.dashboard.overview(ResolvedFilters(model=model)).headline
        assert tab.card("Messages") == f"{headline.replies.requested:,}by this model, all versions"
        assert "people" not in "".join(tab.card(card.name) for card in cards(headline))
        assert tab.card("Replies").endswith(f"asked of this model; {headline.replies.with_text:,} with text")
        assert tab.card("Edited").endswith("of replies, per reply")
        assert tab.card("Conversations").endswith("started, in which the model was asked")


@ON_SQLITE
def test_like_rate_card_counts_ratings_of_empty_replies_that_it_leaves_out(recorded: Recorded) -> None:
    headline = recorded.dashboard.overview(ResolvedFilters()).headline
    assert headline.without_text > 0
    (like_rate,) = (card for card in cards(headline) if card.name == "Like rate")
    assert like_rate.detail.endswith(
        f"{headline.liked.total}; {headline.without_text} on replies without text left out"
    )
    (like_rate,) = (card for card in cards(replace(headline, without_text=0)) if card.name == "Like rate")
    assert "left out" not in like_rate.detail

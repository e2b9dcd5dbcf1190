"""The Analytics tab: one handler for each thing that can be done there.

A handler makes `ResolvedFilters` of the inputs, queries the dashboard, and renders. An error is one sentence in a
warning, and leaves the page as it was.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from chatfeedback.analytics.dashboard import DashboardQueries, FeedbackPage
from chatfeedback.analytics.figures.headline import Headline
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.roles import Permission, Person
from chatfeedback.errors import ChatFeedbackError, NotAllowed, NotOffered
from chatfeedback.export.registry import FORMATS
from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.services.commands import NOT_OFFERED, OTHERS_CONVERSATION
from chatfeedback.ui.account import who
from chatfeedback.ui.actions import action
from chatfeedback.ui.analytics import charts, timeline
from chatfeedback.ui.analytics.charts import Card, number, percent, seconds
from chatfeedback.ui.analytics.feedback_table import badge, feedback_table
from chatfeedback.ui.analytics.filter_inputs import filters_from, scoped
from chatfeedback.ui.analytics.layout import ALL_MODELS, EVERYBODY, Components, Shown, lay_out_analytics
from chatfeedback.ui.chat import rendering
from chatfeedback.ui.chat.drawings import Drawings
from chatfeedback.ui.chat.rendering import ViewState
from chatfeedback.ui.event_defaults import CALLED
from chatfeedback.ui.shapes import FLAG, STATE, TAB_SELECTED_OR_NO_EVENT, TEXT, RowSelected, Shape

EXPORT_PATH = "/export/feedback"
ROWS = 50
"""Of the table at once."""
Act = Callable[[Person], dict[Any, Any]]
Update = dict[Any, Any]
"""Component -> its new value or properties."""
# Gradio shows a conversation from its start, some frames later, and leaves the keyboard where it was.
SHOW_RATED = """() => {
  const show = (frames) => {
    const rated = document.querySelector("#analytics-about [data-rated]")?.dataset.rated;
    const bubble = document.querySelectorAll("#analytics-conversation .message-row")[rated];
    if (bubble) {
      bubble.scrollIntoView({ block: "start" });
      document.querySelector("#analytics-close").focus();
    } else if (frames) requestAnimationFrame(() => show(frames - 1));
  };
  show(120);
}"""
GO_BACK = """() => document.querySelector("#analytics-feedback button[data-opened]")?.focus()"""


class AnalyticsHandlers:
    """What happens when something on the Analytics tab is used. `labels` of the reasons by code."""

    def __init__(
        self,
        dashboard: DashboardQueries,
        components: Components,
        labels: Mapping[str, str],
        refused: Callable[[str, str], None],
    ) -> None:
        self._dashboard = dashboard
        self._components = components
        self._labels = labels
        self._refused = refused

    @action(Permission.SEE_OWN, TEXT, TEXT, TEXT, TEXT, event=TAB_SELECTED_OR_NO_EVENT)
    def refresh(
        self, since: str | None, until: str | None, model: str | None, annotator: str | None, request: gr.Request
    ) -> Update:
        """Draws the newest figures for what is chosen."""

        def act(person: Person) -> Update:
            filters = scoped(person, filters_from(since, until, model, annotator))
            sees_all = person.may(Permission.SEE_ALL)
            models = self._dashboard.models(None if sees_all else person.annotator_id)
            people = self._dashboard.annotators(names=_names(person)) if sees_all else {}
            return {
                self._components.model: gr.Dropdown(choices=[ALL_MODELS, *((name, name) for name in models)]),
                self._components.annotator: gr.Dropdown(
                    choices=[EVERYBODY, *((name, key) for key, name in people.items())], visible=sees_all
                ),
                **self._draw(person, filters),
            }

        return self._answer(request, act)

    @action(Permission.SEE_OWN, STATE)
    def tick(self, shown: Shown, request: gr.Request) -> Update:
        """Draws again if anything has happened since."""

        def act(person: Person) -> Update:
            if self._dashboard.position() == shown.position:
                return {}
            return self._draw(person, scoped(person, shown.filters), shown.offset)

        return self._answer(request, act)

    @action(Permission.SEE_OWN, FLAG)
    def watch(self, live: bool, request: gr.Request) -> Update:
        """Looks for something new from time to time, or no longer."""
        return self._answer(request, lambda _person: {self._components.timer: gr.Timer(active=bool(live))})

    @action(Permission.SEE_OWN, STATE)
    def newer(self, shown: Shown, request: gr.Request) -> Update:
        """Shows the part of the table before this one."""
        return self._turn(shown, -ROWS, request)

    @action(Permission.SEE_OWN, STATE)
    def older(self, shown: Shown, request: gr.Request) -> Update:
        """Shows the part of the table after this one."""
        return self._turn(shown, ROWS, request)

    @action(Permission.SEE_OWN, STATE, event=Shape(RowSelected))
    def open(self, shown: Shown, data: gr.EventData, request: gr.Request) -> Update:
        """Shows the conversation of a row."""

        def act(person: Person) -> Update:
            row = getattr(data, "row", None)
            if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row < len(shown.rows):
                raise NotOffered("This row is not on the screen any more; press Refresh.")
            conversation_id, message_id, annotator_id = shown.rows[row]
            conversation = self._dashboard.conversation(conversation_id)
            if not person.may(Permission.SEE_ALL) and conversation.annotator_id != person.annotator_id:
                raise NotAllowed("This conversation belongs to another person.")
            thread = conversation.thread(conversation.tip(message_id))
            ids = tuple(message.message_id for message in thread)
            before = rendering.bubbles(conversation, ViewState(ids=ids[: ids.index(message_id)]))
            bubbles = rendering.bubbles(conversation, ViewState(ids=ids), addresses=person.may(Permission.SEE_ALL))
            return {
                self._components.side: gr.Column(visible=True),
                self._components.about: self._about(person, conversation, message_id, annotator_id, len(before)),
                self._components.chatbot: rendering.stored_texts(bubbles),
                self._components.messages: rendering.drawn_texts(bubbles, Drawings()),
            }

        return self._answer(request, act)

    @action(Permission.SEE_OWN)
    def close(self, request: gr.Request) -> Update:
        """Closes the conversation."""
        nothing: Update = {
            self._components.side: gr.Column(visible=False),
            self._components.chatbot: [],
            self._components.messages: [],
        }
        return self._answer(request, lambda _person: nothing)

    def _answer(self, request: gr.Request, act: Act) -> Update:
        try:
            update = self._done(who(request), act)
        except ChatFeedbackError as error:
            gr.Warning(html.escape(str(error), quote=False))
            update = {}
        return update or {self._components.drawn_at: gr.skip()}  # Gradio takes an empty answer for a value

    def _done(self, person: Person, act: Act) -> Update:
        if not person.may(Permission.SEE_OWN):
            raise NotAllowed("Your role does not allow this.")
        try:
            return act(person)
        except (NotAllowed, NotOffered) as error:
            self._refused(person.annotator_id, OTHERS_CONVERSATION if isinstance(error, NotAllowed) else NOT_OFFERED)
            raise

    def _turn(self, shown: Shown, rows: int, request: gr.Request) -> Update:
        def act(person: Person) -> Update:
            filters = scoped(person, shown.filters)
            page = self._dashboard.latest(filters, shown.offset + rows, ROWS, names=_names(person))
            return self._table(page, filters, shown.position)

        return self._answer(request, act)

    # Drawing

    def _draw(self, person: Person, filters: ResolvedFilters, offset: int = 0) -> Update:
        found = self._dashboard.overview(filters, offset, ROWS, names=_names(person))
        now = datetime.now(UTC)
        return {
            self._components.drawn_at: f'As of <time datetime="{now.isoformat()}">{now:%Y-%m-%d %H:%M:%S} UTC</time>',
            self._components.download: self._downloads(person, filters),
            self._components.cards: charts.cards(cards(found.headline)),
            self._components.per_day: timeline.per_day(found.per_day),
            self._components.by_model: charts.by_model(found.by_model),
            self._components.reasons: charts.reasons(found.reasons, self._labels),
            **self._table(found.latest, filters, found.position),
        }

    def _downloads(self, person: Person, filters: ResolvedFilters) -> str:
        names = person.may(Permission.SEE_NAMES)
        return downloads(filters, names=names) if person.may(Permission.EXPORT) else ""

    def _table(self, page: FeedbackPage, filters: ResolvedFilters, position: int) -> Update:
        keys = page.rows[["conversation_id", "message_id", "annotator_id"]]
        end = page.offset + len(page.rows)
        return {
            self._components.table: feedback_table(page.rows, self._labels),
            self._components.pages: gr.Row(visible=page.total > ROWS),
            self._components.newer: gr.Button(interactive=page.offset > 0),
            self._components.range: f"{number(page.offset + 1)}–{number(end)} of {number(page.total)}",
            self._components.older: gr.Button(interactive=end < page.total),
            self._components.shown: Shown(
                filters, position, page.offset, tuple(keys.itertuples(index=False, name=None))
            ),
        }

    def _about(self, person: Person, conversation: Conversation, message_id: str, annotator_id: str, row: int) -> str:
        """Who says what of which bubble; marks that bubble, the `row`-th."""
        rating = conversation.ratings.get((message_id, annotator_id))
        name = html.escape(self._dashboard.annotators(names=_names(person)).get(annotator_id, annotator_id))
        said = "took this rating back."
        if rating is not None:
            codes = ", ".join(charts.reason_label(code, self._labels) for code in rating.reasons)
            parts = [
                badge(rating.value),
                html.escape(codes),
                f"“{html.escape(rating.comment)}”" if rating.comment else "",
            ]
            said = " ".join(part for part in parts if part)
        erase = ""
        if person.may(Permission.ADMINISTER):
            address = f"/admin/erase?conversation={html.escape(conversation.conversation_id)}"
            erase = f'<p><a href="{address}">Erase this conversation…</a></p>'
        marked = f"#analytics-conversation .message-row:nth-child({row + 1})"
        return (
            f"<style>{marked} .message {{ outline: 2px solid var(--color-accent); outline-offset: 3px; }}"
            f'{marked} .message::before {{ content: "Rated reply"; font-size: 0.75rem; font-weight: 600; }}</style>'
            f'<h3 data-rated="{row}">{html.escape(conversation.title)}</h3><p>{name}: {said}</p>{erase}'
        )


def _names(person: Person) -> bool:
    """Whether annotators are called by name: to those who may know them, and to somebody who sees herself only."""
    return person.may(Permission.SEE_NAMES) or not person.may(Permission.SEE_ALL)


def downloads(filters: ResolvedFilters, *, names: bool) -> str:
    """Links to the files of the feedback that the filters leave: the one to begin with first, and which to take.

    `names`: whether one with annotators' names is offered as well, beside those with pseudonyms.
    """
    chosen = {
        "since": filters.since and filters.since.isoformat(),
        "until": filters.until and filters.until.isoformat(),
        "model": filters.model,
        "annotator": filters.annotator_id,
    }
    query = urlencode({name: value for name, value in chosen.items() if value})

    def link(suffix: str, text: str, cls: str, more: str = "") -> str:
        asked = "&".join(part for part in (query, more) if part)
        address = html.escape(f"{EXPORT_PATH}.{suffix}{'?' if asked else ''}{asked}")
        return f'<a class="{cls}" href="{address}" aria-describedby="cf-which-file" download>{text}</a>'

    formats = sorted(FORMATS.values(), key=lambda format: not format.is_for_people)
    links = [link(format.suffix, format.link, "cf-quiet") for format in formats[1:]]
    if names:
        links += [
            link(format.suffix, "For spreadsheets, with names", "cf-quiet", "annotators=names")
            for format in formats
            if format.is_for_people
        ]
    return (
        '<div class="cf-downloads" role="group" aria-label="Download this feedback">'
        f"{link(formats[0].suffix, formats[0].link, 'cf-button cf-primary')}{''.join(links)}"
        '<p id="cf-which-file">For Excel or LibreOffice take the first: what looks like a formula is made plain text.'
        " For programs take one of the others: every text exactly as it was recorded.</p></div>"
    )


def cards(found: Headline) -> list[Card]:
    """The headline figures as they are shown."""
    made, liked = found.replies, found.liked
    low, high = liked.interval() or (None, None)
    between = f"95% interval {percent(low)} to {percent(high)}; " if liked.total else ""
    left_out = f"; {number(found.without_text)} on replies without text left out" if found.without_text else ""
    ended = number(found.stopped.total)
    return [
        Card("Conversations", number(found.conversations), "started"),
        Card("Messages", number(found.messages), "by people and models, all versions"),
        Card("Replies", number(made.requested), f"asked of models; {number(made.with_text)} with text"),
        Card("Rated", percent(found.rated.value), f"{number(made.rated)} of the replies with text"),
        Card("Like rate", percent(liked.value), f"{between}{number(liked.count)} of {number(liked.total)}{left_out}"),
        Card("Retried", percent(found.retried.value), f"{_counted(found.retries, 'retry', 'retries')}, per reply"),
        Card("Undone", percent(found.undone.value), f"{_counted(found.undos, 'undo', 'undos')}, per reply"),
        Card("Edited", percent(found.edited.value), f"{_counted(found.edits, 'edit', 'edits')}, per message"),
        Card("Stopped", percent(found.stopped.value), f"{number(made.stopped)} of {ended} replies that ended"),
        Card("Failed", percent(found.failed.value), f"{number(made.failed)} of {ended} replies that ended"),
        Card("First token", seconds(made.median_first_token), "median time to the first token"),
        Card("First token, slow", seconds(made.p95_first_token), "95th percentile"),
    ]


def _counted(count: int, one: str, more: str) -> str:
    return f"{number(count)} {one if count == 1 else more}"


def build_analytics(
    tab: gr.Tab, dashboard: DashboardQueries, reason_labels: Mapping[str, str], refused: Callable[[str, str], None]
) -> None:
    """Fills the tab, within whose context it is called. `reason_labels`: what codes of reasons are called."""
    components = lay_out_analytics()
    handlers = AnalyticsHandlers(dashboard, components, reason_labels, refused)
    drawn = [getattr(components, name) for name in Components.__slots__ if name != "live"]
    chosen = [components.since, components.until, components.model, components.annotator]

    def listen(event: Callable[..., Any], handler: Callable[..., Any], inputs: list[Any], **how: Any) -> Any:
        return event(handler, inputs, drawn, **CALLED, **how)

    for event in (
        tab.select,
        components.refresh.click,
        components.since.input,
        components.until.input,
        components.model.input,
        components.annotator.input,
    ):
        # Of several changes at once, the last one must win.
        listen(event, handlers.refresh, chosen, trigger_mode="always_last")
    listen(components.live.change, handlers.watch, [components.live], trigger_mode="always_last")
    listen(components.timer.tick, handlers.tick, [components.shown])
    listen(components.newer.click, handlers.newer, [components.shown])
    listen(components.older.click, handlers.older, [components.shown])
    listen(components.table.select, handlers.open, [components.shown], trigger_mode="always_last").then(
        None, js=SHOW_RATED
    )
    listen(components.close.click, handlers.close, []).then(None, js=GO_BACK)

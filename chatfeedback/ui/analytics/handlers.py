"""Handlers of the Analytics tab, one for each action of a person.

A handler parses the inputs into `ResolvedFilters`, queries the dashboard, and renders. An error becomes one sentence in
a warning and changes nothing else on the page. Only after an error of `refresh` the sentence takes the place of the
figures, which may belong to other filters.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import gradio as gr

from chatfeedback.analytics.dashboard import DashboardQueries, FeedbackPage
from chatfeedback.analytics.figures.headline import Headline
from chatfeedback.analytics.formatting import number
from chatfeedback.analytics.registry import FIGURES
from chatfeedback.domain.conversation.state import Conversation
from chatfeedback.domain.roles import Permission, Person
from chatfeedback.errors import ChatFeedbackError, NotAllowed, NotOffered
from chatfeedback.query.filters import ResolvedFilters
from chatfeedback.services.commands import NOT_OFFERED, OTHERS_CONVERSATION
from chatfeedback.ui.account import current_person
from chatfeedback.ui.actions import action
from chatfeedback.ui.analytics import charts, timeline
from chatfeedback.ui.analytics.charts import Card
from chatfeedback.ui.analytics.download_links import download_links
from chatfeedback.ui.analytics.feedback_table import badge, feedback_table
from chatfeedback.ui.analytics.filter_inputs import parse_filters, restrict_to_role
from chatfeedback.ui.analytics.layout import ALL_ANNOTATORS, ALL_MODELS, Components, DashboardView, lay_out_analytics
from chatfeedback.ui.chat import rendering
from chatfeedback.ui.chat.rendering import ViewState
from chatfeedback.ui.chat.rendering_cache import RenderingCache
from chatfeedback.ui.event_defaults import EVENT_DEFAULTS
from chatfeedback.ui.shapes import FLAG, STATE, TAB_SELECTED_OR_NO_EVENT, TEXT, RowSelected, Shape

ROWS = 50
"""Rows of one page of the table."""
Update = dict[Any, Any]
"""New value or properties, by component."""
Render = Callable[[Person], Update]
"""Function of the person that queries and renders."""
# Gradio shows a conversation from its start, some frames later, and does not move the keyboard focus.
SHOW_RATED_JS = """() => {
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
FOCUS_OPENED_ROW_JS = """() => document.querySelector("#analytics-feedback button[data-opened]")?.focus()"""


class AnalyticsHandlers:
    """Handlers of the Analytics tab.

    Args:
        dashboard: Queries for the figures.
        components: Components of the tab.
        labels: Labels of the reasons, by code.
        on_refused: Called with an annotator's id and the code of a refusal.
    """

    def __init__(
        self,
        dashboard: DashboardQueries,
        components: Components,
        labels: Mapping[str, str],
        on_refused: Callable[[str, str], None],
    ) -> None:
        self._dashboard = dashboard
        self._components = components
        self._labels = labels
        self._on_refused = on_refused

    @action(Permission.SEE_OWN, TEXT, TEXT, TEXT, TEXT, event=TAB_SELECTED_OR_NO_EVENT)
    def refresh(
        self, since: str | None, until: str | None, model: str | None, annotator: str | None, request: gr.Request
    ) -> Update:
        """Render the newest figures for the selected filters."""

        def render(person: Person) -> Update:
            sees_all = person.may(Permission.SEE_ALL)
            annotator_id = self._dashboard.annotator_id(annotator) if annotator and sees_all else None
            filters = restrict_to_role(person, parse_filters(since, until, model, annotator_id))
            models = self._dashboard.models(None if sees_all else person.annotator_id)
            annotators = self._dashboard.annotator_choices(names=_shows_names(person)) if sees_all else []
            return {
                self._components.model: gr.Dropdown(choices=[ALL_MODELS, *((name, name) for name in models)]),
                self._components.annotator: gr.Dropdown(
                    choices=[ALL_ANNOTATORS, *annotators],
                    visible=sees_all,
                ),
                **self._figures(person, filters),
            }

        return self._respond(request, render, self._without_figures)

    @action(Permission.SEE_OWN, STATE)
    def tick(self, view: DashboardView, request: gr.Request) -> Update:
        """Render again if an event was stored since."""

        def render(person: Person) -> Update:
            if view.filters is None or self._dashboard.position() == view.position:
                return {}
            return self._figures(person, restrict_to_role(person, view.filters), view.offset)

        return self._respond(request, render)

    @action(Permission.SEE_OWN, FLAG)
    def watch(self, live: bool, request: gr.Request) -> Update:
        """Start or stop the timer of Live."""
        return self._respond(request, lambda _person: {self._components.timer: gr.Timer(active=bool(live))})

    @action(Permission.SEE_OWN, STATE)
    def newer(self, view: DashboardView, request: gr.Request) -> Update:
        """Show the previous page of the table."""
        return self._turn_page(view, -ROWS, request)

    @action(Permission.SEE_OWN, STATE)
    def older(self, view: DashboardView, request: gr.Request) -> Update:
        """Show the next page of the table."""
        return self._turn_page(view, ROWS, request)

    @action(Permission.SEE_OWN, STATE, event=Shape(RowSelected))
    def open(self, view: DashboardView, data: gr.EventData, request: gr.Request) -> Update:
        """Show the conversation of a row."""

        def render(person: Person) -> Update:
            row = getattr(data, "row", None)
            if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row < len(view.rows):
                raise NotOffered("This row is not on the screen any more; press Refresh.")
            conversation_id, message_id, annotator_id = view.rows[row]
            conversation = self._dashboard.conversation(conversation_id)
            if not person.may(Permission.SEE_ALL) and conversation.annotator_id != person.annotator_id:
                raise NotAllowed("This conversation belongs to another person.")
            thread = conversation.thread(conversation.tip(message_id))
            ids = tuple(message.message_id for message in thread)
            bubbles_before = rendering.bubbles(conversation, ViewState(ids=ids[: ids.index(message_id)]))
            bubbles = rendering.bubbles(conversation, ViewState(ids=ids), show_urls=person.may(Permission.SEE_ALL))
            return {
                self._components.side_panel: gr.Column(visible=True),
                self._components.summary: self._summary(
                    person, conversation, message_id, annotator_id, len(bubbles_before)
                ),
                self._components.chatbot: rendering.stored_texts(bubbles),
                self._components.messages: rendering.rendered_texts(bubbles, RenderingCache()),
            }

        return self._respond(request, render)

    @action(Permission.SEE_OWN)
    def close(self, request: gr.Request) -> Update:
        """Close the conversation."""
        update: Update = {
            self._components.side_panel: gr.Column(visible=False),
            self._components.chatbot: [],
            self._components.messages: [],
        }
        return self._respond(request, lambda _person: update)

    def _respond(self, request: gr.Request, render: Render, refused: Callable[[str], Update] | None = None) -> Update:
        """Return the update of `render`; after an error that of `refused`, or none and a warning."""
        try:
            update = self._render_if_permitted(current_person(request), render)
        except ChatFeedbackError as error:
            sentence = html.escape(str(error), quote=False)
            update = refused(sentence) if refused else {}
            if not refused:
                gr.Warning(sentence)
        return update or {self._components.as_of: gr.skip()}  # Gradio takes an empty dict for a value

    def _render_if_permitted(self, person: Person, render: Render) -> Update:
        if not person.may(Permission.SEE_OWN):
            raise NotAllowed("Your role does not allow this.")
        try:
            return render(person)
        except (NotAllowed, NotOffered) as error:
            self._on_refused(person.annotator_id, OTHERS_CONVERSATION if isinstance(error, NotAllowed) else NOT_OFFERED)
            raise

    def _turn_page(self, view: DashboardView, step: int, request: gr.Request) -> Update:
        def render(person: Person) -> Update:
            if view.filters is None:
                return {}
            filters = restrict_to_role(person, view.filters)
            page = self._dashboard.latest(filters, view.offset + step, ROWS, names=_shows_names(person))
            return self._table(page, filters, view.position)

        return self._respond(request, render)

    # Rendering

    def _figures(self, person: Person, filters: ResolvedFilters, offset: int = 0) -> Update:
        overview = self._dashboard.overview(filters, offset, ROWS, names=_shows_names(person))
        now = datetime.now(UTC)
        return {
            self._components.as_of: f'As of <time datetime="{now.isoformat()}">{now:%Y-%m-%d %H:%M:%S} UTC</time>',
            self._components.download: self._downloads(person, filters),
            self._components.cards: charts.cards(cards(overview.headline)),
            self._components.per_day: timeline.per_day(overview.per_day, filters, now),
            self._components.by_model: charts.by_model(overview.by_model),
            self._components.reasons: charts.reasons(overview.reasons, self._labels),
            **self._table(overview.latest, filters, overview.position),
        }

    def _without_figures(self, sentence: str) -> Update:
        """Return the tab with a sentence, as HTML, in place of figures and links."""
        shown = ("download", "cards", "per_day", "by_model", "reasons", "table")
        return {
            self._components.as_of: f'<p class="cf-refused" role="alert">{sentence} No figures are shown.</p>',
            **{getattr(self._components, name): "" for name in shown},
            self._components.pagination: gr.Row(visible=False),
            self._components.view: DashboardView(),
        }

    def _downloads(self, person: Person, filters: ResolvedFilters) -> str:
        if not person.may(Permission.EXPORT):
            return ""
        annotator = self._dashboard.pseudonym(filters.annotator_id) if filters.annotator_id else None
        return download_links(filters, annotator, names=person.may(Permission.SEE_NAMES))

    def _table(self, page: FeedbackPage, filters: ResolvedFilters, position: int) -> Update:
        keys = page.rows[["conversation_id", "message_id", "annotator_id"]]
        end = page.offset + len(page.rows)
        return {
            self._components.table: feedback_table(page.rows, self._labels),
            self._components.pagination: gr.Row(visible=page.total > ROWS),
            self._components.newer: gr.Button(interactive=page.offset > 0),
            self._components.row_range: f"{number(page.offset + 1)}–{number(end)} of {number(page.total)}",
            self._components.older: gr.Button(interactive=end < page.total),
            self._components.view: DashboardView(
                filters, position, page.offset, tuple(keys.itertuples(index=False, name=None))
            ),
        }

    def _summary(self, person: Person, conversation: Conversation, message_id: str, annotator_id: str, row: int) -> str:
        """Return the title, the rating and its annotator as HTML, and a style that marks bubble number `row`."""
        rating = conversation.ratings.get((message_id, annotator_id))
        names = self._dashboard.annotators(names=_shows_names(person))
        name = html.escape(names.get(annotator_id, "An annotator who was erased"))
        rating_text = "took this rating back."
        if rating is not None:
            codes = ", ".join(charts.reason_label(code, self._labels) for code in rating.reasons)
            parts = [
                badge(rating.value),
                html.escape(codes),
                f"“{html.escape(rating.comment)}”" if rating.comment else "",
            ]
            rating_text = " ".join(part for part in parts if part)
        erase_link = ""
        if person.may(Permission.ADMINISTER):
            url = f"/admin/erase?conversation={html.escape(conversation.conversation_id)}"
            erase_link = f'<p><a href="{url}">Erase this conversation…</a></p>'
        row_css = f"#analytics-conversation .message-row:nth-child({row + 1})"
        return (
            f"<style>{row_css} .message {{ outline: 2px solid var(--color-accent); outline-offset: 3px; }}"
            f'{row_css} .message::before {{ content: "Rated reply"; font-size: 0.75rem; font-weight: 600; }}</style>'
            f'<h3 data-rated="{row}">{html.escape(conversation.title)}</h3><p>{name}: {rating_text}</p>{erase_link}'
        )


def _shows_names(person: Person) -> bool:
    """Return True for a person who may see annotators' names, or who sees only their own data."""
    return person.may(Permission.SEE_NAMES) or not person.may(Permission.SEE_ALL)


def cards(headline: Headline) -> list[Card]:
    """Return the cards of the headline figures."""
    registered = (figure.card for figure in FIGURES if figure.card is not None)
    return [Card(card.title, card.text(headline), card.detail(headline)) for card in registered]


def build_analytics(
    tab: gr.Tab, dashboard: DashboardQueries, reason_labels: Mapping[str, str], on_refused: Callable[[str, str], None]
) -> None:
    """Lay out and wire the tab; call it inside the tab's context. `reason_labels`: labels of the reasons, by code."""
    components = lay_out_analytics()
    handlers = AnalyticsHandlers(dashboard, components, reason_labels, on_refused)
    outputs = [getattr(components, name) for name in Components.__slots__ if name != "live"]
    filter_inputs = [components.since, components.until, components.model, components.annotator]

    def listen(event: Callable[..., Any], handler: Callable[..., Any], inputs: list[Any], **kwargs: Any) -> Any:
        return event(handler, inputs, outputs, **EVENT_DEFAULTS, **kwargs)

    for event in (
        tab.select,
        components.refresh.click,
        components.since.input,
        components.until.input,
        components.model.input,
        components.annotator.input,
    ):
        # Of several changes in a row, the last one must win.
        listen(event, handlers.refresh, filter_inputs, trigger_mode="always_last")
    listen(components.live.change, handlers.watch, [components.live], trigger_mode="always_last")
    listen(components.timer.tick, handlers.tick, [components.view])
    listen(components.newer.click, handlers.newer, [components.view])
    listen(components.older.click, handlers.older, [components.view])
    listen(components.table.select, handlers.open, [components.view], trigger_mode="always_last").then(
        None, js=SHOW_RATED_JS
    )
    listen(components.close.click, handlers.close, []).then(None, js=FOCUS_OPENED_ROW_JS)

"""`SparseUpdateBlocks`: the browser receives the same as from `gr.Blocks`, with less work. Canaries of Gradio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from chatfeedback.ui.gradio_internals import SparseUpdateBlocks

Update = Callable[["App"], Any]
"""Function from an app to the return value of its handler."""


class App:
    """App with a function whose outputs are one of each kind on the pages, and the state of one session."""

    def __init__(self, kind: type[gr.Blocks]) -> None:
        with kind(analytics_enabled=False) as blocks:
            self.chatbot = gr.Chatbot(feedback_options=("Like", "Dislike"))
            self.prompt = gr.Textbox()
            self.notice = gr.HTML("nothing yet")
            self.button = gr.Button("Earlier")
            self.choices = gr.CheckboxGroup(["a", "b"])
            with gr.Row() as self.row:
                pass
            self.drawn = gr.State("blank")
            outputs = [self.drawn, self.chatbot, self.prompt, self.notice, self.button, self.choices, self.row]
            self.button.click(self._returned, [self.choices, self.drawn], outputs)
        self.blocks = blocks
        self.session = SessionState(blocks)
        self.given: list[Any] = []
        self._next: Any = None

    def _returned(self, choices: list[str], drawn: str) -> Any:
        self.given = [choices, drawn]
        return self._next(self) if callable(self._next) else self._next

    async def told(self, update: Any, choices: Sequence[str] = (), function: int = 0) -> list[Any]:
        """Return the data for the browser when the function returns this value."""
        self._next = update
        called = self.blocks.fns[function]
        answer = await self.blocks.process_api(called, [list(choices), None], self.session, in_event_listener=True)
        return list(answer["data"])

    def component(self, block: Any) -> Any:
        """Return the component as it is in the session."""
        return self.session[block._id]


MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "  Hello"}]}]


@pytest.fixture
async def app() -> App:
    return App(SparseUpdateBlocks)


@pytest.mark.parametrize(
    "update",
    [
        lambda app: {app.chatbot: gr.Chatbot(value=MESSAGES, feedback_value=[None]), app.notice: "<b>new</b>"},
        lambda app: {app.chatbot: MESSAGES, app.notice: "", app.drawn: "drawn"},
        lambda app: {app.notice: "alone"},
        lambda app: {app.notice: gr.skip()},
        lambda app: {app.prompt: gr.Textbox(submit_btn=False, stop_btn=True), app.notice: "<i>wait</i>"},
        lambda app: {app.button: gr.Button("More", visible=False), app.row: gr.Row(visible=False), app.notice: ""},
        lambda app: {app.choices: gr.CheckboxGroup(choices=["c", "d"], value=["c"]), app.notice: ""},
        lambda app: ["drawn", MESSAGES, "text", "<b>all</b>", "Label", ["a"], gr.Row(visible=False)],
    ],
)
async def test_the_browser_is_told_what_gradio_would_tell_it(app: App, update: Update) -> None:
    expected = await App(gr.Blocks).told(update)
    for answer in expected:
        if isinstance(answer, dict) and answer.get("__type__") == "update":
            answer.pop("props", None)  # Gradio counts "__type__" among the properties of an HTML that is not updated
    told = await app.told(update)
    for answer in told:
        if isinstance(answer, dict):
            answer.pop("props", None)
    assert told == expected


async def test_a_component_that_an_update_says_nothing_about_is_left_as_it_is(app: App) -> None:
    before = {name: app.component(getattr(app, name)) for name in ("chatbot", "prompt", "notice", "button", "row")}
    await app.told(lambda app: {app.notice: "new", app.button: gr.Button("More")})
    after = {name: app.component(getattr(app, name)) for name in before}
    assert {name for name in before if before[name] is not after[name]} == {"button"}


async def test_an_update_that_is_told_again_is_the_same(app: App) -> None:
    kept: dict[Any, Any] = {}

    def update(app: App) -> dict[Any, Any]:
        kept.update(kept or {app.prompt: gr.Textbox(submit_btn=False), app.button: gr.Button(visible=False)})
        return dict(kept)

    first = await app.told(update)
    made = app.component(app.prompt)
    assert await app.told(update) == first
    assert app.component(app.prompt) is made


async def test_what_a_component_was_updated_to_counts_for_the_next_call(app: App) -> None:
    await app.told(lambda app: {app.choices: gr.CheckboxGroup(choices=["c", "d"]), app.drawn: "drawn"})
    await app.told(lambda app: {app.notice: ""}, ["d"])
    assert app.given == [["d"], "drawn"]
    with pytest.raises(gr.Error, match="not in the list of choices"):
        await app.told(lambda app: {app.notice: ""}, ["a"])


async def test_a_component_that_is_newer_than_the_session_is_updated(app: App) -> None:
    with app.blocks:
        late = gr.HTML()
        app.prompt.submit(app._returned, [app.choices, app.drawn], [late, app.notice])
    assert await app.told({late: "<b>late</b>", app.notice: ""}, function=1) == ["<b>late</b>", ""]


async def test_an_update_of_something_that_is_no_output_is_refused(app: App) -> None:
    with app.blocks:
        stranger = gr.HTML()
    with pytest.raises(ValueError, match="not specified as output"):
        await app.told({stranger: "new", app.notice: ""})

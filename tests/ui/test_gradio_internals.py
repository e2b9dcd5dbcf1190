"""`SparseUpdateBlocks`: the browser receives the same as from `gr.Blocks`, with less work. Canaries of Gradio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from chatfeedback.ui import gradio_internals
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
        self.received: list[Any] = []
        self._next: Any = None

    def _returned(self, choices: list[str], drawn: str) -> Any:
        self.received = [choices, drawn]
        return self._next(self) if callable(self._next) else self._next

    async def process(self, update: Any, choices: Sequence[str] = (), function: int = 0) -> list[Any]:
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
async def test_sparse_updates_equal_updates_of_gradio(app: App, update: Update) -> None:
    expected = await App(gr.Blocks).process(update)
    for answer in expected:
        if isinstance(answer, dict) and answer.get("__type__") == "update":
            answer.pop("props", None)  # Gradio counts "__type__" among the properties of an HTML that is not updated
    sent = await app.process(update)
    for answer in sent:
        if isinstance(answer, dict):
            answer.pop("props", None)
    assert sent == expected


async def test_component_without_update_is_left_unchanged(app: App) -> None:
    before = {name: app.component(getattr(app, name)) for name in ("chatbot", "prompt", "notice", "button", "row")}
    await app.process(lambda app: {app.notice: "new", app.button: gr.Button("More")})
    after = {name: app.component(getattr(app, name)) for name in before}
    assert {name for name in before if before[name] is not after[name]} == {"button"}


async def test_update_sent_again_is_same_and_makes_no_component(app: App) -> None:
    kept: dict[Any, Any] = {}

    def update(app: App) -> dict[Any, Any]:
        kept.update(kept or {app.prompt: gr.Textbox(submit_btn=False), app.button: gr.Button(visible=False)})
        return dict(kept)

    first = await app.process(update)
    component = app.component(app.prompt)
    assert await app.process(update) == first
    assert app.component(app.prompt) is component


async def test_component_update_counts_for_next_call(app: App) -> None:
    await app.process(lambda app: {app.choices: gr.CheckboxGroup(choices=["c", "d"]), app.drawn: "drawn"})
    await app.process(lambda app: {app.notice: ""}, ["d"])
    assert app.received == [["d"], "drawn"]
    with pytest.raises(gr.Error, match="not in the list of choices"):
        await app.process(lambda app: {app.notice: ""}, ["a"])


async def test_component_newer_than_session_is_updated(app: App) -> None:
    with app.blocks:
        late = gr.HTML()
        app.prompt.submit(app._returned, [app.choices, app.drawn], [late, app.notice])
    assert await app.process({late: "<b>late</b>", app.notice: ""}, function=1) == ["<b>late</b>", ""]


async def test_update_of_component_that_is_no_output_is_refused(app: App) -> None:
    with app.blocks:
        stranger = gr.HTML()
    with pytest.raises(ValueError, match="not specified as output"):
        await app.process({stranger: "new", app.notice: ""})


def test_katex_element_is_empty_when_gradio_has_no_katex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradio_internals, "FRONTEND", tmp_path)
    assert gradio_internals.katex_element() == ""

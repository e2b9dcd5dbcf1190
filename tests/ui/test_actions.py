"""Actions: calls that the declarations of the real page accept and reject."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import combinations
from typing import Any

import gradio as gr
import pytest
from gradio.blocks import BlockContext
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfeedback.config.settings import Settings
from chatfeedback.domain.roles import Permission
from chatfeedback.server.app import build_app
from chatfeedback.ui.actions import Action, action
from chatfeedback.ui.gradio_internals import actions_in
from chatfeedback.ui.shapes import STATE, TEXT, Shape
from users import UNUSED_MODELS, blocks_in

MAX_HELD = 15
"""Most components in a container that an event of the chat changes."""


@pytest.fixture(scope="module")
def blocks(new_sqlite: Callable[[], str]) -> gr.Blocks:
    """Return the page."""

    async def build() -> gr.Blocks:
        app = build_app(Settings(database_url=new_sqlite(), models=UNUSED_MODELS))
        async with app.router.lifespan_context(app):
            return blocks_in(app)

    return asyncio.run(build())


@pytest.fixture(scope="module")
def handlers(blocks: gr.Blocks) -> dict[str, Action]:
    """Return the functions of the page, by handler name."""
    return {function.name: function for function in reversed(actions_in(blocks).values())}


def accepts(function: Action, data: list[Any], event_data: Any) -> set[bool]:
    return {function.accepts(data, event_data)}


def held(container: BlockContext) -> int:
    """Return the number of components in a container, nested ones included."""
    return sum(1 + (held(child) if isinstance(child, BlockContext) else 0) for child in container.children)


def like(index: Any, liked: Any = True, value: Any = ("You said: Hello",)) -> dict[str, Any]:
    return {"index": index, "value": list(value) if isinstance(value, tuple) else value, "liked": liked}


def chosen(code: Any, is_chosen: Any = True) -> dict[str, Any]:
    return {"index": 0, "value": code, "selected": is_chosen}


def edited(value: Any) -> dict[str, Any]:
    return {"index": 0, "value": value, "previous_value": "y"}


FILE = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
LIKE, SELECT = "FeedbackHandlers.like", "FeedbackHandlers.select"
SEND, EDIT, OPEN = "ChatHandlers.send", "ChatHandlers.edit", "ChatHandlers.open"
REASON, COMMENT = "FeedbackHandlers.choose_reason", "FeedbackHandlers.leave_comment"
AGAIN = "FeedbackHandlers.send_again"
KEPT = {"message": "unsaved_feedback", "about": "a b"}
ROW, LIVE = "AnalyticsHandlers.open", "AnalyticsHandlers.watch"

MALFORMED: dict[str, tuple[str, list[Any], Any]] = {
    "a rating that there is not": (LIKE, [None, "", ""], like(1, "<b>anything</b>")),
    "a rating of another type": (LIKE, [None, "", ""], like(1, 7)),
    "a rating that equals a truth": (LIKE, [None, "", ""], like(1, 1)),
    "an option as a rating": (LIKE, [None, "", ""], like(1, "Funny")),
    "a rating of nothing": (LIKE, [None, "", ""], like(1, None)),
    "a rated text that is a number": (LIKE, [None, "", ""], like(1, True, 7)),
    "rated texts that are numbers": (LIKE, [None, "", ""], like(1, True, [7])),
    "an index that is text": (LIKE, [None, "", ""], like("1")),
    "an index that is negative": (LIKE, [None, "", ""], like(-1)),
    "an index that is truth": (LIKE, [None, "", ""], like(True)),
    "an index that is a fraction": (LIKE, [None, "", ""], like(1.5)),
    "an index that is a list": (LIKE, [None, "", ""], like([1, 0])),
    "a place that is an empty list": (SELECT, [None, "", ""], {"index": [], "value": "x"}),
    "a place that is negative": (SELECT, [None, "", ""], {"index": [0, -1], "value": "x"}),
    "a place that is text": (SELECT, [None, "", ""], {"index": ["0"], "value": "x"}),
    "a selection that is text": (SELECT, [None, "", ""], {"index": 0, "value": "x", "selected": "yes"}),
    "a click without an index": (LIKE, [None, "", ""], {"value": ["x"], "liked": True}),
    "a click with something else": (LIKE, [None, "", ""], {**like(1), "message_id": "x"}),
    "a click that tells nothing": (LIKE, [None, "", ""], None),
    "a click that is a list": (LIKE, [None, "", ""], [1, True]),
    "a state of the browser's own": (LIKE, [{"ids": ["x"]}, "", ""], like(1)),
    "a state in a prompt": (SEND, ["Hi", {"conversation_id": "x"}, None, ""], None),
    "a state that is false": (SEND, ["Hi", False, None, ""], None),
    "a prompt that is a file": (SEND, [FILE, None, None, ""], None),
    "a prompt that is a list": (SEND, [["Hi"], None, None, ""], None),
    "a model that is a number": (SEND, ["Hi", None, 3, ""], None),
    "a prompt whose id is a list": (SEND, ["Hi", None, None, []], None),
    "a prompt whose id is a number": (SEND, ["Hi", None, None, 7], None),
    "too many inputs": (SEND, ["Hi", None, None, "", []], None),
    "too few inputs": (SEND, ["Hi"], None),
    "a prompt with a click": (SEND, ["Hi", None, None, ""], {"index": 0}),
    "a prompt with a list of clicks": (SEND, ["Hi", None, None, ""], [0]),
    "an edit that is no text": (EDIT, [None, None], edited({"role": "system"})),
    "an edit of a role": (EDIT, [None, None], {**edited("x"), "role": "assistant"}),
    "an edit of nothing": (EDIT, [None, None], {"index": 0, "value": "x"}),
    "an edit without a text": (EDIT, [None, None], {"index": 0, "previous_value": "x"}),
    "an edit of what is no text": (EDIT, [None, None], {"index": 0, "value": "x", "previous_value": 7}),
    "a reason that is a number": (REASON, ["a b"], chosen(1)),
    "a reason that is nothing": (REASON, ["a b"], chosen(None)),
    "a reason that is a list": (REASON, ["a b"], chosen(["correct"])),
    "a reason that may be chosen": (REASON, ["a b"], chosen("correct", "yes")),
    "a reason that is not said to be chosen": (REASON, ["a b"], {"index": 0, "value": "correct"}),
    "reasons sent again as a list": (AGAIN, [None, ""], {**KEPT, "reasons": ["correct"]}),
    "reasons sent again as texts": (AGAIN, [None, ""], {**KEPT, "reasons": {"correct": "yes"}}),
    "feedback sent again in another message": (AGAIN, [None, ""], {**KEPT, "message": "newer_version"}),
    "a newer version in no message": ("FeedbackHandlers.follow", [None, ""], None),
    "a message that wakes with a click": ("wake", [], {"message": "wake", "index": 1}),
    "a comment that is a list": (COMMENT, ["a b", ["x"], 1], None),
    "a stamp that is text": (COMMENT, ["a b", "x", "1"], None),
    "a stamp that is truth": (COMMENT, ["a b", "x", True], None),
    "a stamp that is nothing": (COMMENT, ["a b", "x", None], None),
    "a row that is text": (ROW, [None], {"row": "0"}),
    "a row of a state": (ROW, [{"rows": [["a", "b", "c"]]}], {"row": 0}),
    "a row and a conversation": (ROW, [None], {"row": 0, "conversation": "x"}),
    "a live that is text": (LIVE, ["yes"], None),
    "a live that is a number": (LIVE, [1], None),
    "a conversation that is a list": (OPEN, [None], {"conversation": ["x"]}),
    "more that is false": (OPEN, [None], {"more": False}),
    "more that equals a truth": (OPEN, [None], {"more": 1}),
    "an open without a conversation": (OPEN, [None], {}),
}

CALLS: list[tuple[str, list[Any], Any]] = [
    *((LIKE, [None, "", ""], like(1, liked)) for liked in (True, False, "")),
    (LIKE, [None, None, ""], like(0, True, "one text")),
    *((SELECT, [None, "", ""], {"index": index, "value": ""}) for index in (0, [0], [3, 0])),
    (SELECT, [None, "", ""], {"index": 0, "value": ["x", "y"], "selected": False}),
    *((SEND, ["Hi", None, model, ""], nothing) for model in (None, "parrot") for nothing in (None, {}, [], "Hi", 0)),
    (EDIT, [None, None], {"index": 0, "value": "x", "previous_value": "y"}),
    (EDIT, [None, "parrot"], {"index": 0, "value": "x", "previous_value": ["y"], "_dispatch_value": [{}]}),
    *((REASON, ["a b"], chosen("correct", is_chosen)) for is_chosen in (True, False)),
    *((AGAIN, [None, ""], {**KEPT, "reasons": reasons}) for reasons in ({}, {"correct": True, "clear": False})),
    *((COMMENT, ["a b", comment, stamp], None) for comment in ("", None, "x") for stamp in (0, -1, 1.5)),
    ("FeedbackHandlers.follow", [None, ""], {"message": "newer_version"}),
    ("wake", [], {"message": "wake"}),
    (ROW, [None], {"row": 0}),
    *((LIVE, [live], None) for live in (True, False, None)),
    (OPEN, [None], {"conversation": "x"}),
    (OPEN, [None], {"more": True}),
    ("AnalyticsHandlers.refresh", ["", None, "", "x"], {"value": "Analytics", "index": 1, "selected": True}),
]


@pytest.mark.parametrize("name", MALFORMED)
def test_function_rejects_malformed_call(handlers: dict[str, Action], name: str) -> None:
    function, data, event_data = MALFORMED[name]
    assert accepts(handlers[function], data, event_data) == {False}


def test_function_accepts_each_call_of_page(handlers: dict[str, Action]) -> None:
    rejected = [call for call in CALLS if accepts(handlers[call[0]], *call[1:]) != {True}]
    assert rejected == []


@pytest.mark.parametrize(
    ("name", "event", "kind"),
    [
        (LIKE, like(1), gr.LikeData),
        (SELECT, {"index": [1, 0], "value": "x", "selected": True}, gr.SelectData),
        (EDIT, edited("x"), gr.EditData),
        (REASON, chosen("correct"), gr.SelectData),
    ],
)
def test_function_accepts_no_event_without_what_gradio_reads(
    handlers: dict[str, Action], name: str, event: dict[str, Any], kind: Callable[..., object]
) -> None:
    function = handlers[name]
    assert function.event.accepts(event)
    for left_out in [set(keys) for count in (1, 2, 3) for keys in combinations(event, count)]:
        partial = {key: value for key, value in event.items() if key not in left_out}
        if function.event.accepts(partial):
            kind(None, partial)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["index", "value", "liked", "selected", "conversation", "more", "row", "previous_value", "x"])


@settings(max_examples=40)
@given(st.lists(JSON, max_size=5), JSON | st.dictionaries(KEYS, JSON, max_size=4))
def test_function_answers_for_any_json(handlers: dict[str, Action], data: Any, event_data: Any) -> None:
    for name, function in handlers.items():
        accepted = function.accepts(data, event_data)
        assert type(accepted) is bool, name
        assert not accepted or len(data) == len(function.inputs), name


@given(JSON.filter(lambda value: value is not None))
def test_state_accepts_nothing_from_browser(handlers: dict[str, Action], value: Any) -> None:
    assert accepts(handlers[SEND], ["Hi", value, None, ""], None) == {False}


@given(JSON.filter(lambda value: value is not None and not isinstance(value, str)))
def test_textbox_and_dropdown_accept_text_only(handlers: dict[str, Action], value: Any) -> None:
    assert accepts(handlers[SEND], [value, None, None, ""], None) == {False}
    assert accepts(handlers[SEND], ["Hi", None, value, ""], None) == {False}


@given(JSON.filter(lambda value: type(value) is not int or value < 0))
def test_index_accepts_natural_numbers_only(handlers: dict[str, Action], value: Any) -> None:
    assert accepts(handlers[LIKE], [None, "", ""], like(value)) == {False}
    assert accepts(handlers[ROW], [None], {"row": value}) == {False}
    assert accepts(handlers[LIKE], [None, "", ""], like(1)) == {True}


def test_chat_events_change_no_container_of_many_components(blocks: gr.Blocks) -> None:
    """Gradio's page copies all content of such a container at each message about any event from then on."""
    rare = ("AccountHandlers.begin_with_figures", "AnalyticsHandlers.")
    outputs = {
        output
        for function in blocks.fns.values()
        if function.fn is not None and not function.fn.__qualname__.startswith(rare)
        for output in function.outputs
    }
    containers = {output.elem_id: held(output) for output in outputs if isinstance(output, BlockContext)}
    assert {"alternatives", "feedback-panel", "sidebar"} <= set(containers)
    assert {name: count for name, count in containers.items() if count > MAX_HELD} == {}


def event_of(handler: Callable[..., Any], *inputs: Any) -> gr.Blocks:
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.Button().click(handler, list(inputs))
    return blocks


async def test_actions_in_refuses_handler_without_declaration() -> None:
    with pytest.raises(AssertionError, match=r"The handler .*lambda.* declares no action; decorate it"):
        actions_in(event_of(lambda: None))


@pytest.mark.parametrize("declared", [(), (TEXT,), (STATE, TEXT), (TEXT, STATE, STATE)])
async def test_actions_in_refuses_handler_wired_to_other_inputs(declared: tuple[Shape, ...]) -> None:
    @action(Permission.CHAT, *declared)
    def handler(*_inputs: Any) -> None: ...

    with pytest.raises(AssertionError, match=r"handler is wired to other inputs than its @action declares"):
        actions_in(event_of(handler, gr.Textbox(), gr.State()))

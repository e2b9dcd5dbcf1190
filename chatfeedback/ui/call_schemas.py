"""What a call of a function may carry: its inputs and what it tells of the click, checked before Gradio sees them.

The page's own script sends little, and always the same shapes: texts, numbers, choices, nothing at all for a
`gr.State`. Whatever has another shape did not come from the page. That an index or an id is one that this person may
name is asked later, of what the server itself has drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from chatfeedback.domain.roles import Requirement
from chatfeedback.ui.actions import FUNCTIONS

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def _is_choice(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value)) and all(map(_is_truth, value.values()))


def _is_said(value: Any) -> bool:
    return _is_text(value) or _is_texts(value)


def _is_place(value: Any) -> bool:
    """An index, or one within it."""
    return _is_index(value) or (isinstance(value, list) and bool(value) and all(map(_is_index, value)))


def _or_nothing(check: Check) -> Check:
    return lambda value: value is None or check(value)


_INPUTS: Mapping[type, Check] = {
    gr.State: lambda value: value is None,  # the server's own; what a browser says of it is ignored anyway
    gr.Textbox: _or_nothing(_is_text),
    gr.HTML: _or_nothing(_is_text),
    gr.Dropdown: _or_nothing(_is_text),
    gr.Checkbox: _or_nothing(_is_truth),
    gr.Number: _is_number,
}


@dataclass(frozen=True, slots=True)
class EventSchema:
    """Keys that the data of an event has, and what their values are; `further` ones it may have."""

    keys: Mapping[str, Check]
    further: Mapping[str, Check]

    def __call__(self, data: Any) -> bool:
        if not isinstance(data, dict) or not self.keys.keys() <= data.keys():
            return False
        known = {**self.keys, **self.further}
        return all(key in known and known[key](value) for key, value in data.items())


def _anything(_value: Any) -> bool:
    return True


def _nothing(data: Any) -> bool:
    """Gradio sends nothing, the new value of a component, or an empty object; no handler of ours reads it."""
    return not isinstance(data, (dict, list)) or not data


_MESSAGE = EventSchema({"index": _is_index}, {"value": _is_said})
_EVENTS: Mapping[tuple[type, str], Check] = {
    (gr.Chatbot, "retry"): _MESSAGE,
    (gr.Chatbot, "undo"): _MESSAGE,
    (gr.Chatbot, "edit"): EventSchema(
        {"index": _is_index, "value": _is_text}, {"previous_value": _is_said, "_dispatch_value": _anything}
    ),
    (gr.Chatbot, "like"): EventSchema(
        {"index": _is_index, "value": _is_said, "liked": lambda liked: liked is True or liked is False or liked == ""},
        {},
    ),
    (gr.Chatbot, "select"): EventSchema(
        {"index": _is_place},
        {"value": _is_said, "selected": _is_truth},
    ),
    (gr.CheckboxGroup, "select"): EventSchema({"index": _is_index, "value": _is_text, "selected": _is_truth}, {}),
    (gr.HTML, "select"): lambda data: any(
        form(data)
        for form in (
            EventSchema({"conversation": _is_text}, {}),
            EventSchema({"more": lambda value: value is True}, {}),
            EventSchema({"row": _is_index}, {}),
            EventSchema({"newer": lambda value: value is True}, {}),
            EventSchema(
                {"about": _is_text},
                {"value": _is_text, "reasons": _is_choice, "comment": _is_text, "edit": _is_text, "age": _is_number},
            ),
        )
    ),
    (gr.Tab, "select"): EventSchema({}, {"index": _is_index, "value": _is_text, "selected": _anything}),
}


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """A function of the page: what it needs, and what a call of it looks like."""

    name: str
    needs: Requirement
    inputs: tuple[Check, ...]
    triggers: Mapping[int | None, Check]
    """By the id of the component that sets it off: what the event tells."""

    def accepts(self, data: list[Any], trigger_id: Any, event_data: Any) -> bool:
        """Whether the page could have sent this."""
        if len(data) != len(self.inputs) or not all(
            check(value) for check, value in zip(self.inputs, data, strict=True)
        ):
            return False
        if trigger_id is not None and type(trigger_id) is not int:
            return False
        # A page that was drawn before the server was started again may know its components by other ids.
        known = trigger_id in self.triggers
        return any(check(event_data) for check in ([self.triggers[trigger_id]] if known else self.triggers.values()))


def functions(blocks: gr.Blocks) -> dict[int, HandlerSpec]:
    """Every function that can be called, by its index; those that run in the browser only cannot.

    Raises AssertionError for one that no rule of `policy.py` is about, or whose inputs nobody knows how to check.
    """
    return {index: _function(blocks, function) for index, function in blocks.fns.items() if function.fn is not None}


def _function(blocks: gr.Blocks, function: Any) -> HandlerSpec:
    name = function.fn.__qualname__
    if name not in FUNCTIONS:
        raise AssertionError(f"server/authorization/policy.py says nothing about the function {name}")
    unknown = {type(block).__name__ for block in function.inputs if type(block) not in _INPUTS}
    if unknown:
        raise AssertionError(f"ui/call_schemas.py does not know what {unknown} of {name} may hold")
    triggers: dict[int | None, Check] = {}
    for component, event in function.targets:
        block = blocks.blocks.get(component) if component is not None else None
        triggers[component] = _EVENTS.get((type(block), event), _nothing)
    return HandlerSpec(name, FUNCTIONS[name], tuple(_INPUTS[type(block)] for block in function.inputs), triggers)

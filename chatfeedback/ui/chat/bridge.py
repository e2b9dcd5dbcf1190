"""Bridge between the scripts of the page and the handlers: one hidden component.

To the page: the value of the component, `TabState.tell`; assets/bridge.js passes each changed field to its script.
From the page: a script sends one of `MESSAGES`, which is an event of the component.
With a call: a handler that takes the component as an input gets what the `js` of its event puts there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

MESSAGES = {
    "wake": "click",
    "comment_typed": "input",
    "newer_version": "select",
    "click_refused": "undo",
    "unsaved_feedback": "submit",
    "visit": "retry",
    "notice": "clear",
}
"""Messages of the page, and the event of Gradio's component that carries each."""
_ON_LOAD_JS = f"""
const events = {json.dumps(MESSAGES)};
chatfeedback.bridge.open((message, data) => trigger(events[message], data));
watch("value", () => chatfeedback.bridge.receive(props.value));
"""


def build_bridge() -> gr.HTML:
    """Return the component; its value is data and never becomes HTML, as it has no template."""
    return gr.HTML("", html_template="", visible="hidden", elem_id="bridge", js_on_load=_ON_LOAD_JS)


def on_message(bridge: gr.HTML, message: str) -> Callable[..., Any]:
    """Return the function that registers a handler of a message, as for any event of Gradio."""
    register: Callable[..., Any] = getattr(bridge, MESSAGES[message])
    return register

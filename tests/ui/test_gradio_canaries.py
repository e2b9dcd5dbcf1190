"""Canaries: what `ui/gradio_internals.py` and `assets/transport.js` need of Gradio's internals is still there.

A failure says what to repair. When all pass with another minor version of Gradio, raise the bound in pyproject.toml.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import gradio as gr
import pytest
from gradio import server_messages
from gradio.blocks import BlockFunction
from gradio.queueing import Queue
from gradio.state_holder import SessionState

from chatfeedback.ui import gradio_internals
from chatfeedback.ui.assets import ASSETS
from server.route_paths import routes

INTERNALS = "chatfeedback/ui/gradio_internals.py"
ROOT = Path(__file__).parents[2]

NAMES_OF_ELEMENTS = [
    "message-row",
    "message-content",
    "edit-textarea",
    "bubble-wrap",
    "submit-button",
    "stop-button",
    "toggle-button",
    "status-tracker",
    "message-buttons",
]
"""Class names and test ids in assets/transport.js."""


def parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("function", "used", "repair"),
    [
        pytest.param(
            gr.Blocks.process_api,
            {"block_fn", "inputs", "request", "iterator", "event_id", "event_data"},
            "adapt ActionBlocks.process_api, through which every call of a handler goes",
            id="process_api",
        ),
        pytest.param(
            gr.Blocks.postprocess_data,
            {"block_fn", "predictions", "state"},
            "adapt SparseUpdateBlocks.postprocess_data, which leaves out outputs that do not change",
            id="postprocess_data",
        ),
        pytest.param(
            Queue.log_message,
            {"event_id", "log", "title", "level"},
            "adapt ActionBlocks.process_api, which reports an unexpected error by it",
            id="log_message",
        ),
        pytest.param(
            SessionState._update_config,
            {"key"},
            "adapt _StateWithoutConfig, which leaves out the config of components",
            id="update_config",
        ),
        pytest.param(
            SessionState._update_value_in_config,
            {"key", "value"},
            "adapt _StateWithoutConfig, which leaves out the config of values",
            id="update_value_in_config",
        ),
        pytest.param(
            BlockFunction,
            {"fn", "inputs", "outputs", "targets"},
            "adapt actions_in, which reads the table of functions",
            id="block_function",
        ),
    ],
)
def test_gradio_has_parameters_that_internals_use(function: Any, used: set[str], repair: str) -> None:
    missing = used - parameters(function)
    assert not missing, f"Gradio {gr.__version__}: {function} has no {missing}; in {INTERNALS} {repair}."


async def test_gradio_keeps_functions_in_table_by_index() -> None:
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.Button().click(print)
    repair = f"adapt actions_in in {INTERNALS} and AccessConfig.actions, by which a call is checked"
    assert [(index, function.fn) for index, function in blocks.fns.items()] == [(0, print)], repair


async def test_gradio_passes_event_data_on_unchanged() -> None:
    event = gr.EventData(None, {"index": 1})
    assert event._data == {"index": 1}, f"adapt _check_call in {INTERNALS}, which checks the data of an event"


def test_gradio_serves_katex() -> None:
    element = gradio_internals.katex_element()
    assert re.search(r"assets/katex-[\w-]+\.js assets/katex-[\w-]+\.css", element), (
        f"Gradio {gr.__version__} has no katex-*.js and katex-*.css in {gradio_internals.FRONTEND}: formulas stay as "
        f"they are written; adapt katex_element in {INTERNALS}."
    )


async def test_gradio_describes_files_of_page_by_their_type() -> None:
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.Chatbot(avatar_images=(ASSETS / "person.svg", None))
    repair = f"adapt files_in in {INTERNALS}: the access middleware lets pass only the files that it finds"
    assert [Path(path).name for path in gradio_internals.files_in(blocks.config)] == ["person.svg"], repair


def test_gradio_sends_messages_that_transport_reads() -> None:
    kinds = {
        kind
        for message in get_args(server_messages.EventMessage)
        for kind in (message.model_fields["msg"].default, *get_args(message.model_fields["msg"].annotation))
    }
    used = {"process_generating", "process_completed", "log", "close_stream"}
    assert used <= {str(getattr(kind, "value", kind)) for kind in kinds}, (
        f"Gradio {gr.__version__} sends other messages over its stream; adapt assets/transport.js."
    )


async def test_gradio_answers_addresses_that_transport_uses() -> None:
    with gr.Blocks(analytics_enabled=False) as blocks:
        pass
    paths = set(routes(gr.routes.App.create_app(blocks).routes))
    for path in ("/queue/join", "/queue/data", "/heartbeat/{session_hash}", "/app_id"):
        assert any(known.endswith(path) for known in paths), (
            f"Gradio {gr.__version__} has no address {path}; adapt assets/transport.js and the policy of the server."
        )


@pytest.mark.parametrize("name", NAMES_OF_ELEMENTS)
def test_gradio_has_elements_that_transport_finds(name: str) -> None:
    scripts = (path.read_text("utf-8") for path in gradio_internals.FRONTEND.glob("*.js"))
    assert any(name in script for script in scripts), (
        f"Gradio {gr.__version__} has no element {name}; adapt `gradio` in assets/transport.js."
    )


@pytest.mark.parametrize("script", sorted(path.name for path in ASSETS.glob("*.js") if path.name != "transport.js"))
def test_scripts_other_than_transport_name_no_element_of_gradio(script: str) -> None:
    text = re.sub(r'createElement\("\w+"\)', "", (ASSETS / script).read_text("utf-8"))  # an element of our own
    names = [name for name in (*NAMES_OF_ELEMENTS, "data-testid", "aria-label=", "textarea") if name in text]
    assert names == [], f"find these elements by `chatfeedback.gradio` of assets/transport.js: {names}"


def test_pyproject_bounds_gradio_to_tested_minor_version() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    (bound,) = (text for text in dependencies if text.startswith("gradio"))
    major, minor = map(int, gr.__version__.split(".")[:2])
    assert bound == f"gradio>={major}.{minor},<{major}.{minor + 1}", (
        "Run the whole suite with this Gradio, repair what the canaries name, then change the bound in pyproject.toml."
    )

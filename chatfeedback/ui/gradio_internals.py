"""Gradio internals: all code that depends on undocumented parts of Gradio.

tests/ui/test_gradio_canaries.py has a canary test for each: it says what changed in Gradio and what to repair here.
pyproject.toml bounds Gradio to the versions for which these tests passed. The internals that scripts of the page depend
on are in assets/transport.js.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr
from asgi_correlation_id import correlation_id
from gradio.blocks import Block
from gradio.state_holder import SessionState

from chatfeedback.auth.current_user import person_in
from chatfeedback.ui.actions import MALFORMED_CALL, Action, declared_action

log = logging.getLogger(__name__)

FRONTEND = Path(gr.__file__).parent / "templates" / "frontend" / "assets"
"""Built frontend of Gradio. The names of its files change with each release."""
FAULT = "Something went wrong; try again, and reload the page if that does not help."
NOT_PERMITTED = "Your role does not allow this."


class SparseUpdateBlocks(gr.Blocks):
    """`gr.Blocks` that processes only the outputs that an update contains; handlers return updates by component.

    Gradio validates every output of a function for each update and generates its config twice, with the JSON schema.
    The handlers of the Chat tab have 17 outputs, and most updates of a reply change one: this was half of all work
    of a server under load (docs/performance.md). Here Gradio gets only the outputs that an update contains, and a
    repeated update is processed once. No config is generated: it serves deep links, which these pages do not have. The
    browser receives the same as from `gr.Blocks`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._processed: WeakKeyDictionary[Block, Any] = WeakKeyDictionary()
        """Cache: value that the browser receives, by the update (a component), which a handler may yield again."""

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: SessionState | None) -> list[Any]:
        """Return the values for the browser, in the order of the outputs. Called by Gradio."""
        outputs = {block._id: block for block in block_fn.outputs}
        if state is None or not isinstance(predictions, dict) or not _contains_only(predictions, outputs):
            return list(await super().postprocess_data(block_fn, predictions, state))
        updates = {component._id: update for component, update in predictions.items()}
        processed = {
            id_: self._processed[update]
            for id_, update in updates.items()
            if isinstance(update, Block) and update in self._processed
        }
        new = [block for id_, block in outputs.items() if id_ in updates and id_ not in processed]
        if new:
            narrowed = copy.copy(block_fn)
            narrowed.outputs = new
            new_updates = {block: updates[block._id] for block in new}
            values = await super().postprocess_data(narrowed, new_updates, _StateWithoutConfig(state))  # type: ignore[arg-type]
            processed |= {block._id: value for block, value in zip(new, values, strict=True)}
            for block in new:
                if isinstance(update := updates[block._id], Block):
                    self._processed[update] = processed[block._id]
        return [processed[id_] if id_ in processed else _unchanged(block) for id_, block in outputs.items()]


class ActionBlocks(SparseUpdateBlocks):
    """`SparseUpdateBlocks` that check the `Action` of each call and report an unexpected error of a handler.

    The access middleware of our own server has checked the call before. A page that is mounted in another application
    has this check alone. An unexpected error becomes one log record and one sentence on the page, and the call is
    answered like one that changes nothing. Gradio itself would print a bare traceback and cover all outputs of the call
    with an error that intercepts every click until a reload: a typed comment or edit would be lost. `gr.Error` passes.
    """

    async def process_api(self, block_fn: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Call a handler, or fetch the next update of one that streams. Called by Gradio, by keywords."""
        request: gr.Request | None = kwargs.get("request")
        if request is not None and request.request is not None:
            # Gradio calls handlers in tasks of its own, which do not inherit the context of the request.
            correlation_id.set(request.request.headers.get("x-request-id"))
        if kwargs.get("iterator") is None:
            _check_call(declared_action(block_fn), request, kwargs.get("inputs", args[:1]), kwargs.get("event_data"))
        try:
            return await super().process_api(block_fn, *args, **kwargs)
        except gr.Error:
            raise
        except Exception:
            log.exception("the handler %s failed", block_fn.fn.__qualname__)
        # `gr.Warning` works only in the context in which the handler runs.
        self._queue.log_message(kwargs.get("event_id") or "", FAULT, title="Warning", level="warning")
        # Gradio closes the iterator, as it does after an error.
        unchanged = [_unchanged(block) for block in block_fn.outputs]
        return {"data": unchanged, "is_generating": False, "iterator": kwargs.get("iterator")}


def drop_session(blocks: gr.Blocks, session_hash: str) -> None:
    """Drop Gradio's state of an open page, if it has any. A running call keeps what it holds."""
    holder = blocks.state_holder
    with holder.lock:
        holder.session_data.pop(session_hash, None)
        holder.time_last_used.pop(session_hash, None)


def _check_call(action: Action, request: gr.Request | None, inputs: Any, event_data: gr.EventData | None) -> None:
    person = person_in(request.request.scope) if request and request.request else None
    if person is None or not action.permits(person):
        raise gr.Error(NOT_PERMITTED, print_exception=False)
    if not action.accepts(list(inputs), event_data._data if event_data else None):
        raise gr.Error(MALFORMED_CALL, print_exception=False)


def _contains_only(predictions: dict[Any, Any], outputs: dict[int, Block]) -> bool:
    return all(isinstance(key, Block) and key._id in outputs for key in predictions)


def _unchanged(block: Block) -> Any:
    return None if block.stateful else gr.skip()  # the browser never receives a `gr.State`


class _StateWithoutConfig:
    """Session state in which a component can be replaced without generating its config."""

    def __init__(self, state: SessionState) -> None:
        self._state = state

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def __getitem__(self, key: int) -> Any:
        return self._state[key]

    def __contains__(self, key: int) -> bool:
        return key in self._state

    def __setitem__(self, key: int, value: Any) -> None:
        blocks = self._state.blocks_config.blocks
        if key in blocks and blocks[key].stateful:
            self._state[key] = value
        else:
            blocks[key] = value

    def _update_config(self, key: int) -> None:
        """Do not generate the config of the component."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Do not change the config of the component."""


def actions_in(blocks: gr.Blocks) -> dict[int, Action]:
    """Return the action of every callable function, by its index in Gradio's function table.

    Functions that run only in the browser have none.

    Raises:
        AssertionError: A handler declares no action, or other inputs than it is wired to.
    """
    return {index: declared_action(block_fn) for index, block_fn in blocks.fns.items() if block_fn.fn is not None}


def files_in(config: Any) -> Iterator[str]:
    """Yield the paths of all files in the config of a page (`Blocks.config`); Gradio serves them."""
    if isinstance(config, dict):
        if isinstance(config.get("path"), str) and config.get("meta", {}).get("_type") == "gradio.FileData":
            yield config["path"]
        for value in config.values():
            yield from files_in(value)
    elif isinstance(config, list):
        for value in config:
            yield from files_in(value)


def katex_element() -> str:
    """Return the `<meta>` element with KaTeX's files; "" if Gradio has none: formulas then stay as written."""
    files = [next(iter(sorted(FRONTEND.glob(pattern))), None) for pattern in ("katex-*.js", "katex-*.css")]
    if None in files:
        return ""
    return f'<meta name="chatfeedback-katex" content="{" ".join(f"assets/{file.name}" for file in files if file)}">'

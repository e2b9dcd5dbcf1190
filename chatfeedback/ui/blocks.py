"""Gradio's Blocks, but an update costs only what it says.

Gradio makes every output of a function anew, and describes it twice with its JSON schema, for each update, also when
that says nothing about it. The functions of the Chat tab have sixteen outputs, and most updates of a reply are about
one: this was half of all the work of a server under load (docs/performance.md). So only the outputs that an update is
about are handed to Gradio, an update that is repeated is handed to it once, and nothing is described: descriptions are
for deep links, which these pages do not have. What the browser is told stays the same.
"""

from __future__ import annotations

import copy
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr
from gradio.blocks import Block
from gradio.state_holder import SessionState


class SparseUpdateBlocks(gr.Blocks):
    """`gr.Blocks` for functions that return their updates by component."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._told: WeakKeyDictionary[Block, Any] = WeakKeyDictionary()
        """What the browser is told by an update that is a component: it may be yielded again."""

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: SessionState | None) -> list[Any]:
        """What the browser is told, in the order of the outputs. Called by Gradio."""
        outputs = {block._id: block for block in block_fn.outputs}
        if state is None or not isinstance(predictions, dict) or not _is_about(predictions, outputs):
            return list(await super().postprocess_data(block_fn, predictions, state))
        updates = {component._id: update for component, update in predictions.items()}
        told = {id_: self._told[one] for id_, one in updates.items() if isinstance(one, Block) and one in self._told}
        new = [block for id_, block in outputs.items() if id_ in updates and id_ not in told]
        if new:
            about_new = copy.copy(block_fn)
            about_new.outputs = new
            news = {block: updates[block._id] for block in new}
            answers = await super().postprocess_data(about_new, news, _Undescribed(state))  # type: ignore[arg-type]
            told |= {block._id: answer for block, answer in zip(new, answers, strict=True)}
            for block in new:
                if isinstance(update := updates[block._id], Block):
                    self._told[update] = told[block._id]
        return [told[id_] if id_ in told else _nothing_about(block) for id_, block in outputs.items()]


def _is_about(predictions: dict[Any, Any], outputs: dict[int, Block]) -> bool:
    """Whether it has updates by component, of these outputs only; whatever else there is, Gradio deals with."""
    return all(isinstance(key, Block) and key._id in outputs for key in predictions)


def _nothing_about(block: Block) -> Any:
    return None if block.stateful else gr.skip()  # of a `gr.State` the browser is never told anything


class _Undescribed:
    """The state of a session in which components can be replaced without being described."""

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
        """Would describe the component."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Would change the description of the component."""

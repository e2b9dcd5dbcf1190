"""Actions: each handler declares the permission that it requires and the shapes of its inputs.

    @action(Permission.CHAT, STATE, TEXT, event=Shape(EditEvent))
    async def edit(self, view: ViewState, model: str | None, data: gr.EditData, request: gr.Request) -> Updates: …

Two places check a call against the declaration: the access middleware, before Gradio reads the call, and
`ActionBlocks`, when Gradio makes it. `build_page` refuses a handler without a declaration, so no server starts with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import gradio as gr

from chatfeedback.domain.roles import Open, Person, Requirement
from chatfeedback.ui.shapes import NO_EVENT, STATE, Shape

Handler = TypeVar("Handler", bound=Callable[..., Any])
MALFORMED_CALL = "The page does not send such requests; reload it and try again."
"""Sentence about a call that does not fit its declaration."""


@dataclass(frozen=True, slots=True)
class Action:
    """Declaration of a handler."""

    name: str
    requirement: Requirement
    inputs: tuple[Shape, ...]
    event: Shape

    def permits(self, person: Person) -> bool:
        """Return True if the role of `person` meets the requirement."""
        return isinstance(self.requirement, Open) or person.may(self.requirement)

    def accepts(self, inputs: list[Any], event_data: Any) -> bool:
        """Return True if the page could have sent these inputs and this event."""
        return (
            len(inputs) == len(self.inputs)
            and all(shape.accepts(value) for shape, value in zip(self.inputs, inputs, strict=True))
            and self.event.accepts(event_data)
        )


def action(requirement: Requirement, *inputs: Shape, event: Shape = NO_EVENT) -> Callable[[Handler], Handler]:
    """Declare a handler: the requirement, the shapes of its inputs in their order, and that of its event."""

    def declare(handler: Handler) -> Handler:
        handler.action = Action(handler.__qualname__, requirement, inputs, event)  # type: ignore[attr-defined]
        return handler

    return declare


def declared_action(block_fn: Any) -> Action:
    """Return the action of an entry of Gradio's function table.

    Raises:
        AssertionError: Its handler declares no action, or other inputs than it is wired to.
    """
    name = block_fn.fn.__qualname__
    handler_action = getattr(block_fn.fn, "action", None)
    if not isinstance(handler_action, Action):
        raise AssertionError(f"The handler {name} declares no action; decorate it with @action (ui/actions.py).")
    wired_states = [isinstance(block, gr.State) for block in block_fn.inputs]
    if wired_states != [shape is STATE for shape in handler_action.inputs]:
        raise AssertionError(f"The handler {name} is wired to other inputs than its @action declares.")
    return handler_action

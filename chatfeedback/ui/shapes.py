"""Shapes: what a call of a handler may carry, as types that pydantic checks strictly.

The page's own script always sends the same shapes: texts, numbers, truth values, nothing for a `gr.State`. A call of
another shape did not come from the page. Whether an index or an id is one that this person may name is checked later,
against what the server itself has rendered.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, StrictBool, TypeAdapter
from pydantic import ValidationError as InvalidShape


class Shape:
    """A type that values from a browser are checked against, without conversion."""

    def __init__(self, type_: Any) -> None:
        is_model = isinstance(type_, type) and issubclass(type_, BaseModel)
        self._adapter: TypeAdapter[Any] = TypeAdapter(type_, config=None if is_model else ConfigDict(strict=True))

    def accepts(self, value: Any) -> bool:
        """Return True for a value of this type."""
        try:
            self._adapter.validate_python(value)
        except InvalidShape:
            return False
        return True


def _check_empty(data: Any) -> Any:
    if isinstance(data, (dict, list)) and data:
        raise ValueError("this event carries nothing")
    return data


def _check_true(value: bool) -> bool:
    if not value:
        raise ValueError("true, or left out")
    return value


_Empty = Annotated[Any, AfterValidator(_check_empty)]

STATE = Shape(None)
"""A `gr.State`: the server has its value; a browser sends null."""
TEXT = Shape(str | None)
NUMBER = Shape(float)
FLAG = Shape(bool | None)
NO_EVENT = Shape(_Empty)
"""Gradio sends null, the new value of a component, or an empty object; no handler reads it."""

Texts = str | list[str]
"""A message as the chatbot sends it: one text, or its parts."""
IsTrue = Annotated[StrictBool, AfterValidator(_check_true)]


class _Event(BaseModel):
    """The data of an event, with exactly these keys."""

    model_config = ConfigDict(strict=True, extra="forbid")


class MessageEvent(_Event):
    """A button of a message."""

    index: NonNegativeInt
    value: Texts = ""


class EditEvent(_Event):
    """A message that was edited. `value`: the new text."""

    index: NonNegativeInt
    value: str
    previous_value: Texts = ""
    dispatch_value: Any = Field(None, alias="_dispatch_value")


class LikeEvent(_Event):
    """A thumb of a message. `liked`: "" for a thumb that is taken back."""

    index: NonNegativeInt
    value: Texts
    liked: StrictBool | Literal[""]


class MessageSelected(_Event):
    """A message that was selected. `index`: of the message, or the path to a part of it."""

    index: NonNegativeInt | Annotated[list[NonNegativeInt], Field(min_length=1)]
    value: Texts = ""
    selected: bool = True


class ReasonSelected(_Event):
    """A reason that was chosen, or is not any longer. `value`: its code."""

    index: NonNegativeInt
    value: str
    selected: bool


class ConversationSelected(_Event):
    """A conversation of the list. `conversation`: its id."""

    conversation: str


class MoreRequested(_Event):
    """The button below the list of conversations."""

    more: IsTrue


class RowSelected(_Event):
    """A row of the table of feedback."""

    row: NonNegativeInt


class NewerVersion(_Event):
    """The page has heard of a newer version of the conversation."""

    newer: IsTrue


class UnsavedFeedback(_Event):
    """Feedback that the page kept while the server did not answer. `age`: in seconds."""

    about: str
    value: str = ""
    reasons: dict[str, bool] = {}
    comment: str = ""
    edit: str = ""
    age: float = 0.0


class TabSelected(_Event):
    """A tab that was opened."""

    index: NonNegativeInt = 0
    value: str = ""
    selected: Any = None


CLICK = Shape(MessageEvent)
TAB_SELECTED_OR_NO_EVENT = Shape(TabSelected | _Empty)

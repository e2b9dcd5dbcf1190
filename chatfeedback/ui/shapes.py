"""Shapes: types of the inputs and the event data of a handler, which pydantic validates strictly.

The page's own script always sends the same shapes: texts, numbers, booleans, null for a `gr.State`. A call of another
shape did not come from the page. Handlers check later, against what the server has rendered, that the person may use
an index or an id.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, StrictBool, TypeAdapter
from pydantic import ValidationError as InvalidShape


class Shape:
    """Type for values from a browser, validated without conversion."""

    def __init__(self, type_: Any) -> None:
        is_model = isinstance(type_, type) and issubclass(type_, BaseModel)
        self._adapter: TypeAdapter[Any] = TypeAdapter(type_, config=None if is_model else ConfigDict(strict=True))

    def accepts(self, value: Any) -> bool:
        """Return True if the value is of this type."""
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
"""Message as the chatbot sends it: one text, or its parts."""
IsTrue = Annotated[StrictBool, AfterValidator(_check_true)]


class _Event(BaseModel):
    """Data of an event; other keys are rejected."""

    model_config = ConfigDict(strict=True, extra="forbid")


class MessageEvent(_Event):
    """Click on a button of a message."""

    index: NonNegativeInt
    value: Texts = ""


class EditEvent(_Event):
    """Edit of a message. `value`: the new text."""

    index: NonNegativeInt
    value: str
    previous_value: Texts
    dispatch_value: Any = Field(None, alias="_dispatch_value")


class LikeEvent(_Event):
    """Click on a thumb of a message. `liked`: "" for a thumb that is taken back."""

    index: NonNegativeInt
    value: Texts
    liked: StrictBool | Literal[""]


class MessageSelected(_Event):
    """Selection of a message. `index`: that of the message, or the path to a part of it."""

    index: NonNegativeInt | Annotated[list[NonNegativeInt], Field(min_length=1)]
    value: Texts
    selected: bool = True


class ReasonSelected(_Event):
    """Selection of a reason, or its removal. `value`: the code of the reason."""

    index: NonNegativeInt
    value: str
    selected: bool


class ConversationSelected(_Event):
    """Selection of a listed conversation. `conversation`: its id."""

    conversation: str


class MoreRequested(_Event):
    """Click on the button below the list of conversations."""

    more: IsTrue


class RowSelected(_Event):
    """Click on a row of the feedback table."""

    row: NonNegativeInt


class NewerVersion(_Event):
    """Message of the page: the conversation has a newer version than it shows."""

    message: Literal["newer_version"]


class Visit(_Event):
    """Step of the browser in its history. `conversation`: its id, "" for a new one; `number`: of the step."""

    message: Literal["visit"]
    conversation: str
    number: NonNegativeInt


class UnsavedFeedback(_Event):
    """Feedback that the page kept while the server did not answer. `age`: seconds since it was given."""

    message: Literal["unsaved_feedback"]
    about: str
    value: str = ""
    reasons: dict[str, bool] = {}
    comment: str = ""
    edit: str = ""
    age: float = 0.0


class TabSelected(_Event):
    """Selection of a tab."""

    index: NonNegativeInt = 0
    value: str = ""
    selected: Any = None


class Message(_Event):
    """Message of the page without content (ui/chat/bridge.py)."""

    message: str


CLICK = Shape(MessageEvent)
MESSAGE = Shape(Message | _Empty)
TAB_SELECTED_OR_NO_EVENT = Shape(TabSelected | _Empty)

"""What a person wrote, taken out of the stored form of an event.

Only her own words go: the text of prompts and of edits, and comments. What is left says what happened, and still folds
into the same tree: ids, instants, the thumbs and the codes of their reasons, and what a model answered.
"""

from __future__ import annotations

from typing import Any

import orjson

from chatfeedback.domain.conversation.events import MessageEdited, MessageSent
from chatfeedback.domain.feedback.events import MessageRated, RatingCleared

_WORDS: dict[str, dict[str, Any]] = {
    MessageSent.KIND: {"text": ""},
    MessageEdited.KIND: {"text": ""},
    MessageRated.KIND: {"comment": None, "previous_comment": None},
    RatingCleared.KIND: {"comment": None},
}
"""By kind: the fields that hold words of the actor, and what they hold when those are gone."""
KINDS_WITH_WORDS = tuple(_WORDS)


def redacted(kind: str, payload: str) -> str:
    """The payload, of whichever schema version, without the words of the actor; as it was where there are none.

    Raises ValueError for a payload that is not JSON.
    """
    values = orjson.loads(payload)
    gone = {name: nothing for name, nothing in _WORDS.get(kind, {}).items() if values.get(name, nothing) != nothing}
    return orjson.dumps({**values, **gone}, option=orjson.OPT_SORT_KEYS).decode() if gone else payload

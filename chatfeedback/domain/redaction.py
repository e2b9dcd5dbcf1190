"""Redaction: removal of an annotator's text from the stored form of an event.

Only the actor's own text is removed: prompts, edits and comments. The rest still folds into the same tree: ids,
instants, thumbs and reason codes, and the replies of models.
"""

from __future__ import annotations

from typing import Any

import orjson

from chatfeedback.domain.conversation.events import MessageEdited, MessageSent
from chatfeedback.domain.feedback.events import MessageRated, RatingCleared

_AUTHORED: dict[str, dict[str, Any]] = {
    MessageSent.KIND: {"text": ""},
    MessageEdited.KIND: {"text": ""},
    MessageRated.KIND: {"comment": None, "previous_comment": None},
    RatingCleared.KIND: {"comment": None},
}
"""By kind: the fields with the actor's text, and their value after redaction."""
KINDS_WITH_TEXT = tuple(_AUTHORED)


def redact(kind: str, payload: str) -> str:
    """Return the payload, of any schema version, without the actor's text; unchanged if there is none.

    Raises:
        ValueError: The payload is not JSON.
    """
    values = orjson.loads(payload)
    blanks = {name: blank for name, blank in _AUTHORED.get(kind, {}).items() if values.get(name, blank) != blank}
    return orjson.dumps({**values, **blanks}, option=orjson.OPT_SORT_KEYS).decode() if blanks else payload

"""Types that events and decisions share."""

from __future__ import annotations

from typing import Literal

import uuid_utils

MessageRole = Literal["user", "assistant"]


Status = Literal["writing", "complete", "stopped", "left", "interrupted", "failed"]
"""Status of a reply. writing: still being generated; complete: finished by the model; stopped: by the annotator; left:
no client watched any more; interrupted: the process died; failed: the model failed. Text by a human is complete."""


FinalStatus = Literal["complete", "stopped", "left", "interrupted", "failed"]
"""Status of a finished reply."""


def new_id() -> str:
    """Return a UUIDv7 as text; later ids sort after earlier ones."""
    return str(uuid_utils.uuid7())

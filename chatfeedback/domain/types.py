"""Types that events and decisions share."""

from __future__ import annotations

from typing import Literal

import uuid_utils

Role = Literal["user", "assistant"]


Status = Literal["writing", "complete", "stopped", "left", "interrupted", "failed"]
"""Of a reply: still being written; finished by the model; stopped by the person; left, because nobody watched any
more; interrupted, because the process died; failed, because the model did. Written by a human: complete."""


FinalStatus = Literal["complete", "stopped", "left", "interrupted", "failed"]


def new_id() -> str:
    """A UUIDv7 as text: later ids sort after earlier ones."""
    return str(uuid_utils.uuid7())

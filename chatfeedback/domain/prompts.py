"""Idempotent prompts: event and conversation ids derived from the id that the page generated for a prompt.

A page may send a prompt twice with the same id, because Enter was pressed again or no answer came. The derivation is
deterministic, in every process and after a restart, so the event is found in the conversation. It includes the
annotator: another annotator's prompt id leads to different ids.
"""

from __future__ import annotations

import re
import secrets
from uuid import UUID, uuid5

_BYTES = 16
_NAMESPACE = UUID("6b1f0e0c-2a0f-4f0e-9c39-0d9d3a5e7b14")
_PAGE_ID = re.compile(r"[0-9a-f]{32}")


def new_page_id() -> str:
    """Return an id in the page's format, for a prompt that came without one."""
    return secrets.token_hex(_BYTES)


def page_id(value: object) -> str | None:
    """Return the id that a page sent with a prompt, or None if it is not 128 bits in hexadecimal digits."""
    return value if isinstance(value, str) and _PAGE_ID.fullmatch(value) else None


def conversation_id(annotator_id: str, prompt_id: str) -> str:
    """Return the id of the conversation that this prompt starts."""
    return str(uuid5(_NAMESPACE, f"{annotator_id} new {prompt_id}"))


def event_id(annotator_id: str, conversation_id: str, prompt_id: str) -> str:
    """Return the id of the `message_sent` event of this prompt."""
    return str(uuid5(_NAMESPACE, f"{annotator_id} {conversation_id} {prompt_id}"))

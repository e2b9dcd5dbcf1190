"""API keys: clean and check them before they become part of a request."""

from __future__ import annotations

import re

from chatfeedback.errors import SettingsError

_KEY = re.compile(r"[!-~]+")


def clean_key(key: str, source: str) -> str:
    """Return the key without white space around it, such as the line break at the end of a secret file.

    Args:
        key: The key as configured.
        source: Where it comes from, for the error: "The key in the environment variable LLAMA_KEY".

    Raises:
        SettingsError: It cannot be sent: it is empty, or not ASCII, or has white space or control characters inside.
    """
    stripped = key.strip()
    if not stripped:
        raise SettingsError(f"{source} is empty; give the key, or leave the setting out.")
    if not _KEY.fullmatch(stripped):
        raise SettingsError(
            f"{source} contains a character that no key has: white space, a control character, or one that is not "
            "ASCII; copy the key again, all of it on one line."
        )
    return stripped

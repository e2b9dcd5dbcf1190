"""Text rules: validation of prompts, and sanitising for the databases."""

from __future__ import annotations

from chatfeedback.errors import MessageRejected


def validate_prompt(text: str, *, max_length: int) -> tuple[str, bool]:
    """Return the text sanitised for the database, and whether characters were replaced.

    NUL and lone surrogates, which Postgres refuses, become U+FFFD on every database.

    Raises:
        MessageRejected: The text has no printable character, or more than `max_length` characters.
    """
    if len(text) > max_length:
        raise MessageRejected(
            f"This message has {len(text):,} characters; at most {max_length:,} are allowed. Shorten it and send again."
        )
    if not any(character.isprintable() and not character.isspace() for character in text):
        raise MessageRejected("There is nothing to send: type a message first.")
    return sanitize(text)


def sanitize(text: str) -> tuple[str, bool]:
    """Return the text with NUL and lone surrogates as U+FFFD, and whether there were any."""
    if text.isascii() and "\0" not in text:
        return text, False
    clean = text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return clean, clean != text

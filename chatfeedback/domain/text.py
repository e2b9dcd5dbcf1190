"""Rules of texts: what may be sent, and what a database can store."""

from __future__ import annotations

from chatfeedback.errors import MessageRejected


def validate_prompt(text: str, *, longest: int) -> tuple[str, bool]:
    """The text as it can be stored, and whether characters had to be replaced.

    NUL and lone surrogates, which Postgres refuses, become U+FFFD on every database. Raises MessageRejected for
    text without a printable character, or of more than `longest` characters.
    """
    if len(text) > longest:
        raise MessageRejected(
            f"This message has {len(text):,} characters; at most {longest:,} are allowed. Shorten it and send again."
        )
    if not any(character.isprintable() and not character.isspace() for character in text):
        raise MessageRejected("There is nothing to send: type a message first.")
    return sanitize(text)


def sanitize(text: str) -> tuple[str, bool]:
    """The text with NUL and lone surrogates as U+FFFD, and whether there were any."""
    if text.isascii() and "\0" not in text:
        return text, False
    clean = text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return clean, clean != text

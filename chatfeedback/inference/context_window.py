"""Context window: select the turns of a conversation that fit. Pure functions.

A turn is a message of the user and all messages up to the next one. Whole turns are dropped, oldest first, and the
last one always stays: a request never starts in the middle of a turn and never lacks the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol, TypeVar


class ThreadMessage(Protocol):
    """Message of a conversation, as far as the context window needs it."""

    @property
    def role(self) -> str:
        """Role of the speaker; "user" begins a turn."""

    @property
    def text(self) -> str:
        """Text of the message."""


M = TypeVar("M", bound=ThreadMessage)

# Tokens that a chat template adds: around each message, and once, for the start of the reply and for models that
# insert a system prompt of their own.
_MESSAGE_TOKENS = 8
_TEMPLATE_TOKENS = 32
# Text is dropped in steps of a quarter of the window: the prefix of the request stays the same for some turns, and the
# server's prompt cache hits (5,000 tokens take the local model half a minute to read).
_STEPS = 4
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BLANKS = b" \t"


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of `text` from above, for any script.

    Each UTF-8 byte counts as a token, the maximum for a tokenizer with byte fallback. ASCII letters count half, and
    blanks between words of four and more of them a quarter. The weights were fitted to SmolLM2, whose vocabulary is
    English and splits all else finely. On prose in 35 languages, code, tables and emoji the estimate is 1 to 2.7 times
    its count. Only text without words, such as base64, has more tokens. English has the most slack: Finnish or Welsh
    needs two and a half times as many tokens for as many of the same letters.
    """
    data = text.encode("utf-8", "replace")
    letters = len(data) - len(data.translate(None, _LETTERS))
    blanks = min(len(data) - len(data.translate(None, _BLANKS)), letters // 4)
    return len(data) - letters // 2 - blanks * 3 // 4


def fit(
    thread: Sequence[M], *, context_tokens: int | None, system_prompt: str | None, max_tokens: int
) -> tuple[M, ...]:
    """Return the messages of `thread`, oldest first, that fit into a window of `context_tokens`; None is no limit.

    `max_tokens` stay free for the reply, but at most half the window. The last turn is kept even if it alone is too
    long: then the server decides.
    """
    if context_tokens is None:
        return tuple(thread)
    fixed = _TEMPLATE_TOKENS + (_message_tokens(system_prompt) if system_prompt else 0)
    room = max(context_tokens - min(max_tokens, context_tokens // 2) - fixed, 0)
    excess = sum(_message_tokens(message.text) for message in thread) - room
    step = max(room // _STEPS, 1)
    return _drop_oldest(thread, -(-excess // step) * step)


def shrink(thread: Sequence[M]) -> tuple[M, ...] | None:
    """Drop the oldest turns, about a quarter of the text, after a server rejected `thread` as too long.

    At least one turn is dropped. None if there is only one.
    """
    total = sum(_message_tokens(message.text) for message in thread)
    shorter = _drop_oldest(thread, max(total // 4, 1))
    return shorter if len(shorter) < len(thread) else None


def _drop_oldest(thread: Sequence[M], tokens: int) -> tuple[M, ...]:
    """Drop the oldest whole turns that together have `tokens` or just more; the last turn stays."""
    starts = [index for index, message in enumerate(thread) if message.role == "user" or index == 0]
    tokens_before = [0, *accumulate(_message_tokens(message.text) for message in thread)]
    start = next((index for index in starts if tokens_before[index] >= tokens), starts[-1] if starts else 0)
    return tuple(thread[start:])


def _message_tokens(text: str) -> int:
    return estimate_tokens(text) + _MESSAGE_TOKENS

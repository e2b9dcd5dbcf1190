"""What of a conversation fits into a model's window. Pure.

A turn is a message of the user and what follows it up to the next one. Whole turns leave, oldest first, and the
last one always stays: what is sent never starts in the middle of a turn, and never lacks the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol, TypeVar


class ThreadMessage(Protocol):
    """One message of a conversation as far as the window cares."""

    @property
    def role(self) -> str:
        """Who speaks; "user" begins a turn."""

    @property
    def text(self) -> str: ...


M = TypeVar("M", bound=ThreadMessage)

# What a chat template adds: around each message, and once, with the start of the reply and for models that put in
# a system prompt of their own.
_MESSAGE_TOKENS = 8
_TEMPLATE_TOKENS = 32
# Text leaves in steps of this part of what fits, so that the start of the request stays the same for some turns and
# the server can go on from what it has already read (5,000 tokens take the local model half a minute to read).
_STEPS = 4
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BLANKS = b" \t"


def estimate_tokens(text: str) -> int:
    """At least as many tokens as `text` has for a model, whatever the script.

    Every byte of its UTF-8 counts as a token, the most that a tokenizer with bytes to fall back on can make of it;
    but ASCII letters count half, and the blanks between words of four and more of them a quarter. The weights were
    chosen with SmolLM2, whose vocabulary is English and splits all else finely: on prose in 35 languages, code,
    tables and emoji the estimate is 1 to 2.7 times what it counts. Only text without words, such as base64, has
    more tokens. English has the most slack, because Finnish or Welsh needs two and a half times as many for as
    many of the same letters.
    """
    data = text.encode("utf-8", "replace")
    letters = len(data) - len(data.translate(None, _LETTERS))
    blanks = min(len(data) - len(data.translate(None, _BLANKS)), letters // 4)
    return len(data) - letters // 2 - blanks * 3 // 4


def fit(
    thread: Sequence[M], *, context_tokens: int | None, system_prompt: str | None, max_tokens: int
) -> tuple[M, ...]:
    """The messages of `thread`, oldest first, that fit into a window of `context_tokens`; None is no limit.

    `max_tokens` stay free for the reply, but never more than half the window. The last turn is kept even where it
    alone is too long: then the server decides.
    """
    if context_tokens is None:
        return tuple(thread)
    fixed = _TEMPLATE_TOKENS + (_message_tokens(system_prompt) if system_prompt else 0)
    room = max(context_tokens - min(max_tokens, context_tokens // 2) - fixed, 0)
    too_much = sum(_message_tokens(message.text) for message in thread) - room
    step = max(room // _STEPS, 1)
    return _without_oldest(thread, -(-too_much // step) * step)


def shrink(thread: Sequence[M]) -> tuple[M, ...] | None:
    """`thread` without its oldest turns, about a quarter of its text, after a server called it too long.

    At least one turn leaves. None when only the last one is there.
    """
    total = sum(_message_tokens(message.text) for message in thread)
    shorter = _without_oldest(thread, max(total // 4, 1))
    return shorter if len(shorter) < len(thread) else None


def _without_oldest(thread: Sequence[M], tokens: int) -> tuple[M, ...]:
    """`thread` without its oldest whole turns that together have `tokens` or just more; the last turn stays."""
    starts = [at for at, message in enumerate(thread) if message.role == "user" or at == 0]
    before = [0, *accumulate(_message_tokens(message.text) for message in thread)]
    kept_from = next((at for at in starts if before[at] >= tokens), starts[-1] if starts else 0)
    return tuple(thread[kept_from:])


def _message_tokens(text: str) -> int:
    return estimate_tokens(text) + _MESSAGE_TOKENS

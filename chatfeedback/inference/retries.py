"""Asking again for a reply, as long as nothing of it has come.

What may pass by itself is asked for again: an endpoint that is busy, away, out of order, or that broke off before the
first piece. After the first piece nothing is, for a second reply would not go on where the first one ended. Between
two attempts is a pause that grows, or the one that the endpoint asked for. No attempt begins later than
`WITHIN_SECONDS` after the first: then somebody has waited long enough, and is told what is wrong.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
    wait_random,
)

from chatfeedback.errors import ModelError

log = logging.getLogger(__name__)

T = TypeVar("T")
OnPause = Callable[[float | None], None]
"""Is told the seconds until the next attempt, before they are waited, and None when it begins."""

WITHIN_SECONDS = 20.0
BACKOFF = wait_exponential(multiplier=0.25, exp_base=4) + wait_random(0, 0.25)
"""A quarter to half a second, then about one, four, sixteen: people who were refused together do not come back so."""


async def from_first_piece(
    ask: Callable[[], AsyncGenerator[T, None]], *, attempts: int, model: str, on_pause: OnPause | None = None
) -> AsyncGenerator[T, None]:
    """The pieces of the first of at most so many attempts that has one; `ask` makes an attempt.

    `model` is its name in the server's log. Raises what the last attempt raised.
    """

    def note(state: RetryCallState) -> None:
        told = (model, type(_failure(state)).__name__, state.attempt_number, attempts, state.upcoming_sleep)
        log.warning("the model %r did not begin to answer: %s, attempt %d of %d; asked again in %.1f s", *told)
        if on_pause is not None:
            on_pause(state.upcoming_sleep)

    def begin(state: RetryCallState) -> None:
        if on_pause is not None and state.attempt_number > 1:
            on_pause(None)

    stream_with_retries = AsyncRetrying(
        before=begin,
        retry=retry_if_exception(lambda error: isinstance(error, ModelError) and error.transient),
        wait=_pause,
        stop=stop_after_attempt(attempts) | stop_before_delay(WITHIN_SECONDS),
        before_sleep=note,
        reraise=True,
    )
    first: T
    pieces: AsyncGenerator[T, None]
    first, pieces = await stream_with_retries(_begin, ask)
    async with aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece


async def _begin(ask: Callable[[], AsyncGenerator[T, None]]) -> tuple[T, AsyncGenerator[T, None]]:
    pieces = ask()
    return await anext(pieces), pieces


def _pause(state: RetryCallState) -> float:
    error = _failure(state)
    wanted = error.retry_after if isinstance(error, ModelError) else None
    return max(wanted or 0.0, BACKOFF(state))


def _failure(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None

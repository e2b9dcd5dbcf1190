"""Retries with exponential backoff, until the first piece of a reply.

Transient errors are retried: an endpoint that is busy, away, out of order, or broke off before the first piece. After
the first piece there is no retry, because a second reply would not continue the first one. The delay between two
attempts grows, or is the endpoint's Retry-After. No attempt begins later than `RETRY_WINDOW_SECONDS` after the first:
then the user has waited long enough and gets the error.
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
"""Callback with the seconds until the next attempt, before the pause, and with None when the attempt begins."""

RETRY_WINDOW_SECONDS = 20.0
BACKOFF = wait_exponential(multiplier=0.25, exp_base=4) + wait_random(0, 0.25)
"""Delays: a quarter to half a second, then about 1, 4 and 16; with jitter, so that clients do not retry in step."""


async def retry_until_first_piece(
    start: Callable[[], AsyncGenerator[T, None]], *, attempts: int, model: str, on_pause: OnPause | None = None
) -> AsyncGenerator[T, None]:
    """Yield the pieces of the first attempt that has one.

    Args:
        start: Starts an attempt.
        attempts: The maximum number of attempts.
        model: The model's name for the log.
        on_pause: Callback for the pauses.

    Raises the error of the last attempt.
    """

    def log_retry(state: RetryCallState) -> None:
        log_args = (model, type(_exception(state)).__name__, state.attempt_number, attempts, state.upcoming_sleep)
        log.warning("the model %r did not begin to answer: %s, attempt %d of %d; asked again in %.1f s", *log_args)
        if on_pause is not None:
            on_pause(state.upcoming_sleep)

    def end_pause(state: RetryCallState) -> None:
        if on_pause is not None and state.attempt_number > 1:
            on_pause(None)

    retrying = AsyncRetrying(
        before=end_pause,
        retry=retry_if_exception(lambda error: isinstance(error, ModelError) and error.transient),
        wait=_pause,
        stop=stop_after_attempt(attempts) | stop_before_delay(RETRY_WINDOW_SECONDS),
        before_sleep=log_retry,
        reraise=True,
    )
    first: T
    pieces: AsyncGenerator[T, None]
    first, pieces = await retrying(_first_piece, start)
    async with aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece


async def _first_piece(start: Callable[[], AsyncGenerator[T, None]]) -> tuple[T, AsyncGenerator[T, None]]:
    pieces = start()
    return await anext(pieces), pieces


def _pause(state: RetryCallState) -> float:
    error = _exception(state)
    retry_after = error.retry_after if isinstance(error, ModelError) else None
    return max(retry_after or 0.0, BACKOFF(state))


def _exception(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
